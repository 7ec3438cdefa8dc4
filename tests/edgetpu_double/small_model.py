"""Write small .tflite files operator by operator, without a converter."""

from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from flatbuffer_writer import Blob, Scalar, Vector, write_flatbuffer

from edgeseg.tflite.model import _OPERATORS, _TYPES

Array = Any
# Scale and zero point that the kernel asks of its int8 output.
_FIXED = {
    "LOGISTIC": (1 / 256, -128),
    "SOFTMAX": (1 / 256, -128),
    "TANH": (1 / 128, 0),
    "L2_NORMALIZATION": (1 / 128, 0),
    "LOG_SOFTMAX": (16 / 256, 127),
}


class SmallModel:
    """Tensors are numbers, as in the file. The scale is 1/16, the zero point 0, where a kernel asks for no other."""

    def __init__(self) -> None:
        self._tensors: List[Dict[int, Any]] = []
        self._buffers: List[Dict[int, Any]] = [{}]
        self._codes: List[str] = []
        self._operators: List[Dict[int, Any]] = []
        self._inputs: List[int] = []

    def input(self, *shape: int, dtype: str = "int8") -> int:
        self._inputs.append(self._tensor(shape, dtype))
        return self._inputs[-1]

    def constant(self, values: Array, scale: float = 1 / 16) -> int:
        """An array, or a list of integers, which become int32."""
        array = values if isinstance(values, np.ndarray) else np.array(values, np.int32)
        self._buffers.append({0: Blob(array.tobytes(), 16)})
        return self._tensor(array.shape, array.dtype.name, (scale, 0), len(self._buffers) - 1)

    def add(
        self, name: str, inputs: Sequence[int], shapes: Sequence[Sequence[int]], options: Dict[int, Any], form: int
    ) -> List[int]:
        """An operator; `options` are the fields of its table, `form` says which (schema.fbs, BuiltinOptions)."""
        if name not in self._codes:
            self._codes.append(name)
        dtype = "int64" if name.startswith("ARG_") else "int8"
        outputs = [self._tensor(shape, dtype, _FIXED.get(name, (1 / 16, 0))) for shape in shapes]
        operator: Dict[int, Any] = {0: Scalar("I", self._codes.index(name))}
        operator.update({1: Vector("i", tuple(inputs)), 2: Vector("i", tuple(outputs))})
        if form:
            operator.update({3: Scalar("B", form), 4: options})
        self._operators.append(operator)
        return outputs

    def data(self, outputs: Sequence[int]) -> bytes:
        codes = []
        for name in self._codes:
            number, version = _OPERATORS.index(name), 2 if name == "BROADCAST_TO" else 1  # the oldest that there are
            codes.append({0: Scalar("b", min(number, 127)), 2: Scalar("i", version), 3: Scalar("i", number)})
        graph = {0: self._tensors, 1: Vector("i", tuple(self._inputs)), 2: Vector("i", tuple(outputs))}
        graph.update({3: self._operators, 4: "main"})
        root = {0: Scalar("I", 3), 1: codes, 2: [graph], 3: "small", 4: self._buffers}
        return write_flatbuffer(root, b"TFL3")

    def _tensor(
        self, shape: Sequence[int], dtype: str, quantisation: Tuple[float, int] = (1 / 16, 0), buffer: int = 0
    ) -> int:
        number = len(self._tensors)
        tensor: Dict[int, Any] = {
            0: Vector("i", tuple(shape)),
            1: Scalar("b", _TYPES.index(dtype)),
            2: Scalar("I", buffer),
        }
        tensor[3] = "t{}".format(number)
        if dtype in ("int8", "uint8") or quantisation[0] != 1 / 16:
            tensor[4] = {2: Vector("f", quantisation[:1]), 3: Vector("q", quantisation[1:])}
        self._tensors.append(tensor)
        return number
