"""What a compressed network keeps while it is trained on: its zeros, or which weights of a layer are equal.

Both are read from the weights themselves, so a network that was pruned or whose weights were shared carries all that
its fine-tuning needs.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import KerasTensor, ops

from edgeseg.models.recipe import Hold
from edgeseg.models.views import View

LARGEST = 127  # of int8 weights: TensorFlow Lite's quantisation specification leaves -128 out
_ALL = 200  # values of a kernel: no codebook, but int8
_MANY = 0.1  # of all weights are zero: not by rounding to int8 alone, which makes one in a hundred
_OFF_GRID = 0.1  # of a step: weights of float16 precision may be 0.06 away


class Shared(NamedTuple):
    """A kernel as codebook and indices; kernel = scales * codebook[indices]."""

    codebook: np.ndarray  # (k,) float64 whole numbers of -127..127, ascending
    indices: np.ndarray  # shape of the kernel, uint8
    scales: np.ndarray  # broadcasts to the kernel: one for each output channel

    def kernel(self) -> np.ndarray:
        return (self.scales * self.codebook[self.indices]).astype(np.float32)


def convolutions_of(network: keras.Model) -> list[Any]:
    """The layers whose kernels are pruned, shared and rounded; not those of learned upsampling."""
    return [x for x in network.layers if isinstance(x, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)]


def hold_views(network: keras.Model, hold: Hold) -> dict[str, View]:
    """Views of the convolutions of `network`, by name, that keep what its weights have in common."""
    views: dict[str, View] = {}
    for layer in convolutions_of(network):
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        if hold == "zeros" and (kernel == 0).any():
            views[layer.name] = masked(kernel != 0)
        shared = read_shared(kernel, channel_axis_of(layer)) if hold == "values" else None
        if shared:
            views[layer.name] = tied(shared)
    return views


def held_by(network: keras.Model) -> Hold:
    """What a network was left with by compression: "values" where all of its kernels are codebooks, "zeros" where
    there are many of them, "" where it was not compressed.
    """
    kernels = [(keras.ops.convert_to_numpy(x.kernel), channel_axis_of(x)) for x in convolutions_of(network)]
    if all(shared and len(shared.codebook) < _ALL for shared in (read_shared(*pair) for pair in kernels)):
        return "values"
    return "zeros" if zero_share([kernel for kernel, _ in kernels]) > _MANY else ""


def zero_share(kernels: Collection[np.ndarray]) -> float:
    """The share of all weights that are zero, 0..1."""
    return sum(int((kernel == 0).sum()) for kernel in kernels) / sum(kernel.size for kernel in kernels)


def turn_negative_scales(network: keras.Model) -> None:
    """Make every BatchNorm scale positive: a channel with a negative one gets the opposite kernel, which is the same.

    Folded into its convolution a negative scale would turn a channel's weights round, and a codebook would have the
    opposite values too.
    """
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            source = layer.input._keras_history.operation
            signs = np.where(keras.ops.convert_to_numpy(layer.gamma) < 0, -1.0, 1.0).astype(np.float32)
            if isinstance(source, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
                shape = [-1 if axis == channel_axis_of(source) else 1 for axis in range(4)]
                source.kernel.assign(source.kernel * signs.reshape(shape))
                if source.use_bias:
                    source.bias.assign(source.bias * signs)
                layer.gamma.assign(layer.gamma * signs)
                layer.moving_mean.assign(layer.moving_mean * signs)


def keep_scales_positive(network: keras.Model) -> None:
    """In training no BatchNorm scale that is positive becomes negative (see `turn_negative_scales`)."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and keras.ops.all(layer.gamma >= 0):
            layer.gamma.constraint = keras.constraints.NonNeg()


def channel_axis_of(layer: keras.Layer) -> int:
    """The axis of a kernel along which output channels lie, each with its own scale in int8."""
    return 2 if isinstance(layer, keras.layers.DepthwiseConv2D) else 3


def channel_scales(kernel: np.ndarray, channel_axis: int) -> np.ndarray:
    """What one step of int8 is worth in each output channel, broadcastable to the kernel."""
    axes = tuple(axis for axis in range(kernel.ndim) if axis != channel_axis)
    return np.maximum(np.abs(kernel).max(axis=axes, keepdims=True), 1e-12) / LARGEST


def read_shared(kernel: np.ndarray, channel_axis: int) -> Shared | None:
    """A kernel whose weights all lie on the int8 grid; None for another one."""
    scales = channel_scales(kernel, channel_axis)
    grid = kernel / scales
    whole = np.rint(grid)
    if np.abs(grid - whole).max() > _OFF_GRID:
        return None
    codebook, indices = np.unique(whole, return_inverse=True)
    return Shared(codebook.astype(np.float64), indices.reshape(kernel.shape).astype(np.uint8), scales)


def masked(mask: np.ndarray) -> View:
    """A kernel with zeros where the mask is False."""
    return lambda kernel: ops.where(mask, kernel, 0.0)


def tied(shared: Shared) -> View:
    """A kernel as its codebook, which learns: each value is the mean of its weights, so they all move together.

    The gradient that a value gets is the sum over its weights, shared out among them (Deep Compression, Han et al.
    2016, arXiv 1510.00149, section 3.3, but for the division, which Adam undoes). Zero, 127 and -127 stay, with them
    every scale; so does the assignment of weights to values.
    """
    count = len(shared.codebook)
    indices = shared.indices.ravel().astype(np.int32)
    sizes = np.maximum(np.bincount(indices, minlength=count), 1).astype(np.float32)
    fixed = np.isin(shared.codebook, (-LARGEST, 0, LARGEST))
    scales = shared.scales.astype(np.float32)

    def view(kernel: KerasTensor) -> KerasTensor:
        means = ops.segment_sum(ops.reshape(kernel / scales, (-1,)), indices, num_segments=count) / sizes
        book = ops.where(fixed, shared.codebook.astype(np.float32), _rounded(ops.clip(means, 1 - LARGEST, LARGEST - 1)))
        return scales * ops.reshape(ops.take(book, indices), kernel.shape)

    return view


def _rounded(x: KerasTensor) -> KerasTensor:
    """To whole numbers, with the gradient of the unrounded (straight through)."""
    return x + ops.stop_gradient(keras.ops.round(x) - x)
