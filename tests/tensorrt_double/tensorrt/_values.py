"""Shapes, and bytes that TensorRT owns."""

from typing import Any

from ._surface import TYPES, native


def _dims_equal(self: Any, other: Any) -> bool:
    if not isinstance(other, (tuple, list)):
        raise TypeError("__eq__(): incompatible function arguments")
    return bool(self._behaviour.shape == tuple(other))


def _dims_text(self: Any) -> str:
    return str(self._behaviour.shape)


class Dims:
    """A shape. Equal to tuples and lists only: the bindings raise TypeError for another Dims."""

    def __init__(self, shape: Any = ()) -> None:
        self.shape = tuple(shape)

    def __len__(self) -> int:
        return len(self.shape)

    def __getitem__(self, arg0: Any) -> Any:
        return self.shape[arg0]

    MAX_DIMS = 8
    SPACE = {"__eq__": _dims_equal, "__hash__": None, "__str__": _dims_text, "__repr__": _dims_text}


def dims(shape: Any) -> Any:
    return native("Dims", Dims(shape))


class IHostMemory:
    """Bytes that TensorRT owns, readable through the buffer protocol and not indexable."""

    BASE = bytearray
    SPACE = {
        "__len__": None,
        "__getitem__": None,
        "__iter__": None,
        "nbytes": property(bytearray.__len__),
        "dtype": property(lambda self: TYPES["DataType"].INT8),
    }


def host_memory(data: bytes) -> Any:
    return TYPES["IHostMemory"](data)


BEHAVIOURS = {kind.__name__: kind for kind in (Dims, IHostMemory)}
