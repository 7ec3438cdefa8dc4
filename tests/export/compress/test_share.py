"""Weight sharing: few values on the int8 grid, zeros that stay, a codebook that learns as a whole."""

import keras
import numpy as np
import pytest

from edgeseg.export.compress.share import share
from edgeseg.export.source import open_network
from edgeseg.models.hold import (
    LARGEST,
    channel_axis_of,
    channel_scales,
    convolutions_of,
    held_by,
    hold_views,
    turn_negative_scales,
)
from edgeseg.models.views import bake, look_through


@pytest.fixture(scope="module")
def kernel():
    return np.random.default_rng(0).normal(0, 0.1, (1, 1, 64, 48)).astype(np.float32)


def as_int8(kernel):
    """As TensorFlow Lite quantises weights: symmetric, a scale for each output channel."""
    scales = np.abs(kernel).max(axis=(0, 1, 2)) / 127
    return np.rint(kernel / scales).astype(np.int64)


@pytest.mark.parametrize("clusters", [4, 16, 64, 256])
def test_int8_holds_the_codebook_and_nothing_else(kernel, clusters):
    shared = share(kernel, clusters)
    found = np.unique(as_int8(shared.kernel()))
    assert set(found) <= set(shared.codebook.astype(int)) and len(shared.codebook) <= clusters
    assert len(found) > 0.8 * min(clusters, 200)
    assert np.abs(found).max() == LARGEST and shared.codebook.dtype == np.float64
    assert (shared.codebook == np.rint(shared.codebook)).all()


