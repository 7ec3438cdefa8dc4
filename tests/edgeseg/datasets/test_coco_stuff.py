"""COCO-Stuff as its README tells to unpack it, and as people do."""

import os

import numpy as np
import pytest

from edgeseg.datasets import open_dataset
from edgeseg.datasets.layouts.coco_stuff import open_coco_stuff

pytest.importorskip("cv2", reason="datasets are read with OpenCV")


def write_pair(put, number, images, labels):
    put("{}/{:012d}.jpg".format(images, number), (10, 20, 30))
    label = np.full((6, 8), 181, np.uint8)
    label[0], label[1], label[2], label[3] = 255, 0, 10, 12  # 11, the street sign, is a gap
    return put("{}/{:012d}.png".format(labels, number), label)


@pytest.mark.parametrize(
    "images, labels",
    [
        ("images/train2017", "annotations/train2017"),
        ("train2017", "stuffthingmaps/train2017"),
        ("images/train2017", "train2017"),
    ],
)
def test_the_ways_to_unpack(put, tmp_path, images, labels):
    for number in (9, 25):
        write_pair(put, number, images, labels)
        write_pair(put, number, images.replace("train", "val"), labels.replace("train", "val"))
    put(labels + "/000000000009_labelTrainIds.png", 0)  # of mmsegmentation
    (tmp_path / "annotations").mkdir(exist_ok=True)
    (tmp_path / "annotations" / "instances_train2017.json").write_text("{}")
    dataset = open_dataset(str(tmp_path))
    assert dataset.name == "COCO-Stuff"
    assert {split: [p.name for p in pairs] for split, pairs in dataset.splits.items()} == {
        "train": ["000000000009", "000000000025"],
        "val": ["000000000009", "000000000025"],
    }
    _, label = dataset.read(dataset.pairs("train")[0])
    assert label[0].tolist() == [255] * 8
    names = [dataset.classes[label[row, 0]].name for row in (1, 2, 3, 4)]
    assert names == ["person", "fire hydrant", "stop sign", "wood"]


def test_classes(put, tmp_path):
    write_pair(put, 9, "images/val2017", "annotations/val2017")
    dataset = open_dataset(str(tmp_path))
    assert list(dataset.splits) == ["val"]
    assert len({c.name for c in dataset.classes}) == len({c.color for c in dataset.classes}) == 171


def test_value_of_a_gap(put, tmp_path, fault):
    put(os.path.relpath(write_pair(put, 9, "images/val2017", "annotations/val2017"), str(tmp_path)), 11)
    dataset = open_dataset(str(tmp_path))
    assert "value(s) 11" in fault(dataset.read, dataset.pairs("val")[0])


def test_images_are_missing(put, tmp_path, fault):
    put("annotations/val2017/000000000009.png", 3)
    assert "images/val2017" not in fault(open_coco_stuff, str(tmp_path))
    assert "val2017.zip" in fault(open_dataset, str(tmp_path))
