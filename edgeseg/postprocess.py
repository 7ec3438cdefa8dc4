"""From low-resolution logits to a full-resolution mask: bilinear upsampling and argmax, exactly.

The centre of a frame's pixel lies somewhere between the pixel centres of the network's input, H rows high. The input
row y lies at row (y + 1/2) h / H - 1/2 of h rows of logits if the network was trained with half-pixel centres, at
y (h - 1) / (H - 1) if with aligned corners (TensorFlow, core/util/image_resizer_state.h). Two facts make it exact and
cheap:

* The interpolation weights are rationals with a small common denominator, so they are kept as integers.
  With integer logits every sum is then exact in floating point, and ties go to the lower class.
* Between two samples with the same winning class the winner cannot change: interpolation is a convex
  combination, which keeps the order. So only spans whose two ends differ are interpolated: first
  along rows of logits, then along columns.
"""

from math import gcd
from typing import Any, NamedTuple, Optional, Tuple, Union

import numpy as np

from edgeseg.errors import CheckFailed, UsageError
from edgeseg.palette import UNLABELED

Array = Any

FLOAT_LOGIT_STEPS = 2**16  # float logits are rounded to this many steps of their largest magnitude

# Pixels of the network's input that a frame spans, of how many there are, along height and width. Half-pixel centres
# need their ratio alone.
Covered = Tuple[Tuple[int, int], Tuple[int, int]]
WHOLE: Covered = ((1, 1), (1, 1))


def _positions(inputs: int, outputs: int, covered: Tuple[int, int], resize: str) -> Tuple[Array, int]:
    """Where `outputs` pixels lie among `inputs` samples, clamped to them: whole numbers, and the unit they are in."""
    part, whole = covered
    centres = 2 * np.arange(outputs, dtype=np.int64) + 1  # in half pixels of the frame
    if resize == "align_corners":
        unit = 2 * outputs * max(1, whole - 1)
        position = (centres * part - outputs) * (inputs - 1)
    else:
        unit = 2 * outputs * whole
        position = centres * part * inputs - outputs * whole
    return position.clip(0, unit * (inputs - 1)), unit


class _Axis(NamedTuple):
    """Output sample i lies between inputs low[i] and high[i], with integer weights."""

    low: Array
    high: Array
    weight_low: Array
    weight_high: Array
    denominator: int  # weight_low + weight_high


def _axis(inputs: int, outputs: int, covered: Tuple[int, int], resize: str) -> _Axis:
    position, unit = _positions(inputs, outputs, covered, resize)
    low, rest = np.divmod(position, unit)
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
        covered: part of the network's input that the mask spans: less than all where the frame was letterboxed.
        resize: "half_pixel" or "align_corners".
    """

    def __init__(
        self, shape: Tuple[int, int, int], size: Tuple[int, int], covered: Covered = WHOLE, resize: str = "half_pixel"
    ) -> None:
        self.shape, self.size = shape, size
        self._rows = _axis(shape[0], size[0], covered[0], resize)
        self._columns = _axis(shape[1], size[1], covered[1], resize)
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


class ClassSampler:
    """What an `Upsampler` does, for a network that ends at class ids: each pixel takes those of the nearest sample.

    Args:
        shape: (h, w) of the class ids.
        classes: ids from this number on become 255, as do those below 0.
        size, covered, resize: as for an `Upsampler`.
    """

    def __init__(
        self, shape: Tuple[int, int], classes: int, size: Tuple[int, int], covered: Covered, resize: str
    ) -> None:
        self._classes = classes
        self._rows, self._columns = (_nearest(*sides, resize) for sides in zip(shape, size, covered))

    def __call__(self, ids: Array, min_margin: float = 0.0) -> Array:
        """Mask (H, W) uint8 of `ids` (h, w), any type of number. There is no margin, so `min_margin` is 0."""
        with np.errstate(invalid="ignore"):  # old NumPy warns of comparisons with NaN
            known = np.where((ids >= 0) & (ids < self._classes), ids, UNLABELED).astype(np.uint8)
        return known.take(self._rows, axis=0).take(self._columns, axis=1)

    def margin(self, ids: Array) -> Array:
        """Raises UsageError: there is none."""
        raise no_confidence()


Sampler = Union[Upsampler, ClassSampler]


def _nearest(inputs: int, outputs: int, covered: Tuple[int, int], resize: str) -> Array:
    position, unit = _positions(inputs, outputs, covered, resize)
    return (2 * position + unit) // (2 * unit)


def no_confidence() -> UsageError:
    """What to say where confidence is asked of a network that gives classes."""
    return UsageError(
        "this network gives the class of each pixel, not logits: there is no confidence",
        "leave out min_confidence, or import the model so that it ends at its logits: "
        "edgeseg import MODEL.tflite --upsampling device ...",
    )


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
