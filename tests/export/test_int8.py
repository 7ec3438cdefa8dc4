"""int8 files: the ranges that were chosen, and biases that make up for rounded weights. Conversions are real."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.cli import main
from edgeseg.datasets import open_dataset
from edgeseg.errors import UsageError
from edgeseg.export.bias import with_corrected_biases
from edgeseg.export.fold import fold
from edgeseg.export.litert import ExportedNetwork
from edgeseg.export.pipeline import ExportRequest, export_bundle
from edgeseg.export.ranges import activation_ranges, magnitudes, with_biases
from edgeseg.export.tflite import to_int8, to_int8_tflite
from edgeseg.models.activations import observe
from edgeseg.models.fake_quant import quantised_tensors, rounded_kernel
from edgeseg.models.file import load_network, save_network
from edgeseg.models.network import build
from edgeseg.models.spec import NetworkSpec
from edgeseg.tflite.model import read_tflite


def odd():
    """A convolution with two readers, dropout in the middle, a sum with a ReLU, a pooling of it, a plain ReLU."""
    image = keras.Input((32, 64, 3), name="image")
    two = layers.Conv2D(8, 3, 2, padding="same", name="two")(layers.ZeroPadding2D(1)(image))
    one = layers.BatchNormalization(name="one_BN")(layers.Dropout(0.1)(layers.Conv2D(8, 1, name="one")(two)))
    x = layers.Add(name="sum")([layers.ReLU(name="one_relu")(one), two])
    x = layers.Conv2DTranspose(8, 4, 2, padding="same", use_bias=False, name="up")(layers.MaxPooling2D(2)(x))
    return keras.Model(image, layers.Conv2D(5, 1, name="score")(layers.SpatialDropout2D(0.1)(x)))


@pytest.mark.parametrize("name", ["fcn8", "spp", "odd"])
def test_the_tensors_that_are_rounded_are_those_of_the_engines(name):
    """Of TensorRT, which folds alike."""
    network = odd() if name == "odd" else build(NetworkSpec(name, 0.35, (64, 96), 11))
    steps = fold(network)
    expected = {step.name for step in steps if step.kind not in ("pool", "resize", "concat")}
    assert set(quantised_tensors(network)) == expected


def test_a_relu_belongs_to_the_sum_before_it_unless_another_reads_that_too():
    image = keras.Input((32, 64, 8), name="image")
    both = layers.Add(name="sum")([image, image])
    x = layers.ReLU(name="relu")(both)
    assert quantised_tensors(keras.Model(image, x)) == ["relu"]
    x = layers.Add(name="all")([x, both])
    assert quantised_tensors(keras.Model(image, x)) == ["sum", "relu", "all"]


@pytest.fixture(scope="module")
def network(workshop):
    return load_network(workshop.network)[0]


@pytest.fixture(scope="module")
def images(workshop):
    dataset = open_dataset(str(workshop.data))
    return [dataset.read(pair)[0] for pair in dataset.pairs("train")]


@pytest.fixture(scope="module")
def seen(network, images):
    return observe(network, images)


@pytest.fixture(scope="module")
def model(network, seen):
    return read_tflite(to_int8(with_corrected_biases(network, seen.means), seen.ranges("percentile")))


def test_the_file_has_the_ranges_that_were_chosen(network, seen, model):
    """And so has the ONNX file, which takes them from there."""
    ranges = seen.ranges("percentile")
    assert ranges["score"] != seen.ranges("min-max")["score"]
    found = activation_ranges(model, ranges)
    assert set(found) == set(ranges)
    for name, (low, high) in found.items():
        step = (ranges[name].high - ranges[name].low) / 255
        assert (low, high) == pytest.approx(ranges[name], abs=step), name  # zero is moved onto a step
        assert high - low == pytest.approx(255 * step, rel=1e-5), name
    largest = magnitudes(model, fold(network), "image")
    for name, bounds in ranges.items():
        assert largest[name] == pytest.approx(max(-bounds.low, bounds.high), rel=0.01), name


def test_the_onnx_file_has_the_biases_of_this_one(network, seen, model):
    plain = fold(network)
    kept = next(step.name for step in plain if step.kind == "conv")
    corrected = fold(with_corrected_biases(network, seen.means))
    for before, expected, step in zip(plain, corrected, with_biases(plain, model, [kept]), strict=True):
        if step.kind == "conv":
            wanted = before if step.name == kept else expected
            error, correction = np.subtract(step.bias, wanted.bias), np.subtract(before.bias, expected.bias)
            assert np.abs(error).max() < 0.2 * np.abs(correction).max(), step.name


def test_ranges_by_percentile_unless_others_are_asked_for(network, images, seen):
    model = read_tflite(to_int8_tflite(network, iter(images)))
    assert model.tensors[model.outputs[0]].scale[0] == pytest.approx(scale_of(seen, "percentile"), rel=1e-3)


def scale_of(seen, method):
    """A step of the logits."""
    low, high = seen.ranges(method)["score"]
    return (high - low) / 255


def coarse():
    """Weights of less than half a step but for one in each channel, on inputs that are positive: no other is left."""
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 64, 3), name="image")
    x = layers.ReLU(6.0)(layers.Conv2D(16, 3, padding="same", name="first")(image))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(name="norm")(x))
    network = keras.Model(image, layers.Conv2D(8, 1, name="score")(x))
    rng = np.random.default_rng(0)
    for name, axis in (("depthwise", 2), ("score", 3)):
        kernel = rng.uniform(0.001, 0.003, network.get_layer(name).kernel.shape)
        kernel[0, 0] += np.eye(16, 8) if axis == 3 else 1
        network.get_layer(name).kernel.assign(kernel.astype(np.float32))
    return network


def test_biases_make_up_for_rounded_weights():
    network = coarse()
    images = np.random.default_rng(1).integers(0, 256, (4, 32, 64, 3), np.uint8)
    seen = observe(network, images)
    ranges = seen.ranges("min-max")
    (float_logits,) = network.predict(images[:1] / np.float32(127.5) - 1, verbose=0)
    errors = []
    for one in (network, with_corrected_biases(network, seen.means)):
        exported = ExportedNetwork(to_int8(one, ranges))
        errors.append(exported.real_logits(exported.run(images[0])[0]) - float_logits)
    plain, corrected = (np.abs(error.mean(axis=(0, 1))).mean() for error in errors)
    assert corrected < 0.4 * plain


def test_the_mean_of_each_convolution_is_right():
    """With the others in float."""
    network = coarse()
    images = np.random.default_rng(1).integers(0, 256, (4, 32, 64, 3), np.uint8)
    corrected = with_corrected_biases(network, observe(network, images).means)
    for name, last, axis in (("first", "first", 3), ("depthwise", "norm", 2), ("score", "score", 3)):
        outputs = []
        for weights in (network, corrected):
            one = keras.models.clone_model(network)
            one.set_weights(network.get_weights())
            one.get_layer(last).set_weights(weights.get_layer(last).get_weights())
            outputs.append([mean_of(one, last, images)])
            one.get_layer(name).kernel.assign(rounded_kernel(network.get_layer(name).kernel, axis))
            outputs[-1].append(mean_of(one, last, images))
        (right, plain), (_, mended) = outputs
        assert np.abs(mended - right).max() < 0.2 * np.abs(plain - right).max(), name


def mean_of(network, layer, images):
    """Of each channel of a layer's output."""
    probe = keras.Model(network.input, network.get_layer(layer).output)
    return probe(images / np.float32(127.5) - 1, training=False).numpy().mean(axis=(0, 1, 2))


