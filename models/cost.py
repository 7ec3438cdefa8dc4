"""What a network costs: parameters and multiply-accumulates, read from the Keras graph."""

import math
from typing import NamedTuple

import keras


class Cost(NamedTuple):
    """`parameters` counts all weights; `macs` is the multiply-accumulates of one image (no additions, no resizes)."""

    parameters: int
    macs: int


def cost_of(network: keras.Model) -> Cost:
    """Count the cost of a network of static size, (None, H, W, 3) in."""
    return Cost(network.count_params(), sum(_macs(layer) for layer in network.layers))


def _macs(layer: keras.Layer) -> int:
    """Each weight of a kernel is used once per output pixel; of a transposed one, once per input pixel."""
    if isinstance(layer, keras.layers.Conv2DTranspose):
        pixels = layer.input.shape[1:3]
    elif isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
        pixels = layer.output.shape[1:3]
    elif isinstance(layer, keras.layers.Dense):
        pixels = layer.output.shape[1:-1]
    else:
        return 0
    return math.prod(pixels) * math.prod(layer.kernel.shape)
