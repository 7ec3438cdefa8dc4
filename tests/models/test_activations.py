"""Ranges of activations: what was seen, what each method makes of it."""

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.models.activations import BINS, METHODS, Histogram, observe, range_of
from edgeseg.models.fake_quant import Range


def histogram(*images: np.ndarray) -> Histogram:
    made = Histogram(np.inf, -np.inf, 2.0**-20, np.zeros(BINS, np.int64))
    for values in images:
        made = made.add(float(values.min()), float(values.max()), values.astype(np.float32))
    return made


@pytest.fixture(scope="module")
def usual() -> np.ndarray:
    return np.random.default_rng(0).normal(0.5, 1, 100_000)


def test_bins_grow_with_the_values(usual: np.ndarray) -> None:
    """Small values first, then larger ones: the same counts as of all at once, but for values on the edges of bins."""
    together, apart = histogram(usual), histogram(*np.array_split(usual[np.argsort(np.abs(usual))], 10))
    assert (apart.low, apart.high, apart.limit) == (together.low, together.high, together.limit)
    assert apart.counts.sum() == together.counts.sum() == usual.size
    assert np.abs(np.cumsum(apart.counts) - np.cumsum(together.counts)).max() <= 20


def test_percentile_cuts_an_outlier_that_min_max_keeps(usual: np.ndarray) -> None:
    seen = histogram(usual, np.array([40.0, -30.0]))
    assert range_of(seen, "min-max") == Range(-30, 40)
    low, high = range_of(seen, "percentile")
    assert 5 <= (usual < low).sum() <= 10 and 5 <= (usual > high).sum() <= 10  # of 100 000
    low, high = range_of(seen, "entropy")
    assert -30 < low < high < 40


def test_exact_zeros_decide_nothing() -> None:
    """Half of what a ReLU gives are zeros, which int8 has a step for in every range."""
    values = np.random.default_rng(0).uniform(0, 6, 10_000)
    with_zeros = np.concatenate([values, np.zeros(1_000_000)])
    for method in METHODS:
        assert range_of(histogram(with_zeros), method) == pytest.approx(range_of(histogram(values), method), abs=1e-9)
        assert range_of(histogram(with_zeros), method).high > 5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("values", [[3.0, 3.0], [0.0, 0.0], [-2.0, -1.0], [1e-30, 2e-30]])
def test_a_range_contains_zero_and_has_a_width(method: str, values: list[float]) -> None:
    low, high = range_of(histogram(np.array(values)), method)  # type: ignore[arg-type]
    assert low <= min(0, *values) and high >= 0 and high - low >= 1e-6
    assert high >= 0.99 * max(values)


def tiny() -> keras.Model:
    image = keras.Input((32, 64, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="conv")(image)
    x = layers.ReLU(6.0, name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.Conv2D(5, 1, name="score")(layers.AveragePooling2D(2)(x))
    return keras.Model(image, x)


def test_what_is_observed_is_what_the_layers_give() -> None:
    keras.utils.set_random_seed(0)
    network = tiny()
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 64, 3), np.uint8)
    seen = observe(network, iter(images))
    assert list(seen.ranges("min-max")) == ["relu", "score"]
    probe = keras.Model(network.input, [network.get_layer(name).output for name in ("relu", "score")])
    for name, values in zip(("relu", "score"), probe.predict(images / np.float32(127.5) - 1, verbose=0), strict=True):
        assert seen.histograms[name][:2] == pytest.approx((values.min(), values.max()), abs=1e-5)
        assert seen.histograms[name].counts.sum() == np.count_nonzero(values)
    assert seen.means["conv"] == pytest.approx((images / 127.5 - 1).mean(axis=(0, 1, 2)), abs=1e-5)
    inputs = keras.Model(network.input, network.get_layer("score").input).predict(images / 127.5 - 1, verbose=0)
    assert seen.means["score"] == pytest.approx(inputs.mean(axis=(0, 1, 2)), abs=1e-5)


def test_no_ranges_come_of_nothing() -> None:
    network = tiny()
    with pytest.raises(ValueError, match="no image"):
        observe(network, [])
    network.get_layer("score").bias.assign(np.full(5, np.nan, np.float32))
    with pytest.raises(ValueError, match="no numbers"):
        observe(network, [np.zeros((32, 64, 3), np.uint8)])