def test_weights_on_the_grid_need_no_correction(seen, network):
    on_grid = keras.models.clone_model(network)
    on_grid.set_weights(network.get_weights())
    for name, axis in (("conv1", 3), ("depthwise2", 2), ("conv3", 3), ("depthwise4", 2), ("conv5", 3), ("score", 3)):
        on_grid.get_layer(name).kernel.assign(rounded_kernel(on_grid.get_layer(name).kernel, axis))
    for before, after in zip(
        on_grid.get_weights(), with_corrected_biases(on_grid, seen.means).get_weights(), strict=True
    ):
        np.testing.assert_allclose(before, after, atol=1e-5)


@pytest.fixture(scope="module")
def trained(workshop, network, seen, tmp_path_factory):
    """The network as `edgeseg train --int8` leaves one: with ranges."""
    _, card = load_network(workshop.network)
    ranges = {name: (1.25 * low, 1.25 * high) for name, (low, high) in seen.ranges("percentile").items()}
    path = tmp_path_factory.mktemp("trained") / "network.keras"
    save_network(path, network, card._replace(ranges=ranges))
    return path


def test_ranges_of_the_training_need_no_images(trained, seen, tmp_path):
    said: list[str] = []
    manifest = export_bundle(ExportRequest(str(trained), tmp_path / "a.edgeseg"), said.append)
    assert manifest.output.scale == pytest.approx(1.25 * scale_of(seen, "percentile"), rel=1e-3)
    assert manifest.calibration == {"kind": "training", "dataset": "CamVid", "split": "train", "ranges": "percentile"}
    assert "the ranges of its training (CamVid train)" in said[0]


def test_ranges_on_the_command_line(workshop, seen, trained, box, tmp_path, capsys):
    export = ["export", "--target", "cpu", "-o", str(tmp_path / "a.edgeseg"), "--json"]
    assert main([*export, str(workshop.network), "--data", str(workshop.data), "--ranges", "min-max"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["calibration"]["ranges"] == "min-max" and manifest["calibration"]["images"] == 16
    assert manifest["output"]["scale"] == pytest.approx(scale_of(seen, "min-max"), rel=1e-3)
    assert scale_of(seen, "min-max") > 1.01 * scale_of(seen, "percentile")
    assert main([*export, "fcn8-camvid", "--ranges", "entropy"]) == 2
    assert "--data DIR" in capsys.readouterr().err
    with pytest.raises(UsageError, match="ranges of its own"):
        export_bundle(ExportRequest(str(trained), tmp_path / "b.edgeseg", ranges="entropy"), lambda text: None)
