"""IDD and IDD-Lite are read as they unpack, IDD with the label images that its scripts make."""

import os

import numpy as np
import pytest

from edgeseg.datasets import open_dataset
from edgeseg.datasets.layouts.idd import LITE_CLASSES


def write_pair(put, image, label, value=0):
    put("leftImg8bit/" + image, (10, 20, 30))
    return put("gtFine/" + label, value)


def first_value(dataset, split="train"):
    return dataset.read(dataset.pairs(split)[0])[1][0, 0]


@pytest.mark.parametrize("kind", ["labellevel3Ids", "labelLevel3Ids"])
def test_level_3(put, tmp_path, kind):
    write_pair(put, "train/201/frame0029_leftImg8bit.jpg", "train/201/frame0029_gtFine_{}.png".format(kind), 25)
    write_pair(put, "val/5/024703_leftImg8bit.png", "val/5/024703_gtFine_{}.png".format(kind), 255)
    put("leftImg8bit/test/9/000001_leftImg8bit.png", (1, 2, 3))
    dataset = open_dataset(str(tmp_path))
    assert (dataset.name, len(dataset.classes)) == ("IDD", 26)
    assert dataset.classes[8] == (8, "autorickshaw", (255, 204, 54))
    assert sorted(dataset.splits) == ["train", "val"]
    assert first_value(dataset) == 25
    assert first_value(dataset, "val") == 255


@pytest.mark.parametrize(
    "value, expected", [(0, 0), (2, 1), (18, 12), (26, 20), (33, 25), (34, 25), (35, 255), (39, 255)]
)
def test_ids(put, tmp_path, value, expected):
    write_pair(put, "train/201/frame0029_leftImg8bit.png", "train/201/frame0029_gtFine_labelids.png", value)
    assert first_value(open_dataset(str(tmp_path))) == expected


def test_level_3_is_preferred(put, tmp_path):
    write_pair(put, "train/1/a_leftImg8bit.png", "train/1/a_gtFine_labelids.png", 32)
    put("gtFine/train/1/a_gtFine_labellevel3Ids.png", 24)
    assert open_dataset(str(tmp_path)).pairs("train")[0].label.endswith("level3Ids.png")


def test_polygons_without_label_images(put, tmp_path, fault):
    put("leftImg8bit/train/201/frame0029_leftImg8bit.jpg", (1, 2, 3))
    put("gtFine/train/201/frame0029_gtFine_polygons.json")
    message = fault(open_dataset, str(tmp_path))
    assert "frame0029_gtFine_polygons.json" in message
    assert "createLabels.py --datadir {} --id-type level3Id".format(tmp_path) in message


def test_without_labels(put, tmp_path, fault):
    put("leftImg8bit/train/201/frame0029_leftImg8bit.jpg", (1, 2, 3))
    message = fault(open_dataset, str(tmp_path))
    assert "images of IDD, but" in message
    assert "{} must be there".format(tmp_path / "gtFine" / "train") in message


def test_lite(put, tmp_path, fault):
    write_pair(put, "train/472/frame34862_image.jpg", "train/472/frame34862_label.png", 6)
    write_pair(put, "val/5/024703_image.JPG", "val/5/024703_label.png", 255)
    put("leftImg8bit/test/9/000001_image.jpg", (1, 2, 3))
    dataset = open_dataset(str(tmp_path))
    assert (dataset.name, len(dataset.classes)) == ("IDD-Lite", 7)
    assert sorted(dataset.splits) == ["train", "val"]
    assert first_value(dataset) == 6
    assert first_value(dataset, "val") == 255
    path = put("gtFine/val/5/024703_label.png", 7)
    message = fault(dataset.read, dataset.pairs("val")[0])
    assert path in message
    assert "value(s) 7 outside the 7 classes" in message
    os.unlink(path)
    put("gtFine/val/5/024704_label.png", 0)
    assert "1 of 1 image(s) have no label" in fault(open_dataset, str(tmp_path))


def test_the_real_idd_lite(shared_data):
    dataset = open_dataset(str(shared_data("idd_lite")))
    assert {split: len(pairs) for split, pairs in dataset.splits.items()} == {"train": 1403, "val": 204}
    image, label = dataset.read(dataset.pairs("val")[0])
    assert image.shape == (227, 320, 3)
    ids = {c.name: c.id for c in LITE_CLASSES}
    assert np.all(image[label == ids["sky"]].mean(axis=0) > image[label == ids["drivable"]].mean(axis=0))
    assert np.nonzero(label == ids["sky"])[0].mean() < np.nonzero(label == ids["drivable"])[0].mean()
