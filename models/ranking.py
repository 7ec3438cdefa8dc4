"""Which of several initial weights suit a dataset best, told by one forward pass of each over some of its images.

The idea is P2L (Bhattacharjee et al. 2020, arXiv 1908.07630): similarity of source and target in feature space, and the
size of the source set. P2L compares features of both data sets; here no source data is needed, as the moving statistics
of a network's BatchNorm are mean and variance of its source data at every layer. The formula is ours:

    score = overlap * share * log10(1 + images)

`overlap`, 0 to 1, is the Bhattacharyya coefficient of two normal distributions, that of the statistics and that of this
data at the same place, averaged over the channels of each layer and then over the layers of the backbone. It has a
bound: a Kullback-Leibler divergence would be decided by a few channels that hardly vary. `share` is the width of this
network over that of the source: below 1 for weights that have to be cut. `images` is how many images the weights were
trained on, in their whole history. Random weights score 0.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np

from edgeseg.datasets import Pair
from edgeseg.datasets.base import spread
from edgeseg.datasets.files import read_rgb
from edgeseg.errors import UsageError
from edgeseg.models.backbone import BN_EPSILON, STAGE_CHANNELS
from edgeseg.models.evaluate import to_float_input
from edgeseg.models.network import build
from edgeseg.models.spec import NetworkSpec
from edgeseg.models.weights import BACKBONE_PREFIXES, InitialWeights, load_into, name_of, read_weights
from edgeseg.preprocess import resize

SAMPLE = 32  # images that are looked at


class Ranked(NamedTuple):
    """A candidate for the initial weights and what it promises."""

    init: str  # as given to --init
    images: int  # that it was trained on
    overlap: float | None  # None for random weights, and where there is a `reason`
    score: float
    share: float = 1.0  # width of the network over that of the source
    reason: str = ""  # why it cannot be used


def rank(candidates: Sequence[str], spec: NetworkSpec, images: Sequence[np.ndarray]) -> list[Ranked]:
    """The candidates, best first, as the start of a network `spec` (whose geometry does not matter).

    `images`, (H, W, 3) uint8 RGB of the size of `spec`, are a sample of the data. What cannot be used comes last.
    """
    rows = [_measure(candidate, spec, images) for candidate in candidates]
    return sorted(rows, key=lambda row: (bool(row.reason), -row.score))


def choose(candidates: Sequence[str], spec: NetworkSpec, pairs: Sequence[Pair]) -> list[Ranked]:
    """The ranking of several candidates for data `pairs`; nothing where there is no choice.

    Raises UsageError where none can be used.
    """
    if len(candidates) == 1:
        return []
    rows = rank(candidates, spec, sample(pairs, spec.imgsz))
    if rows[0].reason:
        reasons = "; ".join(row.reason for row in rows)
        raise UsageError(
            f"none of the initial weights can be used: {reasons}", "name one of them to see how to mend it"
        )
    return rows


def sample(pairs: Sequence[Pair], size: tuple[int, int]) -> list[np.ndarray]:
    """Images of `pairs` at even distances, resized to `size`, (height, width)."""
    return [resize(read_rgb(pair.image), size) for pair in spread(pairs, SAMPLE)]


def _measure(candidate: str, spec: NetworkSpec, images: Sequence[np.ndarray]) -> Ranked:
    nothing = Ranked(candidate, 0, None, 0.0)
    try:
        initial = read_weights(candidate, spec.width)
        if initial is None:
            return nothing
        if initial.images is None:
            return nothing._replace(reason=f"{initial.source} does not say how many images it was trained on")
        width = _width_of(initial, spec.width)
        if width < spec.width:
            return nothing._replace(reason=f"{initial.source} has width {width:g}, this network {spec.width:g}")
        similarity = _overlap_with(initial, spec._replace(geometry=initial.geometry, width=width), images)
    except UsageError as error:
        return nothing._replace(reason=error.message)
    share = spec.width / width
    return Ranked(candidate, initial.images, similarity, similarity * share * math.log10(1 + initial.images), share)


def _width_of(initial: InitialWeights, default: float) -> float:
    """Width multiplier of the source. A file does not say it, but has the channels of the last block."""
    if initial.card:
        return initial.card.spec.width
    last = initial.arrays.get("block_16_project/kernel")
    return default if last is None else last.shape[-1] / STAGE_CHANNELS[-1]


def _overlap_with(initial: InitialWeights, spec: NetworkSpec, images: Sequence[np.ndarray]) -> float:
    """Likeness of the data and the source of `initial`, in the network of the source itself, uncut."""
    network = build(spec)
    copied = load_into(network, initial).copied
    norms = [
        layer
        for layer in network.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        and layer.name in copied
        and layer.name.startswith(BACKBONE_PREFIXES)
    ]
    means, variances = feature_statistics(network, norms, images)
    theirs = [[keras.ops.convert_to_numpy(w) for w in (n.moving_mean, n.moving_variance)] for n in norms]
    layers = [overlap(m, v, *source).mean() for m, v, source in zip(means, variances, theirs, strict=True)]
    return float(np.mean(layers))


def feature_statistics(
    network: keras.Model, norms: Sequence[keras.layers.BatchNormalization], images: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Mean and variance over `images` of each channel that enters each of `norms`, in one forward pass."""
    moments = [moment for norm in norms for moment in keras.ops.moments(norm.input, axes=(0, 1, 2))]
    model = keras.Model(network.input, moments)
    by_image = [[np.asarray(m, np.float64) for m in model.predict_on_batch(to_float_input(i[None]))] for i in images]
    stacked = [np.stack(values) for values in zip(*by_image, strict=True)]
    means, variances = stacked[0::2], stacked[1::2]
    total = [v.mean(axis=0) + m.var(axis=0) for m, v in zip(means, variances, strict=True)]
    return [m.mean(axis=0) for m in means], total


def overlap(mean: np.ndarray, variance: np.ndarray, other_mean: np.ndarray, other_variance: np.ndarray) -> np.ndarray:
    """Bhattacharyya coefficient, 0 to 1, of two normal distributions in each channel.

    BatchNorm's epsilon is added to the variances: below it a channel is constant to the network.
    """
    one, other = variance + BN_EPSILON, other_variance + BN_EPSILON
    distance = (mean - other_mean) ** 2 / (4 * (one + other)) + np.log((one + other) / (2 * np.sqrt(one * other))) / 2
    return np.asarray(np.exp(-distance))


def ranking_text(rows: Sequence[Ranked]) -> str:
    """The ranking for people, a line for each candidate."""
    lines = ["initial weights, by what they promise on this data:", "  score  overlap  share     images"]
    for row in rows:
        if row.reason:
            lines.append(f"      -        -      -          -  {row.reason}")
        else:
            similarity = "-" if row.overlap is None else f"{row.overlap:.3f}"
            lines.append(f"  {row.score:5.2f}  {similarity:>7}  {row.share:5.2f}  {row.images:9}  {name_of(row.init)}")
    return "\n".join(lines)
