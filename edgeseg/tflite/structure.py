"""Check that every offset of a .tflite file stays within it, as a FlatBuffer verifier does.

Old runtimes do not: tflite-runtime 2.14 follows an offset that leads out of the file, and the process dies.
"""

import struct
from typing import Any, Dict, List, NamedTuple, Set, Tuple, Union

from edgeseg.errors import BundleError


class _Vector(NamedTuple):
    """A vector of numbers of so many bytes, or of tables of that name."""

    of: Union[int, str]


_TEXT = "text"  # a vector of bytes and a NUL
_INTS = _Vector(4)

# schema.fbs: field number -> bytes of a number, name of a table, vector or text. Other fields must be absent: sparse
# tensors, custom quantisation, buffers outside of the FlatBuffer, options of StableHLO operators.
_TABLES: Dict[str, Dict[int, Any]] = {
    "Model": {
        0: 4,
        1: _Vector("OperatorCode"),
        2: _Vector("SubGraph"),
        3: _TEXT,
        4: _Vector("Buffer"),
        5: _INTS,
        6: _Vector("Metadata"),
        7: _Vector("SignatureDef"),
    },
    "OperatorCode": {0: 1, 1: _TEXT, 2: 4, 3: 4},
    "SubGraph": {0: _Vector("Tensor"), 1: _INTS, 2: _INTS, 3: _Vector("Operator"), 4: _TEXT},
    "Tensor": {0: _INTS, 1: 1, 2: 4, 3: _TEXT, 4: "Quantization", 5: 1, 7: _INTS, 8: 1},
    "Quantization": {0: _INTS, 1: _INTS, 2: _INTS, 3: _Vector(8), 4: 1, 6: 4},
    "Operator": {0: 4, 1: _INTS, 2: _INTS, 3: 1, 4: "Options", 5: _Vector(1), 6: 1, 7: _Vector(1), 8: _INTS},
    "Buffer": {0: _Vector(1), 1: 8, 2: 8},
    "Metadata": {0: _TEXT, 1: 4},
    "SignatureDef": {0: _Vector("TensorMap"), 1: _Vector("TensorMap"), 2: _TEXT, 4: 4},
    "TensorMap": {0: _TEXT, 1: 4},
}
# The tables of options: their fields are numbers, but for those of RESHAPE and SQUEEZE.
_OPTIONS_WITH_VECTOR = {17: "ReshapeOptions", 30: "SqueezeOptions"}
_TABLES.update({"ReshapeOptions": {0: _INTS}, "SqueezeOptions": {0: _INTS}})


def check_structure(data: bytes) -> None:
    """Raise BundleError unless every table, vector and text of a .tflite file lies within it."""
    try:
        _Walk(data).run()
    except (struct.error, ValueError) as error:
        raise BundleError(
            "the .tflite file is truncated or damaged: {}".format(error), "copy the file again, or export it again"
        )


class _Walk:
    """Visits each table once, however often it is referred to."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._waiting: List[Tuple[str, int]] = [("Model", self._number("<I", 0))]
        self._seen: Set[Tuple[str, int]] = set()

    def run(self) -> None:
        while self._waiting:
            entry = self._waiting.pop()
            if entry not in self._seen:
                self._seen.add(entry)
                self._table(*entry)

    def _table(self, name: str, at: int) -> None:
        vtable = at - self._number("<i", at)
        if vtable < 0 or at % 4 or vtable % 2:
            raise ValueError("a table at {}".format(at))
        vtable_size, size = struct.unpack_from("<HH", self._data, vtable)
        if vtable_size < 4 or vtable_size % 2 or vtable + vtable_size > len(self._data):
            raise ValueError("a vtable of {} bytes at {}".format(vtable_size, vtable))
        if size < 4 or at + size > len(self._data):
            raise ValueError("a table of {} bytes at {}".format(size, at))
        offsets = struct.unpack_from("<{}H".format(vtable_size // 2 - 2), self._data, vtable + 4)
        fields = {number: at + offset for number, offset in enumerate(offsets) if offset}
        if any(position >= at + size for position in fields.values()):
            raise ValueError("a field beyond its table at {}".format(at))
        if name == "Operator" and 4 in fields:
            form = self._data[fields[3]] if 3 in fields else 0
            self._waiting.append((_OPTIONS_WITH_VECTOR.get(form, "Options"), self._target(fields.pop(4))))
        if name != "Options":
            for number, position in fields.items():
                self._field(name, number, position)

    def _field(self, name: str, number: int, position: int) -> None:
        kind = _TABLES[name].get(number)
        if kind is None:
            raise ValueError("field {} of {}, which is not read here".format(number, name))
        if isinstance(kind, int):
            if position % kind or position + kind > len(self._data):
                raise ValueError("a number at {}".format(position))
        elif kind == _TEXT:
            start, length = self._vector(position, 1)
            if self._data[start + length : start + length + 1] != b"\0":
                raise ValueError("a text at {} without an end".format(start))
            self._data[start : start + length].decode("utf-8")  # Python interpreters decode the names of tensors
        elif isinstance(kind, str):
            self._waiting.append((kind, self._target(position)))
        elif isinstance(kind.of, int):
            self._vector(position, kind.of)
        else:
            start, length = self._vector(position, 4)
            self._waiting.extend((kind.of, self._target(start + 4 * i)) for i in range(length))

    def _vector(self, position: int, width: int) -> Tuple[int, int]:
        """Where the first entry lies, and how many there are."""
        at = self._target(position)
        length = self._number("<I", at)
        if (at + 4) % width or at % 4 or at + 4 + length * width > len(self._data):
            raise ValueError("a vector of {} entries at {}".format(length, at))
        return at + 4, length

    def _target(self, position: int) -> int:
        return position + self._number("<I", position)

    def _number(self, form: str, at: int) -> int:
        return struct.unpack_from(form, self._data, at)[0]