def test_more_clusters_are_nearer():
    kernel = np.random.default_rng(0).laplace(0, 0.1, (1, 1, 64, 48)).astype(np.float32)
    errors = [np.abs(share(kernel, k).kernel() - kernel).mean() for k in (4, 16, 64)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    even = np.linspace(-LARGEST, LARGEST, 16)
    scales = np.abs(kernel).max(axis=(0, 1, 2)) / LARGEST
    evenly = even[np.abs((kernel / scales)[..., None] - even).argmin(-1)] * scales
    assert errors[1] < 0.8 * np.abs(evenly - kernel).mean(), "the values lie where the weights are"


def test_pruned_weights_stay_zero(kernel):
    pruned = np.where(np.abs(kernel) < 0.1, 0, kernel)
    shared = share(pruned, 8, is_pruned=True)
    assert 0 in shared.codebook and len(shared.codebook) <= 8
    assert np.array_equal(shared.kernel() == 0, pruned == 0)


def test_a_channel_without_weights():
    kernel = np.zeros((1, 1, 4, 2), np.float32)
    kernel[..., 1] = [[[1, -1, 0.5, 0.25]]]
    shared = share(kernel, 16)
    assert np.array_equal(shared.kernel()[..., 0], kernel[..., 0])


def test_depthwise_kernels_have_their_channels_elsewhere():
    kernel = np.random.default_rng(1).normal(size=(3, 3, 16, 1)).astype(np.float32)
    shared = share(kernel, 16, channel_axis=2)
    assert shared.scales.shape == (1, 1, 16, 1)
    assert np.abs(shared.codebook[shared.indices]).max(axis=(0, 1, 3)).tolist() == [127] * 16


def test_the_codebook_learns(kernel):
    """Training moves all weights of a value together, leaves the fixed ones, and ends on the grid."""
    pruned = np.where(np.abs(kernel) < 0.05, 0, kernel)
    shared = share(pruned, 16, is_pruned=True)
    image = keras.Input((4, 4, 64))
    network = keras.Model(image, keras.layers.Conv2D(48, 1, use_bias=False, name="conv")(image))
    network.get_layer("conv").set_weights([shared.kernel()])
    views = hold_views(network, "values")
    look_through(network, views)
    x = np.random.default_rng(2).normal(size=(8, 4, 4, 64)).astype(np.float32)
    wanted = x @ (pruned[0, 0] * 1.2)
    network.compile(keras.optimizers.Adam(3e-3), "mse")
    first = network.train_on_batch(x, wanted)
    for _ in range(30):
        last = network.train_on_batch(x, wanted)
    assert last < 0.9 * first
    bake(network, views)
    after = as_int8(keras.ops.convert_to_numpy(network.get_layer("conv").kernel))
    before = shared.codebook[shared.indices]
    moved = {old: np.unique(after[before == old]).tolist() for old in shared.codebook}
    assert all(len(new) == 1 for new in moved.values()), moved
    assert moved[0] == [0] and moved[127] == [127] and moved[-127] == [-127]
    assert any(new != [old] for old, new in moved.items())


def test_only_convolutions_have_views():
    image = keras.Input((4, 4, 3))
    network = keras.Model(image, keras.layers.ReLU(name="relu")(image))
    with pytest.raises(TypeError, match="relu is a ReLU"):
        look_through(network, {"relu": lambda kernel: kernel})


@pytest.mark.parametrize("strides", [1, 2])
def test_depthwise_convolutions_are_seen_too(strides):
    image = keras.Input((6, 6, 3))
    layer = keras.layers.DepthwiseConv2D(3, strides, padding="same", name="depthwise", bias_initializer="ones")
    network = keras.Model(image, layer(image))
    x = np.random.default_rng(3).normal(size=(1, 6, 6, 3)).astype(np.float32)
    views = {"depthwise": lambda kernel: 2 * kernel}
    plain = keras.ops.convert_to_numpy(network(x))
    look_through(network, views)
    seen = keras.ops.convert_to_numpy(network(x))
    np.testing.assert_allclose(seen - 1, 2 * (plain - 1), atol=1e-5)


@pytest.fixture
def normed():
    """Convolutions with BatchNorm, half of whose scales are negative."""
    image = keras.Input((8, 8, 3))
    x = image
    rng = np.random.default_rng(4)
    for name, layer in (
        ("conv", keras.layers.Conv2D(16, 3, use_bias=True, name="conv")),
        ("depthwise", keras.layers.DepthwiseConv2D(3, use_bias=False, name="depthwise")),
        ("score", keras.layers.Conv2D(4, 1, use_bias=False, name="score")),
    ):
        x = keras.layers.BatchNormalization(name=f"{name}_BN")(layer(x))
    network = keras.Model(image, x)
    for layer in network.layers:
        shapes = [tuple(w.shape) for w in layer.weights]
        layer.set_weights([rng.normal(size=shape) for shape in shapes])
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_variance.assign(rng.uniform(0.5, 2, layer.gamma.shape))
    return network


def test_negative_scales_turn_without_a_change_of_the_function(normed):
    x = np.random.default_rng(5).normal(size=(2, 8, 8, 3)).astype(np.float32)
    before = keras.ops.convert_to_numpy(normed(x))
    turn_negative_scales(normed)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(normed(x)), before, atol=1e-4)
    assert all((keras.ops.convert_to_numpy(x.gamma) >= 0).all() for x in normed.layers if x.name.endswith("_BN"))


def test_what_compression_left(kernel):
    image = keras.Input((4, 4, 64))
    network = keras.Model(image, keras.layers.Conv2D(48, 1, use_bias=False, name="conv")(image))
    pruned = np.where(np.abs(kernel) < 0.05, 0, kernel)
    wanted = {"": kernel, "zeros": pruned, "values": share(pruned, 16, is_pruned=True).kernel()}
    for held, values in wanted.items():
        network.get_layer("conv").set_weights([values])
        assert held_by(network) == held


def test_zeros_of_rounding_are_not_those_of_pruning():
    """Int8 training leaves kernels on the grid, and some of them, with a few large weights, a third zeros."""
    network = open_network("fcn8-0.35-camvid").network
    shares = []
    for layer in convolutions_of(network):
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        scales = channel_scales(kernel, channel_axis_of(layer))
        layer.kernel.assign(scales * np.rint(kernel / scales))
        shares.append(float((keras.ops.convert_to_numpy(layer.kernel) == 0).mean()))
    assert max(shares) > 0.2 and held_by(network) == ""
