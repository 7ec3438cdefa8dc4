"""Check that a .tflite file is sound before a runtime reads it.

A runtime checks little of what a file says: a stride of 0, a constant of the wrong length or a text for a tensor end
the process. Here every offset, tensor and operator is checked, and that each operator gives the shape which the file
says; a file with operators that no rule knows is refused.
"""

import math
import struct
from typing import Callable, Dict, Iterator, List, NamedTuple, Set, Tuple

from edgeseg.errors import BundleError
from edgeseg.tflite import layouts, windows
from edgeseg.tflite.flatbuffer import root_table
from edgeseg.tflite.model import Operator, Tensor, TfliteModel
from edgeseg.tflite.node import Node, Shape, size_of
from edgeseg.tflite.structure import check_structure

_BYTES = {
    "float32": 4,
    "float16": 2,
    "int32": 4,
    "uint8": 1,
    "int64": 8,
    "bool": 1,
    "int16": 2,
    "int8": 1,
    "uint32": 4,
    "uint16": 2,
}
_ZERO_POINTS = {"int8": (-128, 127), "uint8": (0, 255)}  # of other types 0
_MAX_RANK = 6
_MAX_RATIO = 1 << 16  # of scales; kernels abort when the fixed-point factor between two does not fit
_MAX_BYTES = 1 << 30  # of a tensor


class _Kind(NamedTuple):
    rule: Callable[[Node], List[Shape]]
    options_type: int = 0  # schema.fbs, union BuiltinOptions; 0: the rule reads no options


_KINDS: Dict[str, _Kind] = {
    "CONV_2D": _Kind(windows.conv, 1),
    "DEPTHWISE_CONV_2D": _Kind(windows.depthwise_conv, 2),
    "TRANSPOSE_CONV": _Kind(windows.transpose_conv, 49),
    "AVERAGE_POOL_2D": _Kind(windows.pool, 5),
    "MAX_POOL_2D": _Kind(windows.pool, 5),
    "FULLY_CONNECTED": _Kind(windows.fully_connected, 8),
    "CONCATENATION": _Kind(layouts.concatenation, 10),
    "MIRROR_PAD": _Kind(layouts.mirror_pad, 77),
    "RESIZE_BILINEAR": _Kind(layouts.resize, 15),
    "RESIZE_NEAREST_NEIGHBOR": _Kind(layouts.resize, 74),
    "RESHAPE": _Kind(layouts.reshape, 17),
    "SQUEEZE": _Kind(layouts.squeeze, 30),
    "STRIDED_SLICE": _Kind(layouts.strided_slice, 32),
    "SPLIT": _Kind(layouts.split, 35),
    "SPLIT_V": _Kind(layouts.split_at, 79),
    "PACK": _Kind(layouts.pack, 59),
    "UNPACK": _Kind(layouts.unpack, 64),
    "SPACE_TO_DEPTH": _Kind(layouts.space_to_depth, 19),
    "DEPTH_TO_SPACE": _Kind(layouts.depth_to_space, 94),
    "SPACE_TO_BATCH_ND": _Kind(layouts.space_to_batch),
    "BATCH_TO_SPACE_ND": _Kind(layouts.batch_to_space),
    "PAD": _Kind(layouts.pad),
    "PADV2": _Kind(layouts.pad),
    "EXPAND_DIMS": _Kind(layouts.expand_dims),
    "TRANSPOSE": _Kind(layouts.transpose),
    "SLICE": _Kind(layouts.slice_part),
    "TILE": _Kind(layouts.tile),
    "BROADCAST_TO": _Kind(layouts.broadcast_to),
    "ARG_MAX": _Kind(layouts.arg_max),
    "ARG_MIN": _Kind(layouts.arg_max),
}
_REDUCTIONS = "MEAN SUM REDUCE_MAX REDUCE_MIN"
_BROADCASTS = "ADD SUB MUL DIV FLOOR_DIV MAXIMUM MINIMUM SQUARED_DIFFERENCE POW PRELU"
_ELEMENTWISE = """
RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1 LEAKY_RELU ELU GELU HARD_SWISH LOGISTIC TANH SOFTMAX LOG_SOFTMAX L2_NORMALIZATION
QUANTIZE DEQUANTIZE CAST ABS NEG EXP LOG SQRT RSQRT SQUARE FLOOR CEIL ROUND
"""
_KINDS.update((name, _Kind(layouts.reduction, 27)) for name in _REDUCTIONS.split())
_KINDS.update((name, _Kind(layouts.broadcast)) for name in _BROADCASTS.split())
_KINDS.update((name, _Kind(layouts.same)) for name in _ELEMENTWISE.split())
_WITH_WEIGHTS = (windows.conv, windows.depthwise_conv, windows.transpose_conv, windows.fully_connected)


