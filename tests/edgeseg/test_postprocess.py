"""The mask must be that of interpolating every pixel, bit for bit, whatever the logits."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from edgeseg.errors import CheckFailed, UsageError
from edgeseg.palette import UNLABELED
from edgeseg.postprocess import ClassSampler, Upsampler, confidence_to_margin, margin_to_confidence, upsample_argmax

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


# Height and width of a network's input, which a frame covers in whole or in part, and of its logits.
GRIDS = [((33, 33), (513, 513), (513, 513)), ((9, 12), (65, 90), (65, 73)), ((5, 1), (33, 8), (20, 8))]


def sides(covered, imgsz):
    return (covered[0], imgsz[0]), (covered[1], imgsz[1])


@pytest.mark.parametrize("grid, imgsz, covered", GRIDS)
@pytest.mark.parametrize("resize", ["half_pixel", "align_corners"])
@pytest.mark.parametrize("size", [(129, 129), (48, 64), (91, 30)])
def test_each_convention_equals_interpolating_every_pixel(grid, imgsz, covered, resize, size):
    parts = sides(covered, imgsz)
    for kind, margin in itertools.product(KINDS, (0.0, 3.0)):
        logits = logits_like(kind, grid + (5,))
        upsampler = Upsampler(logits.shape, size, parts, resize)
        assert np.array_equal(upsampler(logits, margin), upsampler.full(logits, margin))


def place(pixel, pixels, covered, inputs, samples, resize):
    """Where a pixel of a frame lies on the logits, as a fraction."""
    half = Fraction(1, 2)
    on_input = (pixel + half) * covered / pixels - half  # as the frame was resized to fill `covered` of `inputs`
    if resize == "half_pixel":
        position = (on_input + half) * samples / inputs - half
    else:
        position = on_input * (samples - 1) / max(1, inputs - 1)
    return min(max(position, Fraction(0)), Fraction(samples - 1))


def exact_mask(logits, size, covered=None, imgsz=(1, 1), resize="half_pixel"):
    """Bilinear upsampling and argmax in fractions: no rounding at all."""
    height, width = logits.shape[:2]
    covered = covered or imgsz
    mask = np.empty(size, np.uint8)
    for row, column in itertools.product(range(size[0]), range(size[1])):
        y = place(row, size[0], covered[0], imgsz[0], height, resize)
        x = place(column, size[1], covered[1], imgsz[1], width, resize)
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


@pytest.mark.parametrize("kind", ["random int8", "ties uint8", "smooth int8"])
@pytest.mark.parametrize("resize", ["half_pixel", "align_corners"])
@pytest.mark.parametrize("size, covered", [((23, 29), (33, 49)), ((33, 49), (33, 49)), ((31, 18), (20, 49))])
def test_each_convention_is_exact_arithmetic(kind, resize, size, covered):
    logits, imgsz = logits_like(kind, (5, 7, 4), seed=2), (33, 49)
    parts = sides(covered, imgsz)
    expected = exact_mask(logits, size, covered, imgsz, resize)
    assert np.array_equal(Upsampler(logits.shape, size, parts, resize)(logits), expected)


def test_aligned_corners_are_samples():
    """The pixels at the corners of the input, and every 16th between, have the class of a sample itself."""
    logits = logits_like("random int8", (33, 33, 21))
    parts = ((513, 513), (513, 513))
    mask = Upsampler(logits.shape, (513, 513), parts, "align_corners")(logits)
    assert np.array_equal(mask[::16, ::16], logits.argmax(-1))
    assert not np.array_equal(mask, Upsampler(logits.shape, (513, 513), parts)(logits))


@pytest.mark.parametrize("kind", ["smooth int8", "smooth float32"])
def test_odd_sizes_with_large_denominators(kind):
    logits, size, imgsz = logits_like(kind, (5, 7, 4)), (131, 9), (1032, 2054)
    upsampler = Upsampler(logits.shape, size, sides(imgsz, imgsz), "align_corners")
    mask = upsampler(logits)
    assert np.array_equal(mask, upsampler.full(logits))
    if kind == "smooth int8":
        assert np.array_equal(mask, exact_mask(logits, size, None, imgsz, "align_corners"))


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


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "float32"])
@pytest.mark.parametrize("resize", ["half_pixel", "align_corners"])
@pytest.mark.parametrize("size, covered", [((20, 30), (20, 30)), ((47, 11), (20, 30)), ((13, 60), (9, 30))])
def test_class_ids_are_those_of_the_nearest_sample(dtype, resize, size, covered):
    imgsz, grid = (20, 30), (7, 10)
    ids = np.random.RandomState(0).randint(0, 9, grid).astype(dtype)
    mask = ClassSampler(grid, 9, size, sides(covered, imgsz), resize)(ids)
    assert mask.dtype == np.uint8 and mask.shape == size
    rows, columns = (
        [int(place(i, size[k], covered[k], imgsz[k], grid[k], resize) + Fraction(1, 2)) for i in range(size[k])]
        for k in (0, 1)
    )
    assert np.array_equal(mask, ids[rows][:, columns])


def test_class_ids_at_full_size_are_the_mask():
    ids = np.random.RandomState(0).randint(0, 21, (65, 97))
    for resize in ("half_pixel", "align_corners"):
        sampler = ClassSampler(ids.shape, 21, ids.shape, ((65, 65), (97, 97)), resize)
        assert np.array_equal(sampler(ids), ids)


def test_ids_that_no_class_has_become_255():
    ids = np.array([[-7.0, 0.0, 2.0], [3.0, 300.0, np.nan]], np.float32)
    mask = ClassSampler((2, 3), 3, (2, 3), ((2, 2), (3, 3)), "half_pixel")(ids)
    assert mask.tolist() == [[255, 0, 2], [255, 255, 255]]


def test_class_ids_have_no_confidence():
    with pytest.raises(UsageError, match="no confidence") as caught:
        ClassSampler((2, 2), 3, (4, 4), ((2, 2), (2, 2)), "half_pixel").margin(np.zeros((2, 2)))
    assert "--upsampling device" in caught.value.fix
