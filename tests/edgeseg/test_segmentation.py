"""What a result tells about a frame."""

import json

import numpy as np
import pytest

from edgeseg.palette import CAMVID, UNLABELED
from edgeseg.postprocess import Upsampler
from edgeseg.segmentation import Segmentation


@pytest.fixture
def result():
    mask = np.full((60, 80), 3, np.uint8)  # Road
    mask[:20] = 0  # Sky
    mask[30:40, 10:30] = 8  # Car
    mask[30:34, 50:54] = 8
    mask[59] = UNLABELED
    logits = np.zeros((6, 8, len(CAMVID)), np.int8)
    return Segmentation(mask, CAMVID, logits, 0.1, Upsampler(logits.shape, mask.shape))


def test_shares(result):
    shares = result.shares()
    assert list(shares) == ["Road", "Sky", "Car"]
    assert shares["Sky"] == pytest.approx(20 / 60)
    assert sum(shares.values()) == pytest.approx(59 / 60)


def test_contours(result):
    cars = result.contours("Car")
    assert [c.area for c in cars] == [9 * 19, 9]
    assert cars[0].label.name == "Car"
    assert cars[0].points.min(axis=0).tolist() == [10, 30] and cars[0].points.max(axis=0).tolist() == [29, 39]
    assert len(result.contours("Car", min_area=100)) == 1
    assert result.contours("Tree") == []
    with pytest.raises(KeyError, match="Sky"):
        result.contours("Bear")


def test_to_dict_is_json(result):
    result.sequence = 7
    read = json.loads(json.dumps(result.to_dict()))
    assert read["sequence"] == 7 and (read["width"], read["height"]) == (80, 60)
    assert read["unlabeled"] == pytest.approx(1 / 60, abs=1e-6)
    assert read["shares"]["Road"] == pytest.approx(result.shares()["Road"], abs=1e-6)
    assert read["age_ms"] >= 0


def test_draw_and_save(result, tmp_path):
    import cv2

    image = np.full((60, 80, 3), 100, np.uint8)
    drawn = result.draw(image, opacity=1.0, legend=False)
    assert drawn.shape == image.shape and (image == 100).all()
    assert drawn[5, 5].tolist() == list(CAMVID[0].color[::-1])
    assert drawn[59, 5].tolist() == [100, 100, 100]  # unlabelled pixels keep the image
    path = str(tmp_path / "mask.png")
    result.save(path)
    assert cv2.imread(path)[35, 20].tolist() == list(CAMVID[8].color[::-1])


def test_confidence_of_even_logits_is_zero(result):
    assert (result.confidence == 0).all() and result.confidence.shape == (60, 80)
