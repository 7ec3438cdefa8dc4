"""Accuracy in the band around class borders, against its definition and by hand."""

import numpy as np
import pytest

pytest.importorskip("cv2")

from edgeseg.metrics import boundary_band, boundary_confusions, confusion_matrix, scores
from edgeseg.palette import CAMVID


def band_by_definition(labels, reach):
    """Pixel by pixel: another class, void not counted, at most `reach` rows and columns away."""
    band = np.zeros(labels.shape, bool)
    for y, x in np.argwhere(labels != 255):
        around = labels[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        band[y, x] = np.any((around != 255) & (around != labels[y, x]))
    return band


@pytest.mark.parametrize("reach", [1, 4])
@pytest.mark.parametrize("ids", [(0, 255), (0, 1, 255), (0, 1, 2, 254, 255)])
def test_band_is_as_defined(ids, reach):
    labels = np.random.RandomState(1).choice(ids, (9, 11)).repeat(5, 0).repeat(4, 1).astype(np.uint8)
    assert np.array_equal(boundary_band(labels, reach), band_by_definition(labels, reach))


def test_four_pixels_to_each_side():
    labels = np.zeros((20, 30), np.uint8)
    labels[:, 15:] = 1
    assert np.array_equal(np.nonzero(boundary_band(labels)[7])[0], np.arange(11, 19))


def test_void_is_no_class_and_is_not_counted():
    labels = np.zeros((20, 30), np.uint8)
    labels[:, 15:] = 255
    assert not boundary_band(labels).any()  # a class and void: no border
    labels[:, 18:] = 1
    assert np.array_equal(np.nonzero(boundary_band(labels)[7])[0], [14, 18])  # across 3 columns of void


def test_errors_away_from_borders_do_not_count():
    labels = np.zeros((20, 30), np.uint8)
    labels[:, 15:] = 1
    mask = labels.copy()
    mask[:, :5] = 2
    whole, band = boundary_confusions(labels, mask, 3)
    assert np.array_equal(whole, confusion_matrix(labels, mask, 3))
    assert band.sum() == 20 * 8 and np.trace(band) == 20 * 8
    mask[:, 14] = 1
    found = scores(boundary_confusions(labels, mask, 3), CAMVID[:3])
    assert found.boundary_miou == pytest.approx((3 / 4.0 + 4 / 5.0) / 2)
    assert found.boundary_iou == pytest.approx({"Sky": 3 / 4.0, "Building": 4 / 5.0, "Pole": None})
    assert found.pixel_accuracy == pytest.approx(24 / 30.0)
    assert found.iou["Pole"] == 0 and found.miou == pytest.approx((9 / 15.0 + 15 / 16.0) / 2)


def test_figures_that_json_can_hold_where_nothing_is_labelled():
    nothing = np.full((8, 8), 255, np.uint8)
    found = scores(boundary_confusions(nothing, nothing, 2), CAMVID[:2])
    assert found == (None, None, None, {"Sky": None, "Building": None}, {"Sky": None, "Building": None})
