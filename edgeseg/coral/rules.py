"""What the Edge TPU asks of each operator that it knows.

Sources, named in the code:
  table: coral.ai/docs/edgetpu/models-intro, "Supported operations" (also developer.axis.com, ARTPEC-7, "Supported ops",
    for the Edge TPU in those cameras).
  #N: issue N of google-coral/edgetpu.
  Google: what is on the CPU in the compiled models of google-coral/test_data, against their uncompiled files.
  FPN: mathieugalle/edgetpu-compiler-pad-fail: two files, and what compiler 16.0 made of them.
Where the table only says "might not be mapped", the limit is the largest size that was seen to map.
"""

from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from edgeseg.tflite.model import Operator, Tensor
from edgeseg.tflite.node import size_of

# 64x64 -> 128x128 maps; 256x256 -> 512x512 does not (#31), nor do 33x33 -> 513x513 (Google) and UNet at 256x256 (#187)
MAX_RESIZED_PIXELS = 128 * 128
MAX_MEAN_PIXELS = 64 * 128  # 256x128 is not mapped (#461)
MAX_SOFTMAX = 16000  # table
LARGEST_RESHAPE = 16 * 20 * 45  # elements; FPN

LOGITS = "end the network at its logits: classes and upsampling are computed from them on the CPU"
UPSAMPLE = "use UpSampling2D(2, interpolation='bilinear') and a Conv2D"
Why = Optional[Tuple[str, str]]  # None: mapped; else the reason and the fix
_NOT_CONSTANT = ("its filter, bias or another parameter is computed, not constant", "make it a constant of the layer")


class Case(NamedTuple):
    """An operator with its tensors; an optional input that is left out is None. There is at least one output."""

    operator: Operator
    inputs: Tuple[Optional[Tensor], ...]
    outputs: Tuple[Tensor, ...]

    @property
    def computed(self) -> List[Tensor]:
        """Inputs that are not constant."""
        return [t for t in self.inputs if t is not None and not t.data]

    @property
    def shape(self) -> Tuple[int, ...]:
        """Of the first computed input."""
        return (self.computed or self.outputs)[0].shape

    def constant(self, index: int) -> Tuple[int, ...]:
        """A constant input of int32, axes or amounts: a few; () where it is none."""
        tensor = self.inputs[index] if index < len(self.inputs) else None
        data = tensor.data[:128] if tensor is not None and tensor.type == "int32" else b""
        return tuple(int.from_bytes(data[i : i + 4], "little", signed=True) for i in range(0, len(data), 4))


def _mapped(case: Case) -> Why:
    return None


def _convolution(case: Case) -> Why:
    options = case.operator.options
    if options["dilation_w"] != options["dilation_h"]:  # table
        return (
            "dilation {dilation_h} in y and {dilation_w} in x".format(**options),
            "use the same dilation_rate in both directions",
        )
    return _constant_parameters(case)


def _transposed_convolution(case: Case) -> Why:
    """In the table without a limit; but #509, #684, #686, and no log at hand shows one that is mapped."""
    return (
        "transposed convolutions were left out, or ended the compilation, at many sizes (google-coral/edgetpu#684)",
        UPSAMPLE + " instead of Conv2DTranspose",
    )


def _fully_connected(case: Case) -> Why:
    if case.operator.options["weights_format"]:  # table
        return "its weights are shuffled", "convert again without shuffled weights"
    if not _one_dimensional(case.outputs[0].shape):  # table, #27
        return (
            "its output {} is not one-dimensional".format(list(case.outputs[0].shape)),
            "use a 1x1 Conv2D instead of Dense",
        )
    return _constant_parameters(case)


def _constant_parameters(case: Case) -> Why:
    """The page's "Model requirements"; #25."""
    return _NOT_CONSTANT if any(t is not None and not t.data for t in case.inputs[1:3]) else None


