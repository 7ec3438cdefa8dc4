"""ADE20K SceneParsing as its archive unpacks: ADEChallengeData2016."""

import os

import numpy as np
import pytest

from edgeseg.datasets import open_dataset
from edgeseg.datasets.layouts.ade20k import open_ade20k

pytest.importorskip("cv2", reason="datasets are read with OpenCV")


@pytest.fixture
def ade20k(put, tmp_path):
    for split, name in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        put("images/{}/{}.jpg".format(split, name), (10, 20, 30))
        label = np.full((6, 8), 150, np.uint8)
        label[0], label[1] = 0, 1
        put("annotations/{}/{}.png".format(split, name), label)
    (tmp_path / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tName\n")
    (tmp_path / "sceneCategories.txt").write_text("ADE_train_00000001 airport_terminal\n")
    return tmp_path


def test_splits_and_ids(ade20k):
    dataset = open_dataset(str(ade20k))
    assert dataset.name == "ADE20K"
    assert {split: [p.name for p in pairs] for split, pairs in dataset.splits.items()} == {
        "train": ["ADE_train_00000001"],
        "val": ["ADE_val_00000001"],
    }
    assert len({c.name for c in dataset.classes}) == 150
    _, label = dataset.read(dataset.pairs("val")[0])
    assert label[0].tolist() == [255] * 8
    assert [dataset.classes[label[row, 0]].name for row in (1, 2)] == ["wall", "flag"]
    assert dataset.classes[2] == (2, "sky", (6, 230, 230))


def test_other_values(ade20k, put, fault):
    put("annotations/validation/ADE_val_00000001.png", 151)
    dataset = open_dataset(str(ade20k))
    assert "value(s) 151" in fault(dataset.read, dataset.pairs("val")[0])


def test_half_unpacked(ade20k, fault):
    os.unlink(str(ade20k / "annotations" / "training" / "ADE_train_00000001.png"))
    message = fault(open_ade20k, str(ade20k))
    assert "1 of 1 image(s) have no label" in message
    assert "ADE_train_00000001.jpg" in message
    assert "ADEChallengeData2016.zip" in message


def test_images_of_others_in_such_folders(put, tmp_path):
    put("images/training/a.jpg", 1)
    put("annotations/training/a.png", 1)
    assert open_ade20k(str(tmp_path)) is None