def check_sound(model: TfliteModel, data: bytes) -> None:
    """Check `model`, which was read from `data`, as a whole. Raises BundleError, which says what is wrong.

    Operators of the Edge TPU compiler are taken as they are; `edgeseg.coral.package` reads those.
    """
    check_structure(data)
    try:
        if model.subgraphs != 1:
            raise ValueError("{} subgraphs instead of 1".format(model.subgraphs))
        for tensor in model.tensors:
            _check_tensor(tensor)
        _check_order(model)
        for number, (operator, node) in enumerate(zip(model.operators, _nodes(model, data))):
            if operator.name != "CUSTOM edgetpu-custom-op":
                _check_operator(number, operator, node)
    except (struct.error, ValueError) as error:
        raise BundleError("the .tflite file cannot be run: {}".format(error), "convert the network again")


def _nodes(model: TfliteModel, data: bytes) -> Iterator[Node]:
    (graph,) = root_table(data).tables(2)
    for operator, table in zip(model.operators, graph.tables(3)):
        inputs = [model.tensors[i] if i >= 0 else None for i in operator.inputs]
        options_type = table.scalar(3, "<B", 0)
        options = table.table(4) if options_type else None
        yield Node(inputs, [model.tensors[i] for i in operator.outputs], options, options_type)


def _check_tensor(tensor: Tensor) -> None:
    if tensor.type not in _BYTES:
        raise ValueError("tensor {} is of type {}".format(tensor.name, tensor.type))
    bytes_ = size_of(tensor.shape) * _BYTES[tensor.type]
    if len(tensor.shape) > _MAX_RANK or min(tensor.shape + (1,)) < 1 or bytes_ > _MAX_BYTES:
        raise ValueError("tensor {} has the shape {}".format(tensor.name, list(tensor.shape)))
    if tensor.data and len(tensor.data) != bytes_:
        raise ValueError("tensor {} has {} bytes instead of {}".format(tensor.name, len(tensor.data), bytes_))
    if not tensor.scale and not tensor.zero_point:
        return
    channels = tensor.shape[tensor.channel_axis] if tensor.channel_axis < len(tensor.shape) else 1
    low, high = _ZERO_POINTS.get(tensor.type, (0, 0))
    if (
        len(tensor.scale) not in (1, channels)
        or len(tensor.zero_point) != len(tensor.scale)
        or not all(math.isfinite(scale) and scale > 0 for scale in tensor.scale)
        or not all(low <= zero <= high for zero in tensor.zero_point)
    ):
        raise ValueError("the quantisation of tensor {} is damaged".format(tensor.name))


def _check_order(model: TfliteModel) -> None:
    """Each tensor is an input, a constant, or made once, before it is read."""
    made: Set[int] = {i for i, tensor in enumerate(model.tensors) if tensor.data}
    steps: List[Tuple[Tuple[int, ...], Tuple[int, ...]]] = [((), model.inputs)]
    steps += [(operator.inputs, operator.outputs) for operator in model.operators]
    for inputs, outputs in steps + [(model.outputs, ())]:
        for i in inputs:
            if i >= 0 and i not in made:
                raise ValueError("tensor {} is read before it is made".format(model.tensors[i].name))
        for i in outputs:
            if i < 0 or i in made:
                raise ValueError("tensor {} is made twice".format(model.tensors[i].name))
            made.add(i)


def _check_operator(number: int, operator: Operator, node: Node) -> None:
    kind = _KINDS.get(operator.name)
    try:
        if kind is None:
            raise ValueError("edgeseg does not know this operator")
        if kind.options_type and node.options_type not in (0, kind.options_type):
            raise ValueError("options of another operator")
        shapes = kind.rule(node)
        declared = [tensor.shape for tensor in node.outputs]
        if [tuple(shape) for shape in shapes] != declared:
            raise ValueError("it gives {}, the file says {}".format(*map(_listed, (shapes, declared))))
        _check_scales(node, kind)
    except ValueError as error:
        raise ValueError("{} (operator {}): {}".format(operator.name, number, error))


def _check_scales(node: Node, kind: _Kind) -> None:
    tensors = [tensor for tensor in list(node.inputs) + list(node.outputs) if tensor and len(tensor.scale) == 1]
    if kind.rule in _WITH_WEIGHTS:
        tensors = [tensor for tensor in tensors if not tensor.data]
    scales = [tensor.scale[0] for tensor in tensors]
    if scales and max(scales) > _MAX_RATIO * min(scales):
        raise ValueError("quantised with scales from {:.3g} to {:.3g}".format(min(scales), max(scales)))


def _listed(shapes: List[Shape]) -> str:
    return ", ".join(str(list(shape)) for shape in shapes) or "nothing"
