"""An operator of a .tflite file as the rules see it that say what shapes it gives."""

import struct
from typing import Iterable, NamedTuple, Optional, Sequence, Tuple

from edgeseg.tflite.flatbuffer import Table
from edgeseg.tflite.model import Tensor

Shape = Tuple[int, ...]
_INTEGERS = {"int32": "i", "int64": "q"}


class Node(NamedTuple):
    """An operator with its tensors; an optional input that is left out is None."""

    inputs: Sequence[Optional[Tensor]]
    outputs: Sequence[Tensor]
    table: Optional[Table]  # of options
    options_type: int

    def shape(self, number: int, rank: Optional[int] = None) -> Shape:
        """The shape of an input. Raises ValueError if there is none, or it has another number of dimensions."""
        tensor = self.inputs[number] if number < len(self.inputs) else None
        if tensor is None:
            raise ValueError("no input {}".format(number))
        if rank is not None and len(tensor.shape) != rank:
            raise ValueError("input {} has {} dimensions instead of {}".format(number, len(tensor.shape), rank))
        return tensor.shape

    def type(self, number: int) -> str:
        """The type of an input, "" where there is none."""
        tensor = self.inputs[number] if number < len(self.inputs) else None
        return "" if tensor is None else tensor.type

    def numbers(self, number: int) -> Tuple[int, ...]:
        """The values of a constant input of integers."""
        self.shape(number)
        tensor = self.inputs[number]
        if tensor is None or tensor.type not in _INTEGERS or not tensor.data:
            raise ValueError("input {} is no constant of integers".format(number))
        form = _INTEGERS[tensor.type]
        return struct.unpack("<{}{}".format(len(tensor.data) // struct.calcsize("<" + form), form), tensor.data)

    def option(self, number: int, form: str = "<i", default: int = 0) -> int:
        return default if self.table is None else self.table.scalar(number, form, default)

    def expect(self, least: int, most: Optional[int] = None) -> None:
        """Raise ValueError unless it has so many inputs."""
        if not least <= len(self.inputs) <= (least if most is None else most):
            raise ValueError("{} inputs".format(len(self.inputs)))


def size_of(shape: Iterable[int]) -> int:
    """How many values a tensor of `shape` has."""
    total = 1
    for n in shape:
        total *= n
    return total


def check_axis(axis: int, rank: int) -> int:
    """An axis from 0 on; negative ones count from the end. Raises ValueError if there is no such axis."""
    if not -rank <= axis < rank:
        raise ValueError("axis {} of {} dimensions".format(axis, rank))
    return axis % rank
