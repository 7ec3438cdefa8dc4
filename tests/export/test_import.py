"""Models made by TensorFlow's converter: `edgeseg import` and a Segmenter give the masks that one computes by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from edgeseg import Segmenter
from edgeseg.bundle import Bundle
from edgeseg.errors import UsageError
from edgeseg.importing.build import ImportRequest, make_bundle
from edgeseg.importing.output import OutputOptions
from edgeseg.importing.pixels import PixelOptions
from edgeseg.postprocess import Upsampler

HEIGHT, WIDTH, CLASSES = 66, 98, 5  # stride 8 leaves a part of a cell
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
ALIGN = {"half_pixel": False, "align_corners": True}


def image(seed: int) -> np.ndarray:
    """(66, 98, 3) uint8 with structure at several scales."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (9, 13, 3)).repeat(8, 0).repeat(8, 1)[:HEIGHT, :WIDTH]
    return np.clip(coarse + rng.normal(0, 20, coarse.shape), 0, 255).astype(np.uint8)


IMAGE = image(7)


def resized(logits: Any, align: bool) -> Any:
    """TensorFlow's own resize by either convention."""
    if align:
        return tf.compat.v1.image.resize_bilinear(logits, (HEIGHT, WIDTH), align_corners=True)
    return tf.image.resize(logits, (HEIGHT, WIDTH), "bilinear")


class Resize(layers.Layer):  # type: ignore[misc]
    def __init__(self, align: bool) -> None:
        super().__init__()
        self.align = align

    def call(self, x: Any) -> Any:
        return resized(x, self.align)


