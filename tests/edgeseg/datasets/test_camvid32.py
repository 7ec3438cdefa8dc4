"""CamVid with its 32 colours is read as the 11 classes and the splits of SegNet's copy."""

import os

import numpy as np
import pytest

from edgeseg.datasets import open_dataset
from edgeseg.datasets.layouts.camvid32 import COLORS, VOID, open_camvid32, split_of
from edgeseg.palette import CAMVID


def write_pair(put, name, color, images="701_StillsRaw_full", labels="LabeledApproved_full"):
    put("{}/{}.png".format(images, name), (10, 20, 30))
    return put("{}/{}_L.png".format(labels, name), color)


def class_at_corner(dataset, split="train"):
    value = dataset.read(dataset.pairs(split)[0])[1][0, 0]
    return "unlabelled" if value == 255 else dataset.classes[value].name


@pytest.mark.parametrize(
    "images, labels", [("701_StillsRaw_full", "LabeledApproved_full"), ("images/701_StillsRaw_full", "labels")]
)
def test_the_two_archives(put, tmp_path, images, labels):
    for name in ("0001TP_006690", "0016E5_07959", "Seq05VD_f00000"):
        write_pair(put, name, (0, 0, 192), images, labels)
    put(images + "/._0001TP_006690.png")
    put(labels + "/Thumbs.db")
    dataset = open_dataset(str(tmp_path))
    assert (dataset.name, dataset.classes) == ("CamVid", CAMVID)
    assert {split: [pair.name for pair in pairs] for split, pairs in dataset.splits.items()} == {
        "train": ["0001TP_006690"],
        "val": ["0016E5_07959"],
        "test": ["Seq05VD_f00000"],
    }
    assert class_at_corner(dataset) == "Pavement"


def test_split_folders(put, tmp_path):
    """As in copies that come with class_dict.csv; their split is theirs."""
    write_pair(put, "Seq05VD_f00000", (192, 128, 192), "train", "train_labels")
    write_pair(put, "0001TP_006690", VOID, "val", "val_labels")
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nTruck_Bus,192,128,192\n")
    dataset = open_dataset(str(tmp_path))
    assert class_at_corner(dataset) == "Car"
    assert class_at_corner(dataset, "val") == "unlabelled"


def test_split_folders_of_something_else(put, tmp_path):
    write_pair(put, "cat_1", (192, 128, 192), "train", "train_labels")
    assert open_camvid32(str(tmp_path)) is None


def test_every_colour_has_a_class():
    colors = [color for group in COLORS.values() for color in group.values()]
    assert len(set(colors) | {VOID}) == len(colors) + 1 == 32
    assert list(COLORS) == [c.name for c in CAMVID]


def test_strange_colour(put, tmp_path, fault):
    path = write_pair(put, "0001TP_006690", (1, 2, 3))
    dataset = open_dataset(str(tmp_path))
    message = fault(dataset.read, dataset.pairs("train")[0])
    assert path in message
    assert "(1, 2, 3)" in message


def test_strange_colours_of_the_label_that_is_damaged_in_every_copy(put, tmp_path):
    pixels = np.full((6, 8, 3), (128, 0, 0), np.uint8)
    pixels[2:] = (77, 77, 0)
    write_pair(put, "Seq05VD_f02610", pixels)
    dataset = open_dataset(str(tmp_path))
    label = dataset.read(dataset.pairs("test")[0])[1]
    assert label[:, 0].tolist() == [1, 1, 255, 255, 255, 255]


def test_missing_parts(put, tmp_path, fault):
    path = write_pair(put, "0001TP_006690", VOID)
    put("701_StillsRaw_full/0001TP_006720.png", (1, 2, 3))
    message = fault(open_dataset, str(tmp_path))
    assert "1 of 2 image(s) have no label" in message
    assert "NAME_L.png" in message
    os.rename(os.path.dirname(path), str(tmp_path / "other"))
    assert "unpack LabeledApproved_full.zip" in fault(open_dataset, str(tmp_path))
    os.rename(str(tmp_path / "other"), os.path.dirname(path))
    os.rename(str(tmp_path / "701_StillsRaw_full"), str(tmp_path / "other"))
    assert "unpack 701_StillsRaw_full.zip" in fault(open_dataset, str(tmp_path))


def test_image_of_no_drive(put, tmp_path, fault):
    write_pair(put, "holiday", VOID)
    assert "holiday is no image of CamVid" in fault(open_dataset, str(tmp_path))


def test_splits_are_those_of_segnet(shared_data):
    for split, count in (("train", 367), ("val", 101)):
        with open(str(shared_data("camvid", split + ".txt"))) as file:
            names = [os.path.splitext(os.path.basename(line.split()[0]))[0] for line in file if line.strip()]
        assert len(names) == count
        assert {split_of(name) for name in names} == {split}
    assert {split_of(name) for name in ("0001TP_008550", "0001TP_010380", "Seq05VD_f05100")} == {"test"}
