"""Ranges of activations: which values int8 has to tell apart, from what images make of a network.

- "min-max": all that occurred. Nothing is cut off, and rare large values make every step large.
- "percentile": all but the outermost 0.01 % on each side.
- "entropy": the range whose rounded distribution differs least from the real one, in relative entropy (Migacz 2017,
  8-bit Inference with TensorRT, GTC S7310, slides 38 to 41), each side cut off in turn.

Exact zeros, which most outputs of a ReLU are, count for none of them: int8 has a step for zero in every range. With
them, entropy cuts off most of what is left (measured on fcn8-camvid, CamVid val: mIoU 46.9 %, and 70.9 % without them).
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, get_args

import keras
import numpy as np
from keras import ops

from edgeseg.models.evaluate import to_float_input
from edgeseg.models.fake_quant import CONVOLUTIONS, Range, quantised_tensors

Method = Literal["min-max", "percentile", "entropy"]
METHODS: tuple[Method, ...] = get_args(Method)
DEFAULT_METHOD: Method = "percentile"
BINS = 8192
LEVELS = 256  # of int8
OUTSIDE = 1e-4  # share of the values that a percentile leaves out on each side
_SAMPLES = 1 << 16  # values of a tensor that one image adds to its histogram: those of evenly spread pixels
_CANDIDATES = 40  # cut-offs that entropy compares on each side


class Histogram(NamedTuple):
    """Values of a tensor: the smallest and the largest, and how often those of a sample were in each of BINS bins.

    The bins are equally wide, from -limit to limit, a power of two. Exact zeros are not counted.
    """

    low: float
    high: float
    limit: float
    counts: np.ndarray  # (BINS,) int64

    @property
    def edges(self) -> np.ndarray:
        return np.clip(np.linspace(-self.limit, self.limit, BINS + 1), self.low, self.high)

    def add(self, low: float, high: float, sample: np.ndarray) -> "Histogram":
        """With the values of one more image: their bounds, and a sample of them."""
        counts, limit = self.counts, self.limit
        while limit < max(-low, high):
            counts = np.pad(counts.reshape(-1, 2).sum(axis=1), BINS // 4)
            limit *= 2
        values = sample[sample != 0]
        bins = ((values + np.float32(limit)) * np.float32(BINS / (2 * limit))).astype(np.int32)
        counts = counts + np.bincount(np.minimum(bins, BINS - 1), minlength=BINS)
        return Histogram(min(self.low, low), max(self.high, high), limit, counts)


_NOTHING = Histogram(np.inf, -np.inf, 2.0**-20, np.zeros(BINS, np.int64))


class Observation(NamedTuple):
    """What images made of a network."""

    histograms: dict[str, Histogram]  # of the tensors that int8 has, but the input
    means: dict[str, np.ndarray]  # of the inputs of convolutions, by channel

    def ranges(self, method: Method) -> dict[str, Range]:
        """Range of each tensor by `method`."""
        return {name: range_of(seen, method) for name, seen in self.histograms.items()}


def observe(network: keras.Model, images: Iterable[np.ndarray]) -> Observation:
    """What RGB images (H, W, 3) uint8 of its size make of `network`: one pass, one image in memory at a time.

    Raises ValueError without an image, or where the network gives no numbers.
    """
    names = quantised_tensors(network)
    convolutions = [layer.name for layer in network.layers if isinstance(layer, CONVOLUTIONS)]
    probe = _probe(network, names, convolutions)
    histograms = dict.fromkeys(names, _NOTHING)
    sums: list[np.ndarray | float] = [0.0] * len(convolutions)
    count = 0
    for pixels in images:
        count += 1
        seen = probe.predict_on_batch(to_float_input(pixels)[None])
        if not np.isfinite([seen["low"], seen["high"]]).all():
            raise ValueError("the network gives no numbers")
        for name, low, high, sample in zip(names, seen["low"], seen["high"], seen["samples"], strict=True):
            histograms[name] = histograms[name].add(float(low), float(high), sample)
        sums = [total + mean for total, mean in zip(sums, seen["means"], strict=True)]
    if not count:
        raise ValueError("there is no image to take ranges from")
    means = {name: np.asarray(total) / count for name, total in zip(convolutions, sums, strict=True)}
    return Observation(histograms, means)


def _probe(network: keras.Model, names: Iterable[str], convolutions: Iterable[str]) -> keras.Model:
    """Bounds of the outputs of layers and their values at evenly spread pixels; means of the inputs of convolutions."""
    outputs = [network.get_layer(name).output for name in names]
    seen = {
        "low": ops.stack([ops.min(values) for values in outputs]),
        "high": ops.stack([ops.max(values) for values in outputs]),
        "samples": [_sampled(values) for values in outputs],
        "means": [ops.mean(network.get_layer(name).input, axis=(0, 1, 2)) for name in convolutions],
    }
    probe = keras.Model(network.input, seen)
    probe.jit_compile = keras.backend.backend() == "jax"  # as in training
    return probe


def _sampled(values: Any) -> Any:
    step = max(1, int(np.ceil(np.sqrt(np.prod(values.shape[1:]) / _SAMPLES))))
    return values[:, ::step, ::step]


def range_of(histogram: Histogram, method: Method) -> Range:
    """The range of a tensor; it contains zero, which padding is made of."""
    seen = histogram.low, histogram.high
    low, high = _RULES[method](histogram) if histogram.counts.any() else seen
    low = min(0.0, float(low))
    return Range(low, max(0.0, float(high), low + 1e-6))


def _min_max(histogram: Histogram) -> tuple[float, float]:
    return histogram.low, histogram.high


def _percentile(histogram: Histogram) -> tuple[float, float]:
    cumulated = np.cumsum(histogram.counts) / histogram.counts.sum()
    low, high = np.searchsorted(cumulated, (OUTSIDE, 1 - OUTSIDE))
    return histogram.edges[low], histogram.edges[high + 1]


def _entropy(histogram: Histogram) -> tuple[float, float]:
    """The high end first, then the low one, as most distributions here begin at zero."""
    used = np.flatnonzero(histogram.counts)
    low, high = int(used[0]), int(used[-1]) + 1
    high -= min(_cut_offs(high - low), key=lambda cut: _divergence(histogram.counts, low, high - cut))
    low += min(_cut_offs(high - low), key=lambda cut: _divergence(histogram.counts, low + cut, high))
    return histogram.edges[low], histogram.edges[high]


def _cut_offs(bins: int) -> list[int]:
    """Numbers of bins to cut off, closer together at first; a bin for each level is left."""
    largest = max(0, bins - LEVELS)
    return sorted({int(largest * (i / (_CANDIDATES - 1)) ** 2) for i in range(_CANDIDATES)})


def _divergence(counts: np.ndarray, low: int, high: int) -> float:
    """Relative entropy of the distribution, cut off beyond these bins, and what 256 levels make of it."""
    inside = counts[low:high].astype(np.float64)
    real = inside.copy()
    real[0] += counts[:low].sum()
    real[-1] += counts[high:].sum()
    level = (np.arange(high - low) * LEVELS) // (high - low)
    filled = inside > 0
    sums, bins = np.bincount(level, inside, LEVELS), np.bincount(level, filled, LEVELS)
    rounded = np.where(filled, (sums / np.maximum(bins, 1))[level], 0.0)
    total, kept = real.sum(), rounded.sum()
    if not kept:
        return np.inf
    mask = real > 0
    p, q = real[mask] / total, np.maximum(rounded[mask] / kept, 1e-9)
    return float((p * np.log(p / q)).sum())


_RULES: dict[Method, Callable[[Histogram], tuple[float, float]]] = {
    "min-max": _min_max,
    "percentile": _percentile,
    "entropy": _entropy,
}
