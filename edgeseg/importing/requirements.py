"""What a .tflite file must be to serve as a segmentation network: one image in, one map of classes out."""

from typing import List

from edgeseg.coral.package import CUSTOM_OP
from edgeseg.errors import UsageError
from edgeseg.palette import UNLABELED
from edgeseg.tflite.model import Tensor, TfliteModel

_INPUT_TYPES = ("uint8", "int8", "float32")
_OUTPUT_TYPES = ("uint8", "int8", "int32", "int64", "float32")
_CUSTOM = "CUSTOM "
_MAX_SIDE = 1 << 14  # of an image; no camera has more
_ANOTHER = "give a semantic segmentation model"


def require_segmentation(model: TfliteModel) -> None:
    """Raise UsageError, with the reason and what to do, unless `model` can be a segmentation network."""
    _check_operators(model)
    if model.subgraphs != 1:
        raise UsageError(
            "the model has {} subgraphs; the runtime takes one".format(model.subgraphs),
            "convert it without control flow (tf.cond, tf.while_loop)",
        )
    if len(model.inputs) != 1:
        raise UsageError(
            "the model has {} inputs{}; a segmentation network has one, the image".format(
                len(model.inputs), _named(model, model.inputs)
            ),
            _ANOTHER,
        )
    _check_input(model.tensors[model.inputs[0]])
    if len(model.outputs) != 1:
        is_detection = len(model.outputs) == 4 and all(len(model.tensors[i].shape) <= 3 for i in model.outputs)
        raise UsageError(
            "the model has {} outputs{}; {}".format(
                len(model.outputs),
                _named(model, model.outputs),
                "that is a detection model" if is_detection else "a segmentation network has one, the map of classes",
            ),
            _ANOTHER if is_detection else "convert it with that output alone",
        )
    _check_output(model.tensors[model.outputs[0]])


def _named(model: TfliteModel, tensors: "tuple[int, ...]") -> str:
    names = ["{} {}".format(model.tensors[i].name, list(model.tensors[i].shape)) for i in tensors]
    return " ({})".format(", ".join(names)) if names else ""


def _check_operators(model: TfliteModel) -> None:
    custom: List[str] = sorted({o.name for o in model.operators if o.name.startswith(_CUSTOM)} - {CUSTOM_OP})
    names = [name[len(_CUSTOM) :] for name in custom]
    if "TFLite_Detection_PostProcess" in names:
        raise UsageError("this is a detection model (TFLite_Detection_PostProcess)", _ANOTHER)
    if any(name.startswith("Flex") for name in names):
        raise UsageError(
            "the model needs operators of TensorFlow itself: {}".format(", ".join(names)),
            "convert it with target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS] alone",
        )
    if names:
        raise UsageError(
            "the model has custom operators, which no runtime here knows: {}".format(", ".join(names)),
            "convert it with builtin operators alone",
        )


def _check_input(tensor: Tensor) -> None:
    what, shape = "the input {} {} {}".format(tensor.name, tensor.type, list(tensor.shape_signature)), tensor.shape
    if len(shape) == 4 and (-1 in tensor.shape_signature[1:] or min(shape) < 1):
        raise UsageError(
            what + " has no fixed size", "convert the model with a fixed input size: (1, height, width, 3)"
        )
    if len(shape) == 4 and shape[1] == 3 and shape[3] != 3:
        raise UsageError(
            what + " has its channels first (NCHW), which cameras and the Edge TPU do not",
            "convert the model to channels last: onnx2tf does so, as does Keras",
        )
    if len(shape) == 4 and shape[3] == 1:
        raise UsageError(what + " is a grey image; networks here see colours", "use a model for colour images")
    if len(shape) != 4 or shape[3] != 3:
        raise UsageError(what + " is not an image (1, height, width, 3)", _ANOTHER)
    if max(shape) > _MAX_SIDE:
        raise UsageError("{} has a side of more than {} pixels".format(what, _MAX_SIDE), _ANOTHER)
    if shape[0] != 1:
        raise UsageError(
            "{} is a batch of {} images; frames come one by one".format(what, shape[0]), "convert it with batch 1"
        )
    _check_type(what, tensor, _INPUT_TYPES)


def _check_output(tensor: Tensor) -> None:
    what, shape = "the output {} {} {}".format(tensor.name, tensor.type, list(tensor.shape)), tensor.shape
    if len(shape) == 2 and shape[0] == 1:
        raise UsageError(
            "{} is one vector for the whole image: that is a classifier".format(what),
            _ANOTHER,
        )
    if len(shape) not in (3, 4) or shape[0] != 1 or min(shape) < 1:
        raise UsageError(what + " is not a map of classes (1, height, width, classes) or (1, height, width)", _ANOTHER)
    _check_type(what, tensor, _OUTPUT_TYPES)


def _check_type(what: str, tensor: Tensor, allowed: "tuple[str, ...]") -> None:
    if tensor.type == "float16":
        raise UsageError(
            what + " is float16, which cameras and this program do not speak",
            "convert the model with float32 inputs and outputs; its weights may be float16",
        )
    if tensor.type not in allowed:
        raise UsageError("{} is none of {}".format(what, ", ".join(allowed)), "convert the model with uint8 or float32")


def require_class_count(found: int, classes: int, labels: str) -> None:
    """Raise UsageError unless a model of `found` classes fits `classes` labels of the file `labels`."""
    if found > UNLABELED:
        raise UsageError(
            "the model has {} classes; a mask of bytes holds {}".format(found, UNLABELED),
            "use a model of at most {} classes".format(UNLABELED),
        )
    if found != classes:
        hint = " (is the background missing?)" if found == classes + 1 else ""
        raise UsageError(
            "the model has {} classes, {} names {}{}".format(found, labels, classes, hint),
            "give the label file of the model: a line for each of its {} classes, none of them blank".format(found),
        )
