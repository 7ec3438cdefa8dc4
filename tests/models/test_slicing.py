"""A network cut out of a wider one computes what the wide one does without the channels that were dropped."""

import keras
import numpy as np
import pytest
from keras import layers

from edgeseg.models.network import NetworkSpec, build
from edgeseg.models.slicing import Arrays, channel_axes, slice_weights
from edgeseg.models.transfer import arrays_of, copy_weights

SPEC = NetworkSpec("spp", 0.5, (64, 64), 3)


def randomise(network: keras.Model) -> None:
    """Kernels of both signs that keep the scale of their input, statistics of no network's own."""
    rng = np.random.default_rng(0)
    for layer in network.layers:
        for weight in layer.weights:
            if weight.name == "kernel":
                fan_in = np.prod(weight.shape[:2]) * (1 if weight.shape[3] == 1 else weight.shape[2])
                weight.assign(rng.normal(0, 1.5 / np.sqrt(fan_in), weight.shape))
            else:
                weight.assign(rng.uniform(0.3, 1, weight.shape))


def without_dropped(wide: keras.Model, cut: Arrays) -> Arrays:
    """The arrays of `wide` with gamma and beta zero in the channels that are not in `cut`."""
    arrays = arrays_of(wide)
    for axis in channel_axes(wide):
        if axis.key.endswith("/gamma"):
            means = arrays[axis.layer + "/moving_mean"]  # all differ, so they tell which channels were kept
            dropped = ~np.isin(means, cut[axis.layer + "/moving_mean"])
            for name in ("gamma", "beta"):
                arrays[f"{axis.layer}/{name}"][dropped] = 0
    return arrays


def assert_narrow_is_wide_without_the_dropped(wide: keras.Model, narrow: keras.Model) -> None:
    randomise(wide)
    cut = slice_weights(narrow, arrays_of(wide))
    transfer = copy_weights(narrow, arrays_of(wide))
    assert not transfer.fresh
    assert transfer.sliced
    image = np.random.default_rng(1).uniform(-1, 1, (1, *wide.input_shape[1:])).astype(np.float32)
    whole = keras.ops.convert_to_numpy(wide(image))
    copy_weights(wide, without_dropped(wide, cut))
    expected = keras.ops.convert_to_numpy(wide(image))
    got = keras.ops.convert_to_numpy(narrow(image))
    assert got.shape == expected.shape
    scale = np.abs(expected).max()
    assert np.abs(got - expected).max() < 1e-4 * scale
    assert np.abs(whole - expected).max() > 1e-2 * scale, "the dropped channels made no difference"


def test_network_of_the_family() -> None:
    assert_narrow_is_wide_without_the_dropped(build(SPEC), build(SPEC._replace(width=0.35)))


def made_up(channels: int) -> keras.Model:
    """Residuals, a depthwise convolution, parts of two groups side by side, a transposed convolution."""

    def conv(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=name)(x)
        return layers.BatchNormalization(name=name + "_BN")(x)

    image = keras.Input((8, 8, 3))
    x = layers.Add()([conv(image, channels, "a"), conv(image, channels, "b")])
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(conv(x, 2 * channels, "expand"))
    y = layers.BatchNormalization(name="depthwise_BN")(y)
    both = layers.Concatenate()([y, x, y])
    up = layers.Conv2DTranspose(channels, 4, 2, padding="same", use_bias=False, name="up")(both)
    up = layers.BatchNormalization(name="up_BN")(up)
    again = layers.Add()([conv(x, channels, "c"), x])  # one group with a, b and c
    up = layers.Add()([up, layers.UpSampling2D(2)(again)])  # and with up
    return keras.Model(image, layers.Conv2D(3, 1, name="score")(up))


def test_every_kind_of_layer() -> None:
    assert_narrow_is_wide_without_the_dropped(made_up(8), made_up(5))


def test_groups_are_what_is_added() -> None:
    groups = {axis.key: axis.groups for axis in channel_axes(made_up(8)) if not axis.is_input}
    (stream,) = {groups[f"{name}_BN/gamma"] for name in ("a", "b", "c", "up")}
    inside = groups["depthwise_BN/gamma"]
    assert inside == groups["expand_BN/gamma"] != stream
    (reader,) = (axis for axis in channel_axes(made_up(8)) if axis.key == "up/kernel" and axis.is_input)
    assert reader.groups == (*inside, *stream, *inside)
    assert reader.axis == 3


def test_same_width_is_the_same_network() -> None:
    network = build(SPEC)
    arrays = arrays_of(network)
    cut = slice_weights(network, arrays)
    assert cut.keys() == arrays.keys()
    assert all(np.array_equal(cut[key], arrays[key]) for key in arrays)


def test_channels_that_are_read_most_are_kept_in_their_order() -> None:
    wide, narrow = made_up(8), made_up(5)
    arrays = {key: np.full_like(array, 0.1) for key, array in arrays_of(wide).items()}
    arrays["a_BN/beta"] = np.arange(8.0)
    wanted = [1, 2, 4, 6, 7]
    arrays["expand/kernel"][:, :, wanted] = -0.2  # the sign does not matter
    assert slice_weights(narrow, arrays)["a_BN/beta"].tolist() == wanted
    arrays["a/kernel"][..., 0] = 5.0  # what makes a channel does not matter where something reads it
    assert slice_weights(narrow, arrays)["a_BN/beta"].tolist() == wanted


@pytest.mark.parametrize("classes", [2, 4])
def test_classes_are_not_cut(classes: int) -> None:
    wide, narrow = build(SPEC), build(SPEC._replace(width=0.35, classes=classes))
    assert copy_weights(narrow, arrays_of(wide)).fresh == {"score": f"other shape: 1x1x64x3, not 1x1x64x{classes}"}


def test_arrays_that_disagree_are_left_whole() -> None:
    arrays = arrays_of(made_up(8))
    arrays["b/kernel"] = arrays["b/kernel"][..., :6]
    fresh = copy_weights(made_up(5), arrays).fresh
    assert "other shape" in fresh["a"]
    assert "expand_BN" not in fresh, "the other groups are cut"