class ArgMax(layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return tf.argmax(x, axis=-1)


def network(*tail: layers.Layer) -> keras.Model:
    keras.utils.set_random_seed(5)
    source = keras.Input(batch_shape=(1, HEIGHT, WIDTH, 3))
    x = layers.Conv2D(16, 5, 4, padding="same", activation="relu6")(source)
    x = layers.Conv2D(CLASSES, 3, 2, padding="same", name="logits")(x)
    for layer in tail:
        x = layer(x)
    return keras.Model(source, x)


def convert(model: keras.Model, normalise: Callable[[np.ndarray], np.ndarray], integers: Any = None) -> bytes:
    """A .tflite file; full-integer with `integers` as the type of its input and output."""
    from edgeseg.export.quiet import quiet

    with quiet():
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if integers is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([normalise(image(i))[None]] for i in range(20))
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = integers
        return bytes(converter.convert())


def signed(x: np.ndarray) -> np.ndarray:
    return (x / 127.5 - 1).astype(np.float32)


def normalised(x: np.ndarray) -> np.ndarray:
    return ((x / 255 - MEAN) / STD).astype(np.float32)


def by_hand(data: bytes, value: np.ndarray) -> np.ndarray:
    """What the interpreter gives for an input of its type, dequantised."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert source["dtype"] == value.dtype
    interpreter.set_tensor(source["index"], value[None])
    interpreter.invoke()
    scale, zero_point = sink["quantization"]
    found = interpreter.get_tensor(sink["index"])
    return (found.astype(np.float32) - zero_point) * scale if scale else found


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., Bundle]:
    (tmp_path / "labels.txt").write_text("".join(f"class {i}\n" for i in range(CLASSES)))

    def wrap(data: bytes, **options: Any) -> Bundle:
        path = tmp_path / "model.tflite"
        path.write_bytes(data)
        return make_bundle(ImportRequest(str(path), "", str(tmp_path / "labels.txt"), **options))

    return wrap


def mask_of(bundle: Bundle) -> np.ndarray:
    with Segmenter(bundle, "cpu") as segmenter:
        return np.array(segmenter(IMAGE, "rgb").mask)


def assert_same(mask: np.ndarray, full: np.ndarray, tie: float) -> None:
    """The winners of `full` (H, W, classes), but where two classes are within `tie` of each other."""
    top = np.sort(full, axis=-1)
    sure = top[..., -1] - top[..., -2] > tie
    assert sure.mean() > 0.8 and len(np.unique(mask)) > 2
    assert np.array_equal(mask[sure], full.argmax(-1)[sure])


@pytest.mark.parametrize("resize", ["half_pixel", "align_corners"])
@pytest.mark.parametrize("grid", [(9, 13), (33, 49), (66, 98), (1, 4)])
def test_upsampling_is_tensorflows(resize: str, grid: tuple[int, int]) -> None:
    logits = np.random.default_rng(3).normal(size=(*grid, CLASSES)).astype(np.float32)
    upsampler = Upsampler(logits.shape, (HEIGHT, WIDTH), ((HEIGHT, HEIGHT), (WIDTH, WIDTH)), resize)
    assert_same(upsampler(logits), resized(logits[None], ALIGN[resize]).numpy()[0], 1e-3)


@pytest.mark.parametrize("resize", ["half_pixel", "align_corners"])
@pytest.mark.parametrize("kind, shift", [("uint8", 0), ("int8", -128)])
def test_quantised_logits(imported: Callable[..., Bundle], resize: str, kind: str, shift: int) -> None:
    data = convert(network(), signed, getattr(tf, kind))
    bundle = imported(data, output=OutputOptions(resize=resize))
    assert (bundle.manifest.input.dtype, bundle.manifest.output.dtype) == (kind, kind)
    assert (bundle.manifest.network.stride, bundle.manifest.target.precision) == (8, "int8")
    logits = by_hand(data, (IMAGE.astype(np.int16) + shift).astype(kind))
    assert_same(mask_of(bundle), resized(logits, ALIGN[resize]).numpy()[0], 1e-4)


@pytest.mark.parametrize("resize", ["half_pixel", "align_corners"])
@pytest.mark.parametrize("integers", [None, tf.uint8])
def test_upsampling_in_the_graph_and_on_the_device(imported: Callable[..., Bundle], resize: str, integers: Any) -> None:
    """The convention comes from the operator that is cut off."""
    data = convert(network(Resize(ALIGN[resize]), ArgMax()), signed, None)
    logits_only = convert(network(), signed, None)
    pixels = PixelOptions((-1, 1))
    full = resized(by_hand(logits_only, signed(IMAGE)), ALIGN[resize]).numpy()[0]
    if integers is not None:  # the type of ARG_MAX is that of the logits, so only they are quantised
        data = convert(network(Resize(ALIGN[resize])), signed, integers)
        full = by_hand(data, IMAGE)[0]
    graph, device = (imported(data, upsampling=where, pixels=pixels) for where in ("graph", "device"))
    assert (graph.manifest.network.stride, device.manifest.network.stride) == (1, 8)
    assert (graph.manifest.output.kind == "classes") == (integers is None)
    assert (device.manifest.output.kind, device.manifest.output.resize) == ("logits", resize)
    assert_same(mask_of(graph), full, 1e-3)
    # The graph rounds each upsampled logit to a step.
    assert_same(mask_of(device), full, 1e-3 if integers is None else 1.01 * graph.manifest.output.scale)
    assert "ARG_MAX" in device.manifest.provenance["left_out"] or integers is not None


@pytest.mark.parametrize("integers", [None, tf.uint8, tf.int8])
def test_images_normalised_by_mean_and_std(imported: Callable[..., Bundle], integers: Any) -> None:
    data = convert(network(), normalised, integers)
    told = {"output": OutputOptions(resize="half_pixel")}
    with pytest.raises(UsageError, match=r"which values its input|is no usual range"):
        imported(data, **told)
    bundle = imported(data, pixels=PixelOptions(mean=tuple(MEAN), std=tuple(STD)), **told)
    assert len(set(bundle.manifest.input.scale)) == 3
    value = normalised(IMAGE)
    if integers is not None:
        from edgeseg.tflite.model import read_tflite

        model = read_tflite(data)
        tensor = model.tensors[model.inputs[0]]
        limits = np.iinfo(tensor.type)
        value = np.rint(value / tensor.scale[0] + tensor.zero_point[0]).clip(limits.min, limits.max).astype(tensor.type)
    # A pixel halfway between two steps may go to either.
    tie = 1e-3 if integers is None else 2.01 * bundle.manifest.output.scale
    assert_same(mask_of(bundle), resized(by_hand(data, value), False).numpy()[0], tie)


def test_a_softmax_is_left_out_and_confidence_is_right(imported: Callable[..., Bundle]) -> None:
    tail = (layers.UpSampling2D(8, interpolation="bilinear"), layers.Cropping2D(((0, 6), (0, 6))), layers.Softmax())
    data = convert(network(*tail), signed, None)
    bundle = imported(data, pixels=PixelOptions((-1, 1)))
    assert bundle.manifest.provenance["left_out"] == "SOFTMAX" and bundle.manifest.output.kind == "logits"
    probabilities = by_hand(data, signed(IMAGE))[0]
    with Segmenter(bundle, "cpu") as segmenter:
        result = segmenter(IMAGE, "rgb")
    assert_same(result.mask, probabilities, 1e-4)
    first, second = np.sort(probabilities, axis=-1)[..., :-3:-1].transpose(2, 0, 1)
    assert np.abs(result.confidence - (first - second) / (first + second)).max() < 1e-3


def test_dynamic_batch_runs_on_the_cpu(imported: Callable[..., Bundle]) -> None:
    """Keras without a batch size: the file says -1, runtimes take 1."""
    model = network()
    source = keras.Input((HEIGHT, WIDTH, 3))
    data = convert(keras.Model(source, model.call(source)), signed, None)
    options = {"pixels": PixelOptions((-1, 1)), "output": OutputOptions(resize="half_pixel")}
    assert np.array_equal(mask_of(imported(data, **options)), mask_of(imported(convert(model, signed), **options)))


def test_float16_weights(imported: Callable[..., Bundle]) -> None:
    from edgeseg.export.quiet import quiet

    with quiet():
        converter = tf.lite.TFLiteConverter.from_keras_model(network())
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
        data = bytes(converter.convert())
    bundle = imported(data, pixels=PixelOptions((-1, 1)), output=OutputOptions(resize="half_pixel"))
    assert bundle.manifest.target.precision == "fp32"
    assert bundle.manifest.network.parameters == network().count_params()
    assert_same(mask_of(bundle), resized(by_hand(data, signed(IMAGE)), False).numpy()[0], 1e-3)


def test_cost_is_that_of_the_keras_network(imported: Callable[..., Bundle]) -> None:
    from edgeseg.models.cost import cost_of

    model = network()
    options = {"pixels": PixelOptions((-1, 1)), "output": OutputOptions(resize="half_pixel")}
    for data in (convert(model, signed), convert(model, signed, tf.uint8)):
        found = imported(data, **options).manifest.network
        assert (found.parameters, found.macs) == cost_of(model)[:2]
