"""How large a .tflite network is: parameters and multiply-accumulates, counted in the file."""

from typing import NamedTuple

from edgeseg.tflite.model import CONVOLUTIONS, Operator, TfliteModel
from edgeseg.tflite.node import size_of

_WEIGHT_TYPES = ("float32", "float16", "int8", "uint8", "int4", "int16")


class Cost(NamedTuple):
    """`parameters` counts all weights; `macs` is the multiply-accumulates of one image (no additions, no resizes)."""

    parameters: int
    macs: int


def cost_of(model: TfliteModel) -> Cost:
    """Parameters and multiply-accumulates of the operators that the file shows."""
    constants = {i for o in model.operators for i in o.inputs if i >= 0 and model.tensors[i].data}
    weights = [model.tensors[i] for i in constants]
    # Constants of other types are shapes and axes; the biases of quantised layers are int32 with a scale.
    parameters = sum(size_of(t.shape) for t in weights if t.type in _WEIGHT_TYPES or t.scale)
    return Cost(parameters, sum(_macs(model, operator) for operator in model.operators))


def _macs(model: TfliteModel, operator: Operator) -> int:
    """Each entry of a kernel is used once for each place: of the output, of the input in a transposed convolution."""
    if operator.name not in CONVOLUTIONS + ("FULLY_CONNECTED",):
        return 0
    kernel = model.tensors[operator.inputs[1]].shape
    if operator.name == "TRANSPOSE_CONV":
        places = model.tensors[operator.inputs[2]].shape[:3]
    else:
        places = model.tensors[operator.outputs[0]].shape[:-1]
    return size_of(places) * size_of(kernel)
