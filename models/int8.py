"""Quantisation-aware fine-tuning: a trained network learns with what int8 will make of it.

Activations are rounded within ranges that are found once, on training images, and kept: they go into the network's
card, and exports use them. Kernels are seen on the grid of int8, each output channel with its scale, which BatchNorm
does not change (Jacob et al. 2018, arXiv 1712.05877, section 3; Krishnamoorthi 2018, arXiv 1806.08342, section 3).
Gradients go straight through the rounding. BatchNorm is frozen: the ranges belong to its statistics, and int8 has no
others. Measured on an earlier fcn8-0.35-camvid (4 epochs on crops of 256x352, itself as teacher; mIoU on CamVid val of
the int8 file): 66.25 % before, 66.87 % after; 66.35 % with BatchNorm that learns.
"""

from collections.abc import Mapping, Sequence

import keras

from edgeseg.datasets import Dataset, Pair
from edgeseg.datasets.base import spread
from edgeseg.errors import UsageError
from edgeseg.models.activations import DEFAULT_METHOD, observe
from edgeseg.models.fake_quant import Range, quantised_tensors, rounded_kernel
from edgeseg.models.hold import channel_axis_of, convolutions_of
from edgeseg.models.transfer import Transfer
from edgeseg.models.views import View
from edgeseg.models.weights import InitialWeights
from edgeseg.preprocess import resize

IMAGES = 100  # that ranges are found on


def training_ranges(
    network: keras.Model, initial: InitialWeights, dataset: Dataset, pairs: Sequence[Pair]
) -> dict[str, Range]:
    """Ranges for `network`, which holds the initial weights: those that it was trained with before, else new ones."""
    known = (initial.card.ranges if initial.card else None) or {}
    if set(known) == set(quantised_tensors(network)):
        return {name: Range(*bounds) for name, bounds in known.items()}
    imgsz = network.input_shape[1:3]
    images = (resize(dataset.read(pair)[0], imgsz) for pair in spread(pairs, IMAGES))
    return observe(network, images).ranges(DEFAULT_METHOD)


def require_trained(initial: InitialWeights, transfer: Transfer) -> None:
    """Raise UsageError unless all of the network has its weights from `initial`: random ones have no ranges."""
    if transfer.fresh:
        raise UsageError(
            f"--int8 fine-tunes a trained network, and {initial.source} has no {next(iter(transfer.fresh))} for it",
            "train without --int8 first, then give --init that network",
        )


def freeze_batch_norm(network: keras.Model) -> None:
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def int8_views(network: keras.Model, held: Mapping[str, View]) -> dict[str, View]:
    """Views of all convolutions of `network` that round to int8 what `held` makes of their kernels."""
    return {x.name: _rounding(channel_axis_of(x), held.get(x.name)) for x in convolutions_of(network)}


def _rounding(channel_axis: int, held: View | None) -> View:
    return lambda kernel: rounded_kernel(held(kernel) if held else kernel, channel_axis)
