"""Colours, views, legend, palette check."""

import numpy as np
import pytest

from edgeseg.draw import VIEWS, Painter, check_palette, color_distance, color_table
from edgeseg.errors import UsageError
from edgeseg.palette import CAMVID, SegClass

pytest.importorskip("cv2")

SHARES = {"Road": 0.5, "Sky": 0.004}


@pytest.fixture
def frame():
    """Image of noise and a mask with a stripe of 255, 100 x 200."""
    rng = np.random.RandomState(0)
    image = rng.randint(0, 256, (100, 200, 3)).astype(np.uint8)
    mask = rng.randint(0, 11, (100, 200)).astype(np.uint8)
    mask[40:60] = 255
    return image, mask


def colors(mask):
    return color_table(CAMVID)[mask][..., ::-1]


@pytest.mark.parametrize("opacity", [0.0, 0.3, 1.0])
def test_overlay_blends_classes_and_leaves_the_unlabelled(frame, opacity):
    image, mask = frame
    before = image.copy()
    drawn = Painter(CAMVID, opacity=opacity, legend=False).draw(image, mask, SHARES)
    wanted = (1 - opacity) * image.astype(float) + opacity * colors(mask)
    wanted[mask == 255] = image[mask == 255]
    assert np.abs(drawn - wanted).max() <= 1
    assert np.array_equal(image, before)


def test_mask_view_and_side_by_side(frame):
    image, mask = frame
    assert np.array_equal(Painter(CAMVID, "mask", legend=False).draw(image, mask, SHARES), colors(mask))
    both = Painter(CAMVID, "side-by-side", legend=False)
    drawn = both.draw(image, mask, SHARES)
    assert both.output_size(200, 100) == (400, 100) and drawn.shape == (100, 400, 3)
    assert np.array_equal(drawn[:, :200], image)
    assert np.array_equal(drawn[:, 200:], Painter(CAMVID, legend=False).draw(image, mask, SHARES))


def test_buffer_is_reused_and_follows_the_size(frame):
    image, mask = frame
    painter = Painter(CAMVID)
    first = painter.draw(image, mask, SHARES)
    assert painter.draw(image, mask, SHARES) is first
    assert painter.draw(image[:50], mask[:50], SHARES).shape == (50, 200, 3)


def test_one_column_masks():
    """Arrays of four values look like colours to OpenCV."""
    for shape in ((1, 1), (4, 1), (1, 4)):
        mask = np.full(shape, 255, np.uint8)
        image = np.full(shape + (3,), 77, np.uint8)
        assert (Painter(CAMVID, legend=False).draw(image, mask, {}) == 77).all()


@pytest.mark.parametrize("view", VIEWS)
def test_the_legend_lists_what_is_present(view):
    image, mask = np.full((360, 480, 3), 255, np.uint8), np.full((360, 480), 255, np.uint8)
    plain = Painter(CAMVID, view, legend=False).draw(image, mask, {}).copy()
    painter = Painter(CAMVID, view)
    assert np.array_equal(painter.draw(image, mask, {}), plain)  # nothing is present
    one = painter.draw(image, mask, {"Road": 0.5}).copy()
    two = painter.draw(image, mask, SHARES).copy()
    other = painter.draw(image, mask, {"Road": 0.6}).copy()
    rows = [int((d != plain).any(axis=(1, 2)).sum()) for d in (one, two)]
    assert rows[0] > 8 and rows[1] == 2 * rows[0]
    assert not np.array_equal(one, other)  # 50% and 60%
    assert (one == np.array((128, 64, 128))).all(axis=2).any()  # the swatch of Road
    # Light letters on a dark panel, whatever the frame: this one is white.
    panel = one[(one != plain).any(axis=2)]
    assert panel.min() < 40 and panel.max() > 200


def test_classes_keep_their_order_and_the_largest_stay_when_room_is_short():
    image, mask = np.zeros((60, 200, 3), np.uint8), np.full((60, 200), 255, np.uint8)
    shares = {label.name: 0.01 * (label.id + 1) for label in CAMVID}  # bicyclists have most
    drawn = Painter(CAMVID).draw(image, mask, shares)

    def row_of(name):
        color = next(c.color for c in CAMVID if c.name == name)[::-1]
        rows = np.flatnonzero((drawn == np.array(color)).all(axis=2).sum(axis=1) > 3)
        return rows[0] if rows.size else None

    assert row_of("Sky") is None
    assert row_of("Pedestrian") < row_of("Bicyclist")


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (20, 400), (400, 20)])
def test_frames_smaller_than_the_legend(size):
    shares = {label.name: 1 / 11 for label in CAMVID}
    Painter(CAMVID).draw(np.zeros(size + (3,), np.uint8), np.zeros(size, np.uint8), shares)


def test_wrong_arguments(frame):
    image, mask = frame
    with pytest.raises(UsageError, match="views: overlay, mask, side-by-side"):
        Painter(CAMVID, view="blend")
    for opacity in (-0.1, 1.5, float("nan")):
        with pytest.raises(UsageError, match="outside"):
            Painter(CAMVID, opacity=opacity)
    with pytest.raises(ValueError, match="differ in size"):
        Painter(CAMVID).draw(image, mask[:50], {})


def test_palette_check():
    assert check_palette(CAMVID) == []
    classes = [
        SegClass(0, "a", (200, 0, 0)),
        SegClass(1, "b", (200, 0, 0)),
        SegClass(2, "c", (205, 4, 3)),
        SegClass(3, "a", (0, 200, 0)),
        SegClass(4, "e", (4, 4, 4)),
    ]
    problems = "\n".join(check_palette(classes))
    assert "a and b have the same colour (200, 0, 0)" in problems
    assert "b (200, 0, 0) and c (205, 4, 3) are hard to tell apart" in problems
    assert "classes 0 and 3 are both called a" in problems
    assert "e (4, 4, 4) is hard to tell from unlabelled" in problems
    assert len(problems.splitlines()) == 5


def test_color_distance():
    """Black and white are 765 apart, as the author of the measure says; green weighs more than blue and red."""
    assert abs(color_distance((0, 0, 0), (255, 255, 255)) - 764.8) < 0.5
    green, red = (color_distance((100, 100, 100), c) for c in ((100, 140, 100), (140, 100, 100)))
    assert green > red > 0
