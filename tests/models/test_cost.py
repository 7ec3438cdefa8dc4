"""Multiply-accumulates: against sums by hand and a published figure."""

import keras
from keras import layers

from edgeseg.export.cost import cost_of


def cost(*stack):
    return cost_of(keras.Sequential([layers.Input((8, 12, 3)), *stack]))


def test_each_kind_of_layer():
    assert cost(layers.Conv2D(5, 3, padding="same")) == (3 * 3 * 3 * 5 + 5, 8 * 12 * 3 * 3 * 3 * 5)
    assert cost(layers.Conv2D(5, 3, 2, padding="same")).macs == 4 * 6 * 3 * 3 * 3 * 5
    assert cost(layers.Conv2D(6, 3, padding="same", groups=3)).macs == 8 * 12 * 3 * 3 * 1 * 6
    assert cost(layers.DepthwiseConv2D(3, 2, padding="same")).macs == 4 * 6 * 3 * 3 * 3
    assert cost(layers.Conv2DTranspose(7, 4, 2, padding="same")).macs == 8 * 12 * 4 * 4 * 3 * 7
    assert cost(layers.GlobalAveragePooling2D(), layers.Dense(10)) == (3 * 10 + 10, 3 * 10)
    assert cost(layers.UpSampling2D(2), layers.ReLU()) == (0, 0)


def test_mobilenet_v2_has_the_published_cost():
    """Sandler et al. 2018, table 4: 300 M multiply-adds, 3.4 M parameters (Keras says 3.54 M)."""
    found = cost_of(keras.applications.MobileNetV2(weights=None))
    assert abs(found.macs / 300e6 - 1) < 0.02
    assert found.parameters == 3_538_984
