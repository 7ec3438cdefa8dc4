"""Calibration images: which, how many, and what the manifest says about them."""

import hashlib

import numpy as np
import pytest

from edgeseg.datasets import open_dataset
from edgeseg.datasets.base import spread
from edgeseg.errors import UsageError
from edgeseg.export.calibrate import from_dataset, from_noise, parse_calibration

SIZE = (32, 64)


def test_images_of_the_train_split_at_even_distances(workshop):
    dataset = open_dataset(str(workshop.data))
    calibration = from_dataset(dataset, SIZE, 4)
    report = calibration.report
    assert (report["kind"], report["dataset"], report["split"], report["images"]) == ("dataset", "CamVid", "train", 4)
    assert [i.shape for i in calibration.images] == [(*SIZE, 3)] * 4
    labels = [dataset.read(pair)[1] for pair in spread(dataset.pairs("train"), 4)]
    for cls in dataset.classes:
        share = sum((label == cls.id).sum() for label in labels) / sum((label != 255).sum() for label in labels)
        assert report["coverage"][cls.name] == pytest.approx(share, abs=1e-6)


def test_the_digest_is_that_of_the_pixels(workshop):
    dataset = open_dataset(str(workshop.data))
    first, again, other = (from_dataset(dataset, SIZE, n) for n in (4, 4, 5))
    assert first.report == again.report != other.report
    assert first.report["sha256"] == hashlib.sha256(np.stack(first.images).tobytes()).hexdigest()


def test_more_than_there_are(workshop):
    assert from_dataset(open_dataset(str(workshop.data)), SIZE, 500).report["images"] == 16


def test_noise_says_that_it_is_noise():
    noise = from_noise(SIZE, 9)
    assert noise.report["kind"] == "random"
    assert "coverage" not in noise.report
    assert noise.report == from_noise(SIZE, 9).report
    assert all(i.shape == (*SIZE, 3) and i.dtype == np.uint8 for i in noise.images)


def test_spread_takes_both_ends():
    assert spread(range(101), 5) == [0, 25, 50, 75, 100]
    assert spread("abc", 7) == ["a", "b", "c"]
    assert spread("abc", 1) == ["a"]


def test_calibration_argument():
    assert (parse_calibration("25"), parse_calibration("random")) == (25, None)
    for text in ("0", "-3", "many", "1.5", ""):
        with pytest.raises(UsageError, match="no number of images"):
            parse_calibration(text)
