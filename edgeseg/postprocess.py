"""From low-resolution logits to a full-resolution mask: bilinear upsampling and argmax, exactly.

The resize has half-pixel centres: row Y of H samples the logits at y = (Y + 1/2) h / H - 1/2, clamped.
Two facts make it exact and cheap:

* The interpolation weights are rationals with a small common denominator, so they are kept as integers.
  With integer logits every sum is then exact in floating point, and ties go to the lower class.
* Between two samples with the same winning class the winner cannot change: interpolation is a convex
  combination, which keeps the order. So only spans whose two ends differ are interpolated: first
  along rows of logits, then along columns.
"""

from math import gcd
from typing import Any, NamedTuple, Optional, Tuple

import numpy as np

from edgeseg.errors import CheckFailed
from edgeseg.palette import UNLABELED

Array = Any

FLOAT_LOGIT_STEPS = 2**16  # float logits are rounded to this many steps of their largest magnitude


class _Axis(NamedTuple):
    """Output sample i lies between inputs low[i] and high[i], with integer weights."""

    low: Array
    high: Array
    weight_low: Array
    weight_high: Array
    denominator: int  # weight_low + weight_high


def _axis(inputs: int, outputs: int, covered: Tuple[int, int]) -> _Axis:
    """Half-pixel sampling, in whole numbers, of `inputs` samples at `outputs` places.

    The outputs span the first covered[0] / covered[1] of the inputs.
    """
    part, whole = covered[0] * inputs, covered[1]
    unit = 2 * outputs * whole  # positions are in 1 / unit
    position = (2 * np.arange(outputs, dtype=np.int64) + 1) * part - outputs * whole
    low, rest = np.divmod(position.clip(0, unit * (inputs - 1)), unit)
    common = unit
    for value in np.unique(rest):
        common = gcd(common, int(value))
    denominator = unit // common
    high = np.minimum(low + 1, inputs - 1)
    return _Axis(low, high, denominator - rest // common, rest // common, denominator)


class Upsampler:
    """Upsampling + argmax for one shape of logits and one size of mask.

    Args:
        shape: (h, w, classes) of the logits.
        size: (H, W) of the mask.
        covered: share of the logits' height and width that the mask spans, each as (part, whole):
            less than all of it where the frame was letterboxed.
    """

    def __init__(
        self,
        shape: Tuple[int, int, int],
        size: Tuple[int, int],
        covered: Tuple[Tuple[int, int], Tuple[int, int]] = ((1, 1), (1, 1)),
    ) -> None:
        self.shape, self.size = shape, size
        self._rows = _axis(shape[0], size[0], covered[0])
        self._columns = _axis(shape[1], size[1], covered[1])
        self._unit = self._rows.denominator * self._columns.denominator  # of upsampled values

    def __call__(self, logits: Array, min_margin: float = 0.0) -> Array:
        """Mask (H, W) uint8 of `logits` (h, w, classes), int8, uint8 or float32.

        Pixels whose winner leads the second class by less than `min_margin`, in units of `logits`,
        become 255. Float logits are rounded to a grid of 2^-16 of their largest magnitude.
        Raises ValueError for another shape, CheckFailed for NaN or infinity.
        """
        values, step = self._exact(logits)
        margin = min_margin / step
        winner = _winner(values, margin)
        wide, weights = self._interpolate_columns(values), self._columns
        wide_winner = np.take(winner, weights.low, axis=1)
        pixels = np.flatnonzero(np.take(_changes(winner.T).T, weights.low, axis=1))
        wide_winner.ravel()[pixels] = _winner(
            wide.reshape(-1, self.shape[2]).take(pixels, axis=0), margin * weights.denominator
        )
        mask = np.take(wide_winner, self._rows.low, axis=0)
        pixels = np.flatnonzero(np.take(_changes(wide_winner), self._rows.low, axis=0))
        mask.ravel()[pixels] = _winner(self._interpolate_rows(wide, pixels), margin * self._unit)
        return mask

    def full(self, logits: Array, min_margin: float = 0.0) -> Array:
        """The same mask by interpolating every pixel: the reference that a call must equal."""
        values, step = self._exact(logits)
        return _winner(self._all_pixels(values), min_margin / step * self._unit)

    def margin(self, logits: Array) -> Array:
        """By how much each pixel's winner leads the second class: (H, W) float32, units of `logits`."""
        values, step = self._exact(logits)
        return (_lead(self._all_pixels(values)) * (step / self._unit)).astype(np.float32)

    def _exact(self, logits: Array) -> Tuple[Array, float]:
        """Integer-valued logits in a float type that keeps all sums exact, and the unit they are in."""
        if logits.shape != self.shape:
            raise ValueError("logits have shape {}, not {}".format(logits.shape, self.shape))
        step = 1.0
        largest = 2**8
        if logits.dtype.itemsize > 1:
            top = float(np.abs(logits).max())
            if not np.isfinite(top):
                raise CheckFailed(
                    "the network gives NaN or infinity for this frame",
                    "with TensorRT build the engine again: edgeseg compile BUNDLE --force; if that does not help, "
                    "export the network with --precision fp32",
                )
            largest = FLOAT_LOGIT_STEPS
            step = top / largest or 1.0
            logits = np.rint(logits * (1 / step))
        # float32 holds integers up to 2^24 exactly, float64 up to 2^53.
        return logits.astype(np.float32 if largest * self._unit < 2**24 else np.float64), step

    def _interpolate_columns(self, values: Array) -> Array:
        """(h, w, classes) -> (h, W, classes), times the denominator of the columns."""
        weights = self._columns
        wide = values.take(weights.low, axis=1)
        wide *= weights.weight_low.astype(values.dtype)[:, None]
        other = values.take(weights.high, axis=1)
        other *= weights.weight_high.astype(values.dtype)[:, None]
        wide += other
        return wide

    def _interpolate_rows(self, wide: Array, pixels: Array) -> Array:
        """Values (n, classes) of flat pixel numbers (n,) of the mask, times the unit."""
        weights, width = self._rows, self.size[1]
        y = pixels // width
        x = pixels - y * width
        flat = wide.reshape(-1, self.shape[2])
        values = flat.take(weights.low.take(y) * width + x, axis=0)
        values *= weights.weight_low.take(y).astype(wide.dtype)[:, None]
        other = flat.take(weights.high.take(y) * width + x, axis=0)
        other *= weights.weight_high.take(y).astype(wide.dtype)[:, None]
        values += other
        return values

    def _all_pixels(self, values: Array) -> Array:
        pixels = np.arange(self.size[0] * self.size[1])
        values = self._interpolate_rows(self._interpolate_columns(values), pixels)
        return values.reshape(self.size + (-1,))


def upsample_argmax(logits: Array, size: Tuple[int, int]) -> Array:
    """Mask (H, W) uint8 of `logits` (h, w, classes); keep an `Upsampler` where there are many frames."""
    return Upsampler(logits.shape, (int(size[0]), int(size[1])))(logits)


def _changes(winner: Array) -> Array:
    """Where the winner is unsure or not that of the next row, (n, m) bool; False in the last row."""
    changes = np.zeros(winner.shape, bool)
    np.not_equal(winner[:-1], winner[1:], out=changes[:-1])
    changes[:-1] |= winner[:-1] == UNLABELED
    return changes


def _winner(values: Array, min_margin: float) -> Array:
    """Class with the largest value, the lowest of equals; 255 where it leads by less than min_margin."""
    winner = values.argmax(axis=-1).astype(np.uint8)
    if min_margin > 0:
        winner[_lead(values) < min_margin] = UNLABELED
    return winner


def _lead(values: Array) -> Array:
    """Largest value minus second largest, along the last axis."""
    top = np.partition(values, -2, axis=-1)
    return top[..., -1] - top[..., -2]


def confidence_to_margin(confidence: Optional[float]) -> float:
    """Lead of the winner, in logits, at which its confidence is `confidence` (0 up to, not including, 1).

    Confidence is the softmax difference of the best two classes if there were only these:
    (p1 - p2) / (p1 + p2) = tanh(lead / 2).
    """
    return float(2 * np.arctanh(confidence)) if confidence else 0.0


def margin_to_confidence(margin: Array) -> Array:
    """Inverse of `confidence_to_margin`, for arrays."""
    return np.tanh(margin / 2)
