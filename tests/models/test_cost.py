"""Parameters, multiply-accumulates and memory: against sums by hand and published figures."""

from fractions import Fraction

import keras
import pytest
from keras import layers

from edgeseg.models.cost import cost_of, operations, outline, peak_activations, scaled
from edgeseg.models.network import NetworkSpec, build

FCN = NetworkSpec("fcn8", 0.35, (64, 96), 5)


def stack(*members):
    image = x = layers.Input((8, 12, 3))
    for member in members:
        x = member(x)
    return keras.Model(image, x)


def cost(*members):
    return cost_of(stack(*members))[:2]


def test_each_kind_of_layer():
    assert cost(layers.Conv2D(5, 3, padding="same")) == (3 * 3 * 3 * 5 + 5, 8 * 12 * 3 * 3 * 3 * 5)
    assert cost(layers.Conv2D(5, 3, 2, padding="same"))[1] == 4 * 6 * 3 * 3 * 3 * 5
    assert cost(layers.Conv2D(6, 3, padding="same", groups=3))[1] == 8 * 12 * 3 * 3 * 1 * 6
    assert cost(layers.DepthwiseConv2D(3, 2, padding="same"))[1] == 4 * 6 * 3 * 3 * 3
    assert cost(layers.Conv2DTranspose(7, 4, 2, padding="same"))[1] == 8 * 12 * 4 * 4 * 3 * 7
    assert cost(layers.GlobalAveragePooling2D(), layers.Dense(10)) == (3 * 10 + 10, 3 * 10)
    assert cost(layers.UpSampling2D(2), layers.ReLU()) == (0, 0)


def test_mobilenet_v2_has_the_published_cost():
    """Sandler et al. 2018, table 4: 300 M multiply-adds, 3.4 M parameters (Keras says 3.54 M). Its largest tensors are
    the 96 channels at 112x112 and what the depthwise convolution makes of them at 56x56.
    """
    with keras.StatelessScope(initialize_variables=False):
        found = cost_of(keras.applications.MobileNetV2(weights=None))
    assert abs(found.macs / 300e6 - 1) < 0.02
    assert found.parameters == 3_538_984
    assert found.peak_activations == 96 * (112 * 112 + 56 * 56)


def test_what_is_joined_makes_no_operation():
    network = stack(
        layers.ZeroPadding2D(1, name="pad"),
        layers.Conv2D(4, 3, 2, name="conv"),
        layers.BatchNormalization(name="norm"),
        layers.ReLU(name="relu"),
        layers.UpSampling2D(2, name="up"),
    )
    image, conv, up = operations(network)
    assert (image.inputs, image.written) == ((), 8 * 12 * 3)
    assert (conv.inputs, conv.read, conv.written, conv.weights) == ((image.name,), 288, 4 * 6 * 4, 3 * 3 * 3 * 4 + 4)
    assert (up.inputs, up.read, up.written, up.macs) == (("conv",), 96, 8 * 12 * 4, 0)


def test_a_tensor_lives_until_its_last_reader():
    """image 288 -> a 96 -> b 384 -> c 96; sum of a and c. While b is made and read, `a` waits."""
    image = layers.Input((8, 12, 3))
    a = layers.AveragePooling2D(2)(layers.Conv2D(4, 1)(image))
    c = layers.AveragePooling2D(2)(layers.UpSampling2D(2)(a))
    assert peak_activations(operations(keras.Model(image, layers.Add()([a, c])))) == 288 + 8 * 12 * 4
    beside = keras.Model(image, layers.Add()([layers.Conv2D(3, 1)(layers.Conv2D(9, 1)(image)), image]))
    assert peak_activations(operations(beside)) == 96 * (3 + 9 + 3)
    assert peak_activations(operations(stack(layers.UpSampling2D(2)))) == 288 * 5


def test_an_outline_costs_what_the_network_costs():
    assert cost_of(outline(FCN)) == cost_of(build(FCN))


@pytest.mark.parametrize("network, tolerance", [("fcn8", 0), ("spp", 0.03)])
def test_scaling_to_another_size(network, tolerance):
    small = FCN._replace(architecture=network)
    about = scaled(operations(outline(small)), Fraction(128 * 160, 64 * 96))
    exact = operations(outline(small._replace(imgsz=(128, 160))))
    for what in ("read", "written", "macs"):
        sums = [sum(getattr(step, what) for step in steps) for steps in (about, exact)]
        assert abs(sums[0] / sums[1] - 1) <= tolerance, (what, sums)
    assert tolerance or about == exact
