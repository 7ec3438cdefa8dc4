"""Where Edge TPU compiler 16.0 puts one operator of a .tflite file, and why: without the compiler.

Sources are named in edgeseg/coral/rules.py and registry.py.
"""

from typing import NamedTuple

from edgeseg.coral.registry import COMPILER, CUSTOM, HIGHEST_VERSION
from edgeseg.coral.rules import LOGITS, NOTES, RULES, UPSAMPLE, Case, Why
from edgeseg.tflite.model import Operator, TfliteModel

TPU, CPU, UNREADABLE = "tpu", "cpu", "unreadable"

INTEGER = "set converter.inference_input_type = tf.uint8 and converter.inference_output_type = tf.int8 (or tf.uint8)"
QUANTISE = (
    "quantise the whole network: give converter.representative_dataset, and set "
    "converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]"
)
_RELU = "use ReLU(max_value=6), or PReLU(shared_axes=[1, 2])"
_DILATED = "convert with TensorFlow 2: a dilated convolution then stays one CONV_2D"
# What to do about operators that the Edge TPU does not have
_REPLACE = {
    "ARG_MAX": LOGITS,
    "LOG_SOFTMAX": LOGITS,
    "LEAKY_RELU": _RELU,
    "HARD_SWISH": _RELU,
    "ELU": _RELU,
    "GELU": _RELU,
    "DEPTH_TO_SPACE": UPSAMPLE,
    "SPACE_TO_BATCH_ND": _DILATED,
    "BATCH_TO_SPACE_ND": _DILATED,
    "BROADCAST_TO": "add or multiply the small tensor directly: it broadcasts",
    "DEQUANTIZE": INTEGER,
    "CAST": INTEGER,
    "PADV2": "pad with zeros: ZeroPadding2D",
    "MIRROR_PAD": "pad with zeros: ZeroPadding2D",
    "DIV": "multiply by the reciprocal",
}
# What to do about versions that are too new
_OLDER = {
    "TILE": "use UpSampling2D(2, interpolation='bilinear'), or keras.ops.image.resize(x, size, "
    "interpolation='nearest'), instead of UpSampling2D(2), which repeats pixels",
    "TRANSPOSE_CONV": UPSAMPLE + " instead of Conv2DTranspose (a bias and a ReLU make it version 4)",
    "CONV_2D": "use Conv2D(groups=1), or DepthwiseConv2D and a 1x1 Conv2D, instead of a grouped convolution",
    "FULLY_CONNECTED": "use a 1x1 Conv2D instead of Dense",
}
# Their first input is the data; the others have rules of their own. The states of an LSTM are int16, and it maps
# (google-coral/test_data, keras_lstm_mnist_ptq).
_WITH_PARAMETERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "PRELU", "PAD", "UNIDIRECTIONAL_SEQUENCE_LSTM")


class Opinion(NamedTuple):
    """On one operator by itself; `reason` and `fix` are empty on the Edge TPU."""

    place: str  # tpu | cpu | unreadable: the compiler ends when it meets this operator
    reason: str = ""
    fix: str = ""


def judge(model: TfliteModel, operator: Operator) -> Opinion:
    """Where the compiler puts `operator` of `model`, if no other operator stands in the way."""
    why = _unreadable(operator)
    if why:
        return Opinion(UNREADABLE, *why)
    why = _absent(operator.name) or _unfit(_case(model, operator))
    return Opinion(CPU, *why) if why else Opinion(TPU)


def unproven(model: TfliteModel, operator: Operator) -> str:
    """What is not known about an operator that `judge` puts on the Edge TPU; "" if nothing."""
    return NOTES[operator.name](_case(model, operator)) if operator.name in NOTES else ""


def _case(model: TfliteModel, operator: Operator) -> Case:
    return Case(
        operator,
        tuple(model.tensors[i] if i >= 0 else None for i in operator.inputs),
        tuple(model.tensors[i] for i in operator.outputs if i >= 0),
    )


def _unreadable(operator: Operator) -> Why:
    name, highest = operator.name, HIGHEST_VERSION.get(operator.name)
    if name in CUSTOM or (highest is not None and operator.version <= highest):
        return None
    if name.startswith("CUSTOM"):
        return (
            "a custom operator: the compiler ends with 'Encountered unresolved custom op'",
            "use builtin operators only: converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]",
        )
    if highest is None:
        reason = "newer than compiler {}, whose parser does not know it".format(COMPILER)
        return reason, _REPLACE.get(name, "replace the layer that makes it")
    reason = "version {}; the parser of compiler {} knows up to version {}".format(operator.version, COMPILER, highest)
    return reason, _OLDER.get(name, "replace the layer that makes it, or convert with TensorFlow 2.5")


def _absent(name: str) -> Why:
    if name in RULES:
        return None
    return "not among the operators of the Edge TPU", _REPLACE.get(name, "replace the layer that makes it")


def _unfit(case: Case) -> Why:
    if not case.outputs:
        return "it has no output", "take it out of the network"
    return _wrong_tensors(case) or RULES[case.operator.name](case)


def _wrong_tensors(case: Case) -> Why:
    """coral.ai/docs/edgetpu/models-intro, "Model requirements"."""
    inputs = case.computed[:1] if case.operator.name in _WITH_PARAMETERS else case.computed
    for tensor in inputs + list(case.outputs):
        if tensor.type not in ("int8", "uint8"):
            return (
                "works on {}, not on int8 or uint8".format(tensor.type),
                INTEGER if case.operator.name == "QUANTIZE" else QUANTISE,
            )
        if any(size != 1 for size in tensor.shape[:-3]):
            return (
                "a tensor of {}: only the three innermost sizes may be more than 1".format(list(tensor.shape)),
                "use a batch of 1, keras.Input(batch_shape=(1, height, width, channels)), and at most 4 dimensions",
            )
    return None