def _unfused(case: Case) -> Why:
    if case.operator.options["activation"]:  # table
        return "it has a fused activation", "put a convolution between this layer and its activation"
    return None


def _concatenation(case: Case) -> Why:
    constants = [t for t in case.inputs if t is not None and t.data]
    if constants and (len(case.inputs) != 2 or len(constants) != 1 or not _zeros(constants[0])):  # table
        return (
            "with a constant it takes two inputs, and the constant must be zeros",
            "concatenate computed tensors only, or use ZeroPadding2D",
        )
    return _unfused(case) or _batch_kept(case.outputs[0].shape, [case.operator.options["axis"]])


def _softmax(case: Case) -> Why:
    shape = case.outputs[0].shape
    if not _one_dimensional(shape):  # table
        return (
            "softmax at each pixel of {}; only a one-dimensional one is mapped".format(list(shape)),
            "end the network at its logits: the best class is the same without softmax",
        )
    if shape and shape[-1] > MAX_SOFTMAX:
        return "softmax of {} elements, more than {}".format(shape[-1], MAX_SOFTMAX), LOGITS
    return None


def _mean(case: Case) -> Why:
    shape, axes = case.shape, _axes(case)
    if len(shape) - 1 in axes and shape[-1] % 4:  # table
        return "mean over {} channels".format(shape[-1]), "use a multiple of 4 channels"
    pixels = size_of(shape[axis] for axis in axes if axis != len(shape) - 1)
    if pixels > MAX_MEAN_PIXELS:
        return (
            "mean over {} pixels; {} are known to map (google-coral/edgetpu#461)".format(pixels, MAX_MEAN_PIXELS),
            "use a smaller input, or AveragePooling2D before it",
        )
    return _reduction(case)


def _reduction(case: Case) -> Why:
    return _batch_kept(case.shape, _axes(case))


