"""A float Keras network becomes a .tflite file: batch 1, static shapes, low-resolution logits."""

import math
from collections.abc import Iterable, Iterator

import keras
import numpy as np

from edgeseg.errors import CheckFailed, UsageError
from edgeseg.export.quiet import quiet
from edgeseg.tflite.checks import check_full_integer, check_static
from edgeseg.tflite.model import TfliteModel, read_tflite

INPUT_SCALE = 2 / 255  # of a uint8 pixel, so that 0..255 are -1..1


def to_float_tflite(network: keras.Model) -> bytes:
    """Convert to float32 in and out; the input is in [-1, 1]."""
    data = _convert(network, None)
    _require(check_static(read_tflite(data)))
    return data


def to_int8_tflite(network: keras.Model, calibration: Iterable[np.ndarray]) -> bytes:
    """Convert to full-integer int8 with per-channel weights; input uint8 pixels, output int8 logits.

    `calibration` yields RGB images (H, W, 3) uint8 of the network's size, from which the ranges of
    activations are taken. Raises CheckFailed if the result is not full-integer.
    """
    data = _convert(network, calibration)
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


def _convert(network: keras.Model, calibration: Iterable[np.ndarray] | None) -> bytes:
    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"export needs Keras on TensorFlow, not on {keras.backend.backend()}", "set KERAS_BACKEND=tensorflow"
        )
    import tensorflow as tf

    with quiet():
        converter = tf.lite.TFLiteConverter.from_keras_model(_static(network))
        if calibration is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: _representative(calibration)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.uint8
            converter.inference_output_type = tf.int8
        return bytes(converter.convert())


def _static(network: keras.Model) -> keras.Model:
    """The same layers behind a batch of exactly 1: otherwise the file's shape_signature begins with -1."""
    image = keras.Input(batch_shape=(1, *network.input_shape[1:]), name="image")
    return keras.Model(image, network(image, training=False))


def _representative(images: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Float batches; the first holds a black and a white corner, so the input's range is exactly -1..1."""
    for i, image in enumerate(images):
        batch = (image.astype(np.float32) / 127.5 - 1)[None]
        if i == 0:
            batch[0, 0, 0], batch[0, -1, -1] = -1, 1
        yield [batch]


def _require(problems: list[str]) -> None:
    if problems:
        raise CheckFailed(
            "the converted file is not what was asked for: " + "; ".join(problems),
            "this converter version is not supported: install the tensorflow of `pip install 'edgeseg[export]'`",
        )
