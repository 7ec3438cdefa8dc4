"""A float Keras network becomes a .tflite file: batch 1, static shapes, low-resolution logits."""

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import keras
import numpy as np

from edgeseg.errors import CheckFailed, UsageError
from edgeseg.export.bias import with_corrected_biases
from edgeseg.export.quiet import quiet
from edgeseg.models.activations import DEFAULT_METHOD, Method, observe
from edgeseg.models.fake_quant import Range, fake_quant, quantised_tensors, round_outputs
from edgeseg.models.network import copy_of
from edgeseg.tflite.checks import check_full_integer, check_static
from edgeseg.tflite.model import TfliteModel, read_tflite

InputType = Literal["uint8", "int8"]

INPUT_RANGE = Range(-1.0, 1.0)  # of every network
INPUT_SCALE = 2 / 255  # of a uint8 pixel, so that 0..255 are -1..1


def to_float_tflite(network: keras.Model) -> bytes:
    """Convert to float32 in and out; the input is in [-1, 1]."""
    data = _convert(_static(network), None)
    _require(check_static(read_tflite(data)))
    return data


def to_int8_tflite(network: keras.Model, images: Iterable[np.ndarray], method: Method = DEFAULT_METHOD) -> bytes:
    """`to_int8` of a network that was calibrated on RGB images (H, W, 3) uint8 of its size.

    From them `method` takes the ranges, and biases make up for what rounding the weights shifts.
    """
    seen = observe(network, images)
    return to_int8(with_corrected_biases(network, seen.means), seen.ranges(method))


def to_int8(network: keras.Model, ranges: Mapping[str, Range]) -> bytes:
    """Convert to full-integer int8 with per-channel weights; input uint8 pixels, output int8 logits.

    `ranges` has all tensors of `quantised_tensors`, and the file has these ranges.
    Raises CheckFailed if the result is not full-integer.
    """
    data = _convert(_rounding(network, ranges), "uint8")
    model = read_tflite(data)
    _require(check_full_integer(model) + input_problems(model))
    return data


def input_problems(model: TfliteModel) -> list[str]:
    """Why a raw uint8 pixel copied into the input tensor would not mean pixel / 127.5 - 1; [] if it does."""
    tensor = model.tensors[model.inputs[0]]
    scale, zero_point = (*tensor.scale, 0.0)[0], (*tensor.zero_point, -1)[0]
    if math.isclose(scale, INPUT_SCALE, rel_tol=1e-4) and zero_point in (127, 128):
        return []
    return [f"input scale {scale} and zero point {zero_point} instead of {INPUT_SCALE:.6f} and 127 or 128"]


def to_int8_untrained(network: keras.Model, input_type: InputType = "uint8") -> bytes:
    """Convert a network of static shape whose values mean nothing, to be timed: that does not depend on them."""
    return _convert(_rounding(network, dict.fromkeys(quantised_tensors(network), Range(-1.0, 1.0))), input_type)


def _convert(network: keras.Model, input_type: InputType | None) -> bytes:
    """Without `input_type` to float32, else to int8 by the ranges that the network rounds within."""
    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"export needs Keras on TensorFlow, not on {keras.backend.backend()}", "set KERAS_BACKEND=tensorflow"
        )
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    image = tf.TensorSpec(network.input_shape, tf.float32, name="image")
    with quiet():
        # The same file as by from_keras_model, in a third of the time: that saves and traces the network anew.
        traced = tf.function(lambda image: network(image, training=False)).get_concrete_function(image)
        frozen = convert_variables_to_constants_v2(traced)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen], tf.Module())
        if input_type is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.inference_input_type = tf.dtypes.as_dtype(input_type)
            converter.inference_output_type = tf.int8
        return bytes(converter.convert())


def _static(network: keras.Model) -> keras.Model:
    """The same layers behind a batch of exactly 1: otherwise the file's shape_signature begins with -1."""
    image = keras.Input(batch_shape=(1, *network.input_shape[1:]), name="image")
    return keras.Model(image, network(image, training=False))


def _rounding(network: keras.Model, ranges: Mapping[str, Range]) -> keras.Model:
    """A copy of static shape that rounds its input and its activations: the converter takes the ranges from there."""
    copy = copy_of(network)
    round_outputs(copy, ranges)
    image = keras.Input(batch_shape=(1, *network.input_shape[1:]), name="image")
    return keras.Model(image, copy(fake_quant(image, INPUT_RANGE), training=False))


def _require(problems: list[str]) -> None:
    if problems:
        raise CheckFailed(
            "the converted file is not what was asked for: " + "; ".join(problems),
            "this converter version is not supported: install the tensorflow of `pip install 'edgeseg[export]'`",
        )
