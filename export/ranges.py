"""Activation ranges and biases of an int8 .tflite file: found once, on the calibration images, for every int8 file."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from edgeseg.errors import CheckFailed
from edgeseg.export.fold import Step
from edgeseg.tflite.model import TfliteModel

INT8_MAX = 127  # symmetric, so -128 is not used
MAX_NOISE_STEPS = 2.0
_CONVERTER = "install the tensorflow of `pip install 'edgeseg[export]'`"


def activation_ranges(model: TfliteModel, layers: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of the output of each Keras layer that is a tensor of a full-integer `model`.

    The converter names a tensor after the operations that it fused, the last one first:
    ".../block_1_expand_relu_1/Relu6;.../block_1_expand_1/convolution". The number after a layer's name counts
    its calls. The network's input is "image", its output is known by its place.
    Raises CheckFailed if two tensors of different range belong to one layer.
    """
    known = set(layers)
    found: dict[str, tuple[float, float]] = {}
    for operator in model.operators:
        for index in operator.outputs:
            tensor = model.tensors[index]
            layer = _layer_of(tensor.name, known)
            if layer is None or tensor.type != "int8" or len(tensor.scale) != 1:
                continue
            bounds = _bounds(tensor.scale[0], tensor.zero_point[0])
            if found.setdefault(layer, bounds) != bounds:
                raise CheckFailed(
                    f"layer {layer} has two ranges in the int8 file: {found[layer]} and {bounds}",
                    _CONVERTER,
                )
    return found


def magnitudes(model: TfliteModel, steps: Sequence[Step], input_name: str) -> dict[str, float]:
    """The largest magnitude of every tensor of `steps`, which a symmetric quantisation has to cover.

    Raises CheckFailed naming the tensors that the int8 file tells nothing of.
    """
    found = activation_ranges(model, [step.name for step in steps])
    logits = model.tensors[model.outputs[0]]
    found[steps[-1].name] = _bounds(logits.scale[0], logits.zero_point[0])
    missing = [step.name for step in steps if step.name not in found]
    if missing:
        raise CheckFailed(
            f"the int8 file has no range for {', '.join(missing)}: it belongs to another network, or its converter "
            "is not supported",
            _CONVERTER,
        )
    return {input_name: 1.0, **{name: max(abs(low), abs(high)) for name, (low, high) in found.items()}}


def with_biases(steps: Sequence[Step], model: TfliteModel, kept_float: Collection[str]) -> list[Step]:
    """`steps` whose convolutions have the biases of the int8 file, which make up for rounded weights (export/bias.py).

    Those of `kept_float`, whose weights stay as they are, keep theirs.
    """
    names = {step.name for step in steps}
    found: dict[str | None, np.ndarray] = {}
    for operator in model.operators:
        if operator.name in ("CONV_2D", "DEPTHWISE_CONV_2D") and len(operator.inputs) > 2:
            bias = model.tensors[operator.inputs[2]]
            output = operator.outputs[0]
            layer = steps[-1].name if output == model.outputs[0] else _layer_of(model.tensors[output].name, names)
            found[layer] = (np.frombuffer(bias.data, "<i4") * np.asarray(bias.scale)).astype(np.float32)
    corrected = names & found.keys() - set(kept_float)
    return [step._replace(bias=found[step.name]) if step.name in corrected else step for step in steps]


def _bounds(scale: float, zero_point: int) -> tuple[float, float]:
    return (-128 - zero_point) * scale, (127 - zero_point) * scale


def _layer_of(tensor: str, layers: set[str]) -> str | None:
    for part in reversed(tensor.partition(";")[0].split("/")):
        uncounted = re.sub(r"_\d+$", "", part)
        for name in (uncounted, part):
            if name in layers:
                return name
    return None


def noisy_convolutions(steps: Sequence[Step], magnitudes: Mapping[str, float]) -> dict[str, float]:
    """Convolutions that int8 would spoil, with the noise that it would put on their output, in steps of int8.

    Rounding a tensor to steps of d adds noise of variance d^2 / 12 to each value (Nagel et al. 2021, arXiv 2106.08295,
    section 2.2); a convolution adds up those of its inputs, times its weights. Where BatchNorm has divided by a
    tiny variance, the folded weights are large and little of the output is signal. Measured on fcn8-camvid: two
    convolutions have 12.1 and 3.7 steps, all others less than 1.
    """
    found = {}
    for step in steps:
        if step.kind != "conv" or step.weight is None:
            continue
        noise = magnitudes[step.inputs[0]] / INT8_MAX / np.sqrt(12)
        gain = np.sqrt(np.square(step.weight, dtype=np.float64).sum(axis=(1, 2, 3)).mean())
        in_steps = float(noise * gain / (magnitudes[step.name] / INT8_MAX))
        if in_steps > MAX_NOISE_STEPS:
            found[step.name] = in_steps
    return found
