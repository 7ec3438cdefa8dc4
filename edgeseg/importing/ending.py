"""What a graph ends with, and which of it can be left to the device."""

import struct
from typing import Dict, List, NamedTuple, Optional, Tuple

from edgeseg.tflite.model import Operator, TfliteModel

_SAME_VALUES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "CAST", "QUANTIZE", "DEQUANTIZE")
_SAME_WINNER = ("SOFTMAX", "LOGISTIC")  # of each pixel


class Ending(NamedTuple):
    """The last operators of a graph with one output, found from the output backwards; None for one that is not there.

    They come in this order, with operators between them that keep the values.
    """

    resize: Optional[Operator]  # RESIZE_BILINEAR
    activation: Optional[Operator]  # SOFTMAX or LOGISTIC, which are monotonic: the winner stays the winner
    arg_max: Optional[Operator]


def find_ending(model: TfliteModel) -> Ending:
    """Walk back from the output of `model` as long as the classes of pixels are the same."""
    makers = {index: operator for operator in model.operators for index in operator.outputs}
    tensor = model.outputs[0]
    found: List[Optional[Operator]] = []
    for wanted in (("ARG_MAX",), _SAME_WINNER, ("RESIZE_BILINEAR",)):
        operator = _maker(makers, tensor, wanted)
        found.append(operator)
        if operator is not None:
            tensor = operator.inputs[0]
    arg_max, activation, resize = found
    return Ending(resize, activation, arg_max)


def _maker(makers: Dict[int, Operator], tensor: int, wanted: Tuple[str, ...]) -> Optional[Operator]:
    """The operator that makes `tensor`, perhaps through some that keep its values, if it is a wanted one."""
    for _ in range(len(makers)):
        operator = makers.get(tensor)
        if operator is None or operator.name in wanted:
            return operator
        if operator.name not in _SAME_VALUES:
            return None
        tensor = operator.inputs[0]
    return None  # a damaged file, whose operators form a ring


def find_logits(model: TfliteModel, ending: Ending) -> int:
    """The tensor with the logits of a graph without ARG_MAX: before its activation, and in rows and columns."""
    makers = {index: operator for operator in model.operators for index in operator.outputs}
    tensor = model.outputs[0] if ending.activation is None else ending.activation.inputs[0]
    for _ in range(len(makers)):
        operator = makers.get(tensor)
        if len(model.tensors[tensor].shape) == 4 or operator is None or operator.name not in _SAME_VALUES:
            break
        tensor = operator.inputs[0]
    is_map = model.tensors[model.outputs[0]].type in ("int32", "int64") or len(model.tensors[tensor].shape) != 4
    return model.outputs[0] if is_map else tensor


def channels_of(model: TfliteModel, arg_max: Operator) -> Optional[int]:
    """How many classes an ARG_MAX chooses from; None where the file does not say."""
    shape = model.tensors[arg_max.inputs[0]].shape
    axis = model.tensors[arg_max.inputs[1]].data if len(arg_max.inputs) > 1 else b""
    if len(axis) not in (4, 8):
        return None
    (number,) = struct.unpack("<i" if len(axis) == 4 else "<q", axis)
    return shape[number] if -len(shape) <= number < len(shape) else None
