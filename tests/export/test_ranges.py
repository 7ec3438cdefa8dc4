"""Every int8 file takes its ranges from one calibration, and convolutions that int8 would spoil are found."""

import numpy as np
import pytest

from edgeseg.bundle import read_bundle
from edgeseg.errors import CheckFailed
from edgeseg.export.fold import Step, fold
from edgeseg.export.ranges import activation_ranges, magnitudes, noisy_convolutions
from edgeseg.models.file import load_network
from edgeseg.tflite.model import read_tflite


@pytest.fixture(scope="module")
def steps(workshop):
    return fold(load_network(workshop.network)[0])


@pytest.fixture(scope="module")
def model(int8_bundle):
    return read_tflite(read_bundle(str(int8_bundle)).payloads["tflite"])


def test_the_ranges_of_the_tflite_file_are_those_of_the_activations(workshop, steps, model):
    """Checked on the images that it was calibrated on: all but 0.01 % of the values on each side are in the range."""
    import keras

    from edgeseg.datasets import open_dataset

    network, _ = load_network(workshop.network)
    dataset = open_dataset(str(workshop.data))
    batch = np.stack([dataset.read(pair)[0] for pair in dataset.pairs("train")]).astype(np.float32) / 127.5 - 1
    features = keras.Model(network.input, [network.get_layer(step.name).output for step in steps])
    ranges = activation_ranges(model, [step.name for step in steps])
    assert set(ranges) == {step.name for step in steps}
    for step, value in zip(steps, features(batch, training=False), strict=True):
        if step.name in ranges:
            low, high = ranges[step.name]
            seen = np.asarray(value)
            seen = seen[seen != 0]
            assert ((seen < low) | (seen > high)).mean() < 4e-4, step.name
            if step.kind != "resize":  # TFLite gives it the range of its input
                assert low >= 1.05 * min(0, np.percentile(seen, 0.003)) - 0.01, step.name
                assert high <= 1.05 * max(0, np.percentile(seen, 99.997)) + 0.01, step.name
    found = magnitudes(model, steps, "image")
    assert found["image"] == 1 and found["score"] == pytest.approx(
        np.percentile(np.abs(np.asarray(value)), 99.98), rel=0.1
    )


def test_the_file_of_another_network_is_refused(model, steps):
    with pytest.raises(CheckFailed, match="stranger"):
        magnitudes(model, [s._replace(name="stranger") if s.name == "add" else s for s in steps], "image")


def test_noise_is_predicted(steps, model):
    """The standard deviation that rounding a tensor really puts on the output of a convolution."""
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 3, (16, 8, 3, 3)).astype(np.float32)
    step = Step("conv", "loud", ("image",), (16, 1, 1), weight, np.zeros(16, np.float32))
    scale = 2.0 / 127
    patches = rng.uniform(-2, 2, (4000, 8, 3, 3))
    rounded = np.rint(patches / scale) * scale
    error = np.tensordot(rounded - patches, weight, axes=([1, 2, 3], [1, 2, 3])).std()
    (found,) = noisy_convolutions([step], {"image": 2.0, "loud": 1.0}).values()
    assert found == pytest.approx(error / (1 / 127), rel=0.05)
    assert noisy_convolutions([step], {"image": 2.0, "loud": 127.0}) == {}
    assert noisy_convolutions(steps, magnitudes(model, steps, "image")) == {}
