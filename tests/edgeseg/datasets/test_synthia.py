"""SYNTHIA-RAND-CITYSCAPES as its archive unpacks: RAND_CITYSCAPES."""

import os

import numpy as np
import pytest

from edgeseg.datasets import open_dataset

cv2 = pytest.importorskip("cv2", reason="datasets are read with OpenCV")


@pytest.fixture
def synthia(put, tmp_path):
    """Ten pairs; labels of 16 bits, BGR as OpenCV writes it: the object in green, the class in red."""
    os.makedirs(str(tmp_path / "GT" / "LABELS"))
    label = np.zeros((6, 8, 3), np.uint16)
    label[1, :, 2], label[2, :, 2], label[3:, :, 2] = 1, 8, 22
    label[2, :, 1] = 4711
    for number in range(10):
        put("RGB/{:07d}.png".format(number), (10, 20, 30))
        put("GT/COLOR/{:07d}.png".format(number), (10, 20, 30))
        assert cv2.imwrite(str(tmp_path / "GT" / "LABELS" / "{:07d}.png".format(number)), label)
    return tmp_path


def test_ids_are_in_the_first_channel(synthia):
    dataset = open_dataset(str(synthia))
    assert dataset.name == "SYNTHIA"
    _, label = dataset.read(dataset.pairs("train")[0])
    assert label.dtype == np.uint8
    assert label[0].tolist() == [255] * 8
    assert [dataset.classes[label[row, 0]].name for row in (1, 2, 3)] == ["sky", "car", "lane marking"]
    assert len({c.color for c in dataset.classes}) == 22


def test_its_split_is_made_by_us(synthia):
    splits = open_dataset(str(synthia)).splits
    assert [p.name for p in splits["val"]] == ["0000008", "0000009"]
    assert len(splits["train"]) == 8


def test_values_of_another_synthia(synthia, fault):
    label = np.full((6, 8, 3), 300, np.uint16)
    assert cv2.imwrite(str(synthia / "GT" / "LABELS" / "0000000.png"), label)
    dataset = open_dataset(str(synthia))
    assert "value(s) 300" in fault(dataset.read, dataset.pairs("train")[0])


def test_images_are_missing(synthia, fault):
    os.rename(str(synthia / "RGB"), str(synthia / "rgb_elsewhere"))
    assert "no images in RGB" in fault(open_dataset, str(synthia))


def test_grey_labels(synthia, put, fault):
    put("GT/LABELS/0000000.png", 3)
    dataset = open_dataset(str(synthia))
    assert "several channels" in fault(dataset.read, dataset.pairs("train")[0])