def _pad(case: Case) -> Why:
    amounts = case.constant(1)
    if not amounts:
        return _NOT_CONSTANT
    return _batch_kept(case.shape, [i // 2 for i, amount in enumerate(amounts) if amount])


def _resize(case: Case) -> Why:
    before, after = case.shape[1:3], case.outputs[0].shape[1:3]
    if len(case.shape) != 4 or len(case.outputs[0].shape) != 4:
        return "its tensors are not of batch, height, width, channels", "resize a tensor of four dimensions"
    if before == after:
        return None  # Google: 33x33 -> 33x33 in cityscapes
    sizes = "{}x{} -> {}x{}".format(*(before + after))
    if size_of(before) == 1:
        return (
            sizes + " is not mapped: in Google's DeepLab it is on the CPU, and all that follows",
            "add or multiply the 1x1 tensor directly: it broadcasts; or pool to 2x2 and more, then upsample by 2",
        )
    if size_of(after) > MAX_RESIZED_PIXELS:
        return (
            "{}; {} pixels are known to map (google-coral/edgetpu#31)".format(sizes, MAX_RESIZED_PIXELS),
            "end the network before its last upsampling: it is computed from the logits on the CPU",
        )
    return None


def _strided_slice(case: Case) -> Why:
    options, strides = case.operator.options, case.constant(3)
    if set(strides) != {1} or options["ellipsis_mask"] or options["new_axis_mask"]:  # table
        return "strides {}, or an ellipsis, or a new axis".format(list(strides)), "slice with a stride of 1"
    return None


def _split(case: Case) -> Why:
    axis = case.constant(0)
    return _batch_kept(case.shape, axis) if axis else _NOT_CONSTANT


def _pack(case: Case) -> Why:
    return _batch_kept(case.outputs[0].shape, [case.operator.options["axis"]])


def _prelu(case: Case) -> Why:
    alpha = case.inputs[1] if len(case.inputs) > 1 else None
    if alpha is not None and not _one_dimensional(alpha.shape):  # table
        return "its alpha {} is not one per channel".format(list(alpha.shape)), "use PReLU(shared_axes=[1, 2])"
    return _constant_parameters(case)


def _tile(case: Case) -> Why:
    if size_of(case.shape[:-1]) == 1:
        return None  # Google: 1x1x128 -> 33x33x128 in cityscapes
    return "not among the operators of the Edge TPU; only known to map from 1x1 pixels", UPSAMPLE


RULES: Dict[str, Callable[[Case], Why]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "TRANSPOSE_CONV": _transposed_convolution,
    "FULLY_CONNECTED": _fully_connected,
    "AVERAGE_POOL_2D": _unfused,
    "MAX_POOL_2D": _unfused,
    "CONCATENATION": _concatenation,
    "SOFTMAX": _softmax,
    "MEAN": _mean,
    "SUM": _reduction,
    "REDUCE_MAX": _reduction,
    "REDUCE_MIN": _reduction,
    "PAD": _pad,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "STRIDED_SLICE": _strided_slice,
    "SPLIT": _split,
    "PACK": _pack,
    "PRELU": _prelu,
    "TILE": _tile,
}
_FREE = """ADD SUB MUL MAXIMUM MINIMUM LOGISTIC TANH RELU RELU6 RELU_N1_TO_1 QUANTIZE RESHAPE SQUEEZE EXPAND_DIMS SLICE
SPACE_TO_DEPTH TRANSPOSE L2_NORMALIZATION RSQRT SQUARED_DIFFERENCE UNIDIRECTIONAL_SEQUENCE_LSTM"""
RULES.update(dict.fromkeys(_FREE.split(), _mapped))


# ---- what was never seen to map, nor to fail


def _elementwise_note(case: Case) -> str:
    shapes = [list(t.shape) for t in case.computed]
    if len(shapes) == 2 and shapes[0] != shapes[1]:
        return "broadcasts {} and {}: known to map with a constant only".format(*shapes)
    return ""


def _resize_note(case: Case) -> str:
    before, after = case.shape[1:3], case.outputs[0].shape[1:3]
    if before == after:
        return ""
    if after != tuple(2 * size for size in before):
        return "{}x{} -> {}x{}: known to map by a factor of 2 only".format(*(before + after))
    return "align_corners: known to map without only" if case.operator.options["align_corners"] else ""


def _reshape_note(case: Case) -> str:
    elements = size_of(case.outputs[0].shape)
    if elements > LARGEST_RESHAPE:
        return "reshapes {} elements: large ones may be left on the CPU (known to map: {})".format(
            elements, LARGEST_RESHAPE
        )
    return ""


def _tile_note(case: Case) -> str:
    return "not among the operators of the Edge TPU; yet mapped in Google's cityscapes DeepLab (uint8, 1x1 -> 33x33)"


NOTES: Dict[str, Callable[[Case], str]] = {
    "ADD": _elementwise_note,
    "SUB": _elementwise_note,
    "MUL": _elementwise_note,
    "MAXIMUM": _elementwise_note,
    "MINIMUM": _elementwise_note,
    "RESIZE_BILINEAR": _resize_note,
    "RESIZE_NEAREST_NEIGHBOR": _resize_note,
    "RESHAPE": _reshape_note,
    "TILE": _tile_note,
}


# ---- helpers


def _axes(case: Case) -> List[int]:
    rank = len(case.shape)
    return [axis % rank for axis in case.constant(1) if -rank <= axis < rank]


def _batch_kept(shape: Sequence[int], axes: Sequence[int]) -> Why:
    """Table: nothing along the batch, the first of several dimensions."""
    if len(shape) > 1 and any(axis in (0, -len(shape)) for axis in axes):
        return "it works along the batch", "leave the batch out: a batch is 1 on the Edge TPU"
    return None


def _one_dimensional(shape: Sequence[int]) -> bool:
    return all(size == 1 for size in shape[:-1])


def _zeros(tensor: Tensor) -> bool:
    zero = (tensor.zero_point or (0,))[0] % 256
    return not tensor.data.strip(bytes([zero]))
