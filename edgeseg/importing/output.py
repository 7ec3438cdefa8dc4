"""What someone else's output tensor means: logits or class ids, on which grid, resized by which convention."""

from typing import List, NamedTuple, Optional, Tuple

from edgeseg.errors import UsageError
from edgeseg.importing.ending import Ending, channels_of
from edgeseg.importing.requirements import require_class_count
from edgeseg.manifest import OutputInfo
from edgeseg.tflite.model import Operator, Tensor, TfliteModel

_ASK_RESIZE = (
    "say how it was trained: --resize half_pixel (PyTorch with align_corners=False, Keras, tf.image.resize) or "
    "--resize align_corners (DeepLab of TensorFlow 1, PyTorch with align_corners=True)"
)


class OutputOptions(NamedTuple):
    """What a user says where the file does not; None or False: nothing."""

    stride: Optional[int] = None
    resize: Optional[str] = None  # half_pixel | align_corners
    class_map: bool = False


class Output(NamedTuple):
    """The manifest's account of an output, and where the resize convention is from."""

    info: OutputInfo
    stride: int
    resize_source: str


def describe_output(
    model: TfliteModel, ending: Ending, cut: Optional[str], labels: Tuple[str, int], options: OutputOptions
) -> Output:
    """Read what the output of `model` means.

    Args:
        model: the graph as it will run.
        ending: what it ends with.
        cut: the convention of the last resize, where the device does it instead.
        labels: the name of the label file, and how many classes it names.
        options: what the user says.

    Raises UsageError if labels and output do not match, or something can be read in two ways.
    """
    tensor, source = model.tensors[model.outputs[0]], model.tensors[model.inputs[0]]
    is_map = ending.arg_max is not None or options.class_map or tensor.type in ("int32", "int64")
    has_one = len(tensor.shape) == 3 or tensor.shape[3] == 1
    imgsz = source.shape[1], source.shape[2]
    layout, grid, channels = _map_grid(tensor) if is_map or has_one else _logit_grid(tensor, imgsz, labels[1])
    stride = _stride(imgsz, grid, options.stride)
    if has_one and not is_map:
        raise UsageError(
            "the output {} {} {} has one value for each pixel, and no ARG_MAX makes it: class ids, or the score of "
            "one class?".format(tensor.name, tensor.type, list(tensor.shape)),
            "if they are class ids: --class-map; a score needs a threshold, which is not supported: give the network "
            "two outputs for each pixel, background and object",
        )
    if is_map and ending.arg_max is not None:
        channels = channels_of(model, ending.arg_max)
    if channels is not None:
        require_class_count(channels, labels[1], labels[0])
    resize, resize_source = _resize(model, stride, cut, options.resize)
    scale, zero_point = 1.0, 0
    if not is_map and tensor.scale and tensor.scale[0] > 0:
        scale, zero_point = tensor.scale[0], tensor.zero_point[0] if tensor.zero_point else 0
    kind = "classes" if is_map else "logits"
    info = OutputInfo(tensor.shape, tensor.type, layout, kind, resize, scale, zero_point)
    return Output(info, stride, resize_source)


def _map_grid(tensor: Tensor) -> Tuple[str, Tuple[int, int], Optional[int]]:
    """Layout, height and width of a map of class ids, which does not say how many there are."""
    shape = tensor.shape
    if len(shape) == 3 or shape[3] == 1:
        return "nhwc", (shape[1], shape[2]), None
    if shape[1] == 1:
        return "nchw", (shape[2], shape[3]), None
    raise UsageError(
        "the output {} {} {} has {} integers for each pixel: neither logits nor class ids".format(
            tensor.name, tensor.type, list(shape), shape[3]
        ),
        "convert the model so that it ends at its logits or at ARG_MAX",
    )


def _logit_grid(tensor: Tensor, imgsz: Tuple[int, int], classes: int) -> Tuple[str, Tuple[int, int], Optional[int]]:
    """Layout, height, width and channels of logits: the reading that fits the input, then the labels."""
    _, first, second, last = tensor.shape
    readings = [("nhwc", (first, second), last), ("nchw", (second, last), first)]
    fitting = [reading for reading in readings if _strides(imgsz, reading[1])]
    return ([reading for reading in fitting if reading[2] == classes] + fitting + readings)[0]


def _strides(imgsz: Tuple[int, int], grid: Tuple[int, int]) -> range:
    """The strides that make such an output of such an input; the last cells may be filled in part."""
    sides = list(zip(imgsz, grid))
    least = max(-(-side // cells) for side, cells in sides)
    most = min((side - 1) // (cells - 1) if cells > 1 else side for side, cells in sides)
    return range(least, most + 1)


def _stride(imgsz: Tuple[int, int], grid: Tuple[int, int], told: Optional[int]) -> int:
    fitting = _strides(imgsz, grid)
    sizes = "an output of {}x{} for an input of {}x{}".format(*grid + imgsz)
    if not fitting:
        raise UsageError(
            "{}: that is not the input divided by a whole number, the same for both sides".format(sizes),
            "give a semantic segmentation model; if it is one, convert it with an input size that its stride divides, "
            "or one pixel more",
        )
    if told is None and len(fitting) > 1:
        raise UsageError(
            "{} can have any stride from {} to {}".format(sizes, fitting[0], fitting[-1]), "add --stride N"
        )
    if told is not None and told not in fitting:
        raise UsageError("--stride {} does not give {}".format(told, sizes), "leave it out")
    return fitting[0] if told is None else told


def _resize(model: TfliteModel, stride: int, cut: Optional[str], told: Optional[str]) -> Tuple[str, str]:
    if cut is not None:
        if told not in (None, cut):
            raise UsageError(
                "--resize {}, but the RESIZE_BILINEAR of the graph is {}".format(told, cut), "leave out --resize"
            )
        return cut, "the RESIZE_BILINEAR that was cut off"
    if told is not None:
        return told, "--resize"
    if stride == 1:
        return "half_pixel", "of no importance at stride 1"
    found = _conventions(model)
    if len(set(found)) == 1 and found[0] is not None:
        return found[0], "the RESIZE_BILINEAR in the graph"
    raise UsageError(
        "the output is {} times smaller than the input, and {} how it is to be resized".format(
            stride, "the resizes in the graph do not agree on" if found else "nothing in the file says"
        ),
        _ASK_RESIZE,
    )


def _conventions(model: TfliteModel) -> List[Optional[str]]:
    """Those of the resizes in the graph; where a resize is the same by all of them, only one that is named counts."""
    found = []
    for operator in model.operators:
        if operator.name == "RESIZE_BILINEAR":
            name = convention(operator)
            before, after = (model.tensors[i].shape[1:3] for i in (operator.inputs[0], operator.outputs[0]))
            if name is not None or before not in (after, (1, 1)):
                found.append(name)
    return found


def convention(operator: Operator) -> Optional[str]:
    """The convention of a RESIZE_BILINEAR; None for the first of TensorFlow 1, where pixels lie at corners."""
    if operator.options["align_corners"]:
        return "align_corners"
    return "half_pixel" if operator.options["half_pixel"] else None
