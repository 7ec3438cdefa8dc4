"""Pascal VOC 2012 as its archive unpacks: VOCdevkit/VOC2012."""

import os

import numpy as np
import pytest

from edgeseg.datasets import open_dataset
from edgeseg.datasets.layouts.voc import CLASSES, open_voc
from edgeseg.stream.png import encode_palette_png

pytest.importorskip("cv2", reason="datasets are read with OpenCV")


@pytest.fixture
def voc(put, tmp_path):
    """Function (name, value, folder="SegmentationClass") that adds a pair; the lists name 2007_000001 and 2."""

    def add(name, value, folder="SegmentationClass"):
        put("JPEGImages/{}.jpg".format(name), (10, 20, 30))
        mask = np.full((6, 8), value, np.uint8)
        mask[0] = 255
        path = tmp_path / folder / (name + ".png")
        os.makedirs(str(path.parent), exist_ok=True)
        path.write_bytes(encode_palette_png(mask, CLASSES))

    put("JPEGImages/2011_000009.jpg", (10, 20, 30))  # most images have no masks
    lists = tmp_path / "ImageSets" / "Segmentation"
    os.makedirs(str(lists))
    for name, text in (("train", "2007_000001\n"), ("val", "2007_000002\n"), ("test", "2008_000003\n")):
        (lists / (name + ".txt")).write_text(text)
    (lists / "trainval.txt").write_text("2007_000001\n2007_000002\n")
    add("2007_000001", 20)
    add("2007_000002", 0)
    return add


def test_splits_and_indices(voc, tmp_path):
    dataset = open_dataset(str(tmp_path))
    assert dataset.name == "Pascal VOC 2012"
    assert {split: [p.name for p in pairs] for split, pairs in dataset.splits.items()} == {
        "train": ["2007_000001"],
        "val": ["2007_000002"],
    }
    assert len(dataset.classes) == 21
    assert (dataset.classes[15].name, dataset.classes[15].color) == ("person", (192, 128, 128))
    _, label = dataset.read(dataset.pairs("train")[0])
    assert label[0].tolist() == [255] * 8
    assert dataset.classes[label[3, 3]].name == "tvmonitor"


def test_augmented_labels_for_names_of_train(voc, tmp_path):
    voc("2008_000005", 7, "SegmentationClassAug")
    voc("2007_000001", 3, "SegmentationClassAug")
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_text("2007_000001\n2008_000005\n")
    dataset = open_dataset(str(tmp_path))
    labels = [dataset.read(pair)[1][3, 3] for pair in dataset.pairs("train")]
    assert labels == [20, 7]  # the official label where there is one


def test_listed_name_without_label(voc, tmp_path, fault):
    os.unlink(str(tmp_path / "SegmentationClass" / "2007_000002.png"))
    message = fault(open_voc, str(tmp_path))
    assert "val.txt lists 1 name(s) without label: 2007_000002" in message


def test_lists_are_missing(voc, tmp_path, fault):
    for name in ("train", "val"):
        os.unlink(str(tmp_path / "ImageSets" / "Segmentation" / (name + ".txt")))
    message = fault(open_voc, str(tmp_path))
    assert "ImageSets/Segmentation/train.txt" in message
    assert "classes.txt" in message


def test_folder_with_classes_of_its_own(voc, tmp_path):
    """As CVAT exports it: the same folders, and labelmap.txt."""
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nvoid:0,0,0::\nscreen:0,64,128::\nwall:192,128,0::\n"
    )
    assert open_voc(str(tmp_path)) is None
    (tmp_path / "ImageSets" / "Segmentation" / "test.txt").unlink()
    dataset = open_dataset(str(tmp_path))
    assert [c.name for c in dataset.classes] == ["screen", "wall"]
    assert dataset.read(dataset.pairs("train")[0])[1][:2, 0].tolist() == [255, 0]
