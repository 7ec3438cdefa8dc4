"""The preflight on what today's converter makes of Keras layers: the reason, and a fix that does mend it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgeseg.coral.preflight import CACHE_BYTES, preflight, require_whole
from edgeseg.errors import CheckFailed
from edgeseg.tflite.model import TfliteModel, read_tflite

Layers = Callable[[Any], Any]


def converted(layers: Layers, batch: int | None = 1, quantised: bool = True, integer_io: bool = True) -> TfliteModel:
    """A network of `layers` behind a first convolution, for images of 16x16."""
    from edgeseg.export.quiet import import_tensorflow, quiet

    import_tensorflow()
    import keras
    import tensorflow as tf

    image = keras.Input(batch_shape=(batch, 16, 16, 3))
    features = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(image)
    rng = np.random.default_rng(1)
    with quiet():
        converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, layers(features)))
        if quantised:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            images = [rng.uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32) for _ in range(3)]
            converter.representative_dataset = lambda: ([image] for image in images)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if quantised and integer_io:
            converter.inference_input_type, converter.inference_output_type = tf.uint8, tf.int8
        return read_tflite(bytes(converter.convert()))


def upsampled(how: str) -> Layers:
    def layers(x: Any) -> Any:
        import keras

        if how == "image.resize":
            return keras.ops.image.resize(x, (16, 16), interpolation="nearest")
        return keras.layers.UpSampling2D(2, interpolation=how)(x)

    return layers


def deconvolved(use_bias: bool) -> Layers:
    def layers(x: Any) -> Any:
        import keras

        bias = {"use_bias": use_bias, "bias_initializer": "random_normal"}  # zeros would be left out of the file
        return keras.layers.Conv2DTranspose(4, 4, 2, padding="same", activation="relu", **bias)(x)

    return layers


def resized_and_convolved(x: Any) -> Any:
    import keras

    return keras.layers.Conv2D(4, 3, padding="same", activation="relu")(upsampled("bilinear")(x))


def convolved(groups: int = 1, filters: int = 8) -> Layers:
    def layers(x: Any) -> Any:
        import keras

        return keras.layers.Conv2D(filters, 3, padding="same", groups=groups)(x)

    return layers


def classified(x: Any) -> Any:
    import keras
    import tensorflow as tf

    class ArgMax(keras.layers.Layer):  # type: ignore[misc]
        def call(self, logits: Any) -> Any:
            return tf.argmax(logits, axis=-1, output_type=tf.int32)

    return ArgMax()(convolved()(x))


def softmaxed(x: Any) -> Any:
    import keras

    return keras.layers.Softmax()(convolved()(x))


def pooled_and_resized(x: Any) -> Any:
    import keras

    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    return keras.layers.Concatenate()([x, keras.layers.UpSampling2D(8, interpolation="bilinear")(pooled)])


def pooled_and_added(x: Any) -> Any:
    import keras

    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    return keras.layers.Add()([x, keras.layers.Conv2D(8, 1)(pooled)])


def leaky(x: Any) -> Any:
    import keras

    return keras.layers.Conv2D(4, 1)(keras.layers.LeakyReLU()(convolved()(x)))


@pytest.mark.parametrize(
    ("layers", "operator", "version", "fix"),
    [
        (upsampled("nearest"), "TILE", 3, "UpSampling2D(2, interpolation='bilinear')"),
        (deconvolved(use_bias=True), "TRANSPOSE_CONV", 4, "UpSampling2D(2, interpolation='bilinear') and a Conv2D"),
        (convolved(groups=2), "CONV_2D", 6, "DepthwiseConv2D"),
    ],
)
def test_versions_that_end_the_compilation(layers: Layers, operator: str, version: int, fix: str) -> None:
    found = preflight(converted(layers))
    refused = [v for v in found.verdicts if v.place == "unreadable"]
    assert {(v.operator, v.version) for v in refused} == {(operator, version)}
    assert all(f"version {version};" in v.reason and fix in v.fix for v in refused)
    assert not found.readable and not found.whole and "refuses this file" in found.summary()
    assert any("TensorFlow Lite 2." in p.text for p in found.problems)  # the converter says so too


@pytest.mark.parametrize(
    ("layers", "operator", "reason", "fix"),
    [
        (deconvolved(use_bias=False), "TRANSPOSE_CONV", "transposed convolutions", "instead of Conv2DTranspose"),
        (classified, "ARG_MAX", "not among the operators", "end the network at its logits"),
        (softmaxed, "SOFTMAX", "softmax at each pixel of [1, 8, 8, 8]", "end the network at its logits"),
        (pooled_and_resized, "RESIZE_BILINEAR", "1x1 -> 8x8 is not mapped", "directly: it broadcasts"),
        (leaky, "LEAKY_RELU", "not among the operators", "ReLU(max_value=6)"),
    ],
)
def test_operators_that_break_the_subgraph(layers: Layers, operator: str, reason: str, fix: str) -> None:
    found = preflight(converted(layers))
    assert found.readable and not found.whole
    assert found.first_break is not None
    assert (found.first_break.operator, found.first_break.place) == (operator, "cpu")
    assert reason in found.first_break.reason
    assert fix in found.first_break.fix
    for verdict in found.verdicts[found.first_break.number + 1 :]:
        assert verdict.place == "cpu"
        assert "More than one subgraph" in verdict.reason or verdict.after is None


@pytest.mark.parametrize(
    "layers",
    [upsampled("bilinear"), upsampled("image.resize"), resized_and_convolved, convolved(), pooled_and_added],
    ids=["bilinear", "image.resize", "instead of a deconvolution", "no groups", "added"],
)
def test_the_fixes_mend_it(layers: Layers) -> None:
    found = preflight(converted(layers))
    assert found.whole and found.problems == () and found.cached
    assert found.min_runtime_version <= "2.5.0"
    assert bool(found.notes) == (layers is pooled_and_added)  # nobody has seen that broadcast compiled


def test_dynamic_batch() -> None:
    found = preflight(converted(convolved(), batch=None))
    (problem,) = found.problems
    assert problem.stops and "dynamic shape" in problem.text and "[-1, 16, 16, 3]" in problem.text
    assert "keras.Input(batch_shape=(1, height, width, channels))" in problem.fix
    assert not found.readable and found.mapped_share == 0


def test_float_network() -> None:
    found = preflight(converted(convolved(), quantised=False))
    assert not found.readable and all(v.place == "cpu" and "float32" in v.reason for v in found.verdicts)
    stopping = [p for p in found.problems if p.stops]
    assert len(stopping) == 1 and "not quantised" in stopping[0].text
    assert "converter.representative_dataset" in stopping[0].fix


def test_float_input_and_output() -> None:
    found = preflight(converted(convolved(), integer_io=False))
    assert [v.operator for v in found.verdicts if v.place == "cpu"] == ["QUANTIZE", "DEQUANTIZE"]
    assert found.readable and not found.whole
    assert [p.stops for p in found.problems] == [False, False]
    assert all("inference_input_type = tf.uint8" in p.fix for p in found.problems)


def test_more_parameters_than_stay_on_chip() -> None:
    def layers(x: Any) -> Any:
        return convolved(filters=960)(convolved(filters=960)(x))

    found = preflight(converted(layers))
    assert found.whole and not found.cached and found.parameter_bytes > CACHE_BYTES
    (problem,) = found.problems
    assert not problem.stops and "sent at each inference" in problem.text and "smaller width" in problem.fix


def test_require_whole_names_the_first_faults() -> None:
    with pytest.raises(CheckFailed) as caught:
        require_whole(converted(classified), "mine")
    message = caught.value.message
    assert message.startswith("mine does not run on the Edge TPU as a whole: ")
    assert "ARG_MAX" in message and "logits" in caught.value.fix
