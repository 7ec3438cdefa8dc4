"""Kernels that a network sees through a function while it is trained: masked, shared or rounded.

The variables stay what they are, so optimiser, average and checkpoints are those of any training; gradients go through
the view. `bake` writes what was seen into the variables, and what is saved is plain Keras.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras
from keras import KerasTensor, ops

View = Callable[[KerasTensor], KerasTensor]  # of a kernel; gives the same shape


def look_through(network: keras.Model, views: Mapping[str, View]) -> None:
    """Let the convolutions that `views` names work with what their view makes of the kernel.

    Only these layer objects change. Raises TypeError for a layer that is no convolution.
    """
    for name, view in views.items():
        layer = network.get_layer(name)
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            layer.call = partial(_depthwise, layer, view)
        elif isinstance(layer, keras.layers.Conv2D):
            layer.convolution_op = partial(_convolution, layer.convolution_op, view)
        else:
            raise TypeError(f"{name} is a {type(layer).__name__}, no convolution")


def bake(network: keras.Model, views: Mapping[str, View]) -> None:
    """Set the kernels to what is seen of them."""
    for name, view in views.items():
        kernel = network.get_layer(name).kernel
        kernel.assign(view(kernel))


def _convolution(plain: Any, view: View, inputs: KerasTensor, kernel: KerasTensor) -> KerasTensor:
    return plain(inputs, view(kernel))


def _depthwise(layer: Any, view: View, inputs: KerasTensor) -> KerasTensor:
    outputs = ops.depthwise_conv(
        inputs, view(layer.kernel), strides=layer.strides, padding=layer.padding, dilation_rate=layer.dilation_rate
    )
    return outputs + layer.bias if layer.use_bias else outputs
