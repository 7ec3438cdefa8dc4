"""A network that computes as its int8 file will: activations rounded to 8 bits within given ranges.

Layers are changed in place, as by `edgeseg.models.views`: no layer is added, so the order of the weights is that of the
plain network, and what is saved is plain Keras.
"""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import keras
from keras import KerasTensor, layers, ops

from edgeseg.models.hold import LARGEST

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose)
# They write values in the steps of what they read, as int8 files want it; a range of their own would cost a rounding.
_SAME_SCALE = (layers.UpSampling2D, layers.AveragePooling2D, layers.MaxPooling2D, layers.Concatenate)
_DROPOUT = (layers.Dropout, layers.SpatialDropout2D)  # nothing at inference
_JOINS = {layers.BatchNormalization: CONVOLUTIONS, layers.ReLU: (*CONVOLUTIONS, layers.BatchNormalization, layers.Add)}


class Range(NamedTuple):
    """Smallest and largest value of a tensor that int8 tells apart."""

    low: float
    high: float


def fake_quant(values: KerasTensor, bounds: Range) -> KerasTensor:
    """Values rounded to the 256 steps of a range that contains zero, which is one of them; gradient 1 within it.

    As TensorFlow Lite's converter reads it (Jacob et al. 2018, arXiv 1712.05877, section 3).
    """
    return keras.quantizers.fake_quant_with_min_max_vars(values, bounds.low, bounds.high, num_bits=8)


def rounded_kernel(kernel: KerasTensor, channel_axis: int) -> KerasTensor:
    """A kernel with its weights rounded to multiples of 1/127 of the largest in their output channel; gradient 1.

    As TensorFlow Lite has them (its 8-bit quantisation specification), before or after BatchNorm is folded into it.
    """
    axes = [axis for axis in range(len(kernel.shape)) if axis != channel_axis]
    scales = ops.maximum(ops.max(ops.abs(kernel), axis=axes, keepdims=True), 1e-12) / LARGEST
    return kernel + ops.stop_gradient(scales * ops.round(kernel / scales) - kernel)


def int8_operations(network: keras.Model) -> list[tuple[str, ...]]:
    """Operations of the int8 file whose output has a range of its own, each as the layers that it is made of, in order.

    BatchNorm and ReLU are one operation with what they alone read. The network's input, always in -1..1, is not listed.
    """
    readers = Counter(_name(t) for layer in network.layers for t in _inputs(layer) if not isinstance(layer, _DROPOUT))
    made: dict[str, tuple[str, ...]] = {}  # by the last layer
    for layer in network.layers:
        if isinstance(layer, (*_SAME_SCALE, *_DROPOUT, layers.ZeroPadding2D, layers.InputLayer)):
            continue
        source = source_of(layer)
        joins = readers[source] == 1 and isinstance(network.get_layer(source), _JOINS.get(type(layer), ()))
        made[layer.name] = (*(made.pop(source) if joins else ()), layer.name)
    return list(made.values())


def quantised_tensors(network: keras.Model) -> list[str]:
    """Layers whose output is a tensor of the int8 file with a range of its own, but the input."""
    return [operation[-1] for operation in int8_operations(network)]


def round_outputs(network: keras.Model, ranges: Mapping[str, Range]) -> None:
    """Let the layers that `ranges` names round what they give. Only these layer objects change.

    To be called after whatever else replaces a layer's `call`.
    """
    for layer in network.layers:
        if layer.name in ranges:
            layer.call = partial(_rounded, layer.call, ranges[layer.name])


def _rounded(plain: Any, bounds: Range, *args: Any, **options: Any) -> KerasTensor:
    return fake_quant(plain(*args, **options), bounds)


def _inputs(layer: Any) -> list[Any]:
    return layer._inbound_nodes[0].input_tensors


def source_of(layer: Any) -> str:
    """The layer whose output `layer` reads first, dropout left out; "" for an input."""
    tensors = _inputs(layer)
    return _name(tensors[0]) if tensors else ""


def _name(tensor: Any) -> str:
    operation = tensor._keras_history.operation
    return source_of(operation) if isinstance(operation, _DROPOUT) else operation.name
