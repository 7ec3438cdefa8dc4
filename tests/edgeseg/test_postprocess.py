"""The mask must be that of interpolating every pixel, bit for bit, whatever the logits."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from edgeseg.errors import CheckFailed
from edgeseg.palette import UNLABELED
from edgeseg.postprocess import Upsampler, confidence_to_margin, margin_to_confidence, upsample_argmax

SIZES = [((44, 60), (360, 480)), ((44, 60), (352, 480)), ((11, 15), (90, 121)), ((5, 7), (13, 3)), ((1, 1), (4, 6))]


def smooth(rng, shape):
    """Logits with large areas of one class, as a network gives them."""
    coarse = rng.normal(size=(3, 4, shape[2]))
    rows = np.linspace(0, 2, shape[0]).round().astype(int)
    columns = np.linspace(0, 3, shape[1]).round().astype(int)
    return coarse[rows][:, columns] * 40 + rng.normal(size=shape)


def logits_like(kind, shape, seed=0):
    rng = np.random.RandomState(seed)
    if kind == "random int8":
        return rng.randint(-128, 128, shape).astype(np.int8)
    if kind == "ties uint8":
        return rng.randint(0, 3, shape).astype(np.uint8)
    if kind == "smooth int8":
        return smooth(rng, shape).clip(-128, 127).astype(np.int8)
    if kind == "smooth float32":
        return smooth(rng, shape).astype(np.float32)
    return rng.normal(size=shape).astype(np.float32)


KINDS = ["random int8", "ties uint8", "smooth int8", "smooth float32", "random float32"]


@pytest.mark.parametrize("grid, size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("margin", [0.0, 2.0])
def test_equals_interpolating_every_pixel(grid, size, kind, margin):
    logits = logits_like(kind, grid + (11,))
    upsampler = Upsampler(logits.shape, size)
    mask = upsampler(logits, margin)
    assert mask.dtype == np.uint8 and mask.shape == size
    assert np.array_equal(mask, upsampler.full(logits, margin))
    if margin and kind == "random int8" and grid != (1, 1):
        assert (mask == UNLABELED).any()


def exact_mask(logits, size):
    """Bilinear upsampling and argmax in fractions: no rounding at all."""
    height, width = logits.shape[:2]
    mask = np.empty(size, np.uint8)
    for row, column in itertools.product(range(size[0]), range(size[1])):
        y = min(max(Fraction(2 * row + 1, 2) * height / size[0] - Fraction(1, 2), 0), height - 1)
        x = min(max(Fraction(2 * column + 1, 2) * width / size[1] - Fraction(1, 2), 0), width - 1)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        fy, fx = y - top, x - left
        values = [
            (1 - fy) * ((1 - fx) * int(logits[top, left, c]) + fx * int(logits[top, right, c]))
            + fy * ((1 - fx) * int(logits[bottom, left, c]) + fx * int(logits[bottom, right, c]))
            for c in range(logits.shape[2])
        ]
        mask[row, column] = values.index(max(values))
    return mask


@pytest.mark.parametrize("kind", ["random int8", "ties uint8", "smooth int8"])
@pytest.mark.parametrize("size", [(23, 29), (32, 40), (3, 2)])
def test_is_exact_arithmetic(kind, size):
    logits = logits_like(kind, (4, 5, 6), seed=1)
    assert np.array_equal(upsample_argmax(logits, size), exact_mask(logits, size))


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_opencv(kind):
    cv2 = pytest.importorskip("cv2")
    logits = logits_like(kind, (44, 60, 11))
    opencv = cv2.resize(logits.astype(np.float32), (480, 360), interpolation=cv2.INTER_LINEAR).argmax(-1)
    # OpenCV rounds its weights, so it breaks exact ties at random.
    assert (upsample_argmax(logits, (360, 480)) != opencv).mean() < (0.2 if "ties" in kind else 0.001)


def test_part_of_the_logits():
    """A letterboxed frame covers the top of the input: the mask is that part of the whole mask."""
    logits = logits_like("smooth int8", (8, 12, 5))
    whole = Upsampler((8, 12, 5), (64, 96))(logits)
    part = Upsampler((8, 12, 5), (48, 96), ((3, 4), (1, 1)))(logits)
    assert np.array_equal(part, whole[:48])


def test_margin_marks_the_unsure():
    logits = np.zeros((2, 2, 3), np.float32)
    logits[:, 0, 1] = 4.0
    logits[:, 1, 2] = 4.0
    upsampler = Upsampler(logits.shape, (16, 16))
    margin = upsampler.margin(logits)
    assert margin[:, 0] == pytest.approx(4.0, abs=1e-3) and margin[:, 7].max() < 0.6
    mask = upsampler(logits, 2.0)
    assert np.array_equal(mask == UNLABELED, margin < 2.0) and (mask == UNLABELED).any()
    assert set(np.unique(mask)) == {1, 2, UNLABELED}


def test_confidence_is_the_softmax_lead():
    for lead in (0.1, 1.0, 5.0):
        p1, p2 = np.exp(lead), 1.0
        assert margin_to_confidence(lead) == pytest.approx((p1 - p2) / (p1 + p2))
        assert confidence_to_margin(float(margin_to_confidence(lead))) == pytest.approx(lead)
    assert confidence_to_margin(0.0) == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_refuses_nan(bad):
    logits = np.zeros((2, 2, 3), np.float32)
    logits[0, 0, 0] = bad
    with pytest.raises(CheckFailed, match="NaN"):
        upsample_argmax(logits, (4, 4))


def test_refuses_another_shape():
    with pytest.raises(ValueError, match="shape"):
        Upsampler((2, 2, 3), (4, 4))(np.zeros((2, 2, 4), np.int8))
