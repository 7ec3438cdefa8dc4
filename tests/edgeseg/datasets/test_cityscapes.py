"""Cityscapes is read as its archives unpack; what is missing is named with the archive or script that has it."""

import os

import numpy as np
import pytest

from edgeseg.datasets import open_dataset

STEMS = {"train": "aachen/aachen_000000_000019", "val": "lindau/lindau_000001_000019"}


def write_split(put, split, stem, images=True, labels=("labelIds",), gt="gtFine"):
    if images:
        put("leftImg8bit/{}/{}_leftImg8bit.png".format(split, stem), (10, 20, 30))
    for kind in labels:
        # ids: 7 is road, 33 bicycle; train ids: 0 is road, 18 bicycle
        values = {"labelIds": (7, 33, 3), "labelTrainIds": (0, 18, 255)}.get(kind, (5, 5, 5))
        pixels = np.repeat(np.array(values, np.uint8), 16).reshape(6, 8)
        put("{}/{}/{}_{}_{}.png".format(gt, split, stem, gt, kind), pixels)
    put("{}/{}/{}_{}_polygons.json".format(gt, split, stem, gt))


def pixels_of(dataset, split="train"):
    image, label = dataset.read(dataset.pairs(split)[0])
    assert image[0, 0].tolist() == [10, 20, 30]
    return label.reshape(3, 16)[:, 0].tolist()


@pytest.mark.parametrize("kinds", [("labelIds", "color", "instanceIds"), ("labelTrainIds",)], ids=lambda k: k[0])
def test_labels_are_train_ids(put, tmp_path, kinds):
    for split, stem in STEMS.items():
        write_split(put, split, stem, labels=kinds)
    dataset = open_dataset(str(tmp_path))
    assert (dataset.name, len(dataset.classes)) == ("Cityscapes", 19)
    assert dataset.classes[0] == (0, "road", (128, 64, 128))
    assert dataset.classes[18] == (18, "bicycle", (119, 11, 32))
    assert {split: [p.name for p in pairs] for split, pairs in dataset.splits.items()} == {
        "train": ["aachen_000000_000019_leftImg8bit"],
        "val": ["lindau_000001_000019_leftImg8bit"],
    }
    assert pixels_of(dataset) == pixels_of(dataset, "val") == [0, 18, 255]


def test_label_ids_are_preferred(put, tmp_path):
    """Scripts make labelTrainIds of any table; the ids are those of the archive."""
    write_split(put, "train", STEMS["train"], labels=("labelTrainIds", "labelIds"))
    pair = open_dataset(str(tmp_path)).pairs("train")[0]
    assert pair.label.endswith("_gtFine_labelIds.png")


def test_test_has_no_labels(put, tmp_path):
    write_split(put, "train", STEMS["train"])
    write_split(put, "test", "berlin/berlin_000000_000019")
    assert list(open_dataset(str(tmp_path)).splits) == ["train"]


def test_coarse_labels_where_there_are_no_fine_ones(put, tmp_path):
    write_split(put, "train_extra", "erlangen/erlangen_000000_000000", gt="gtCoarse")
    write_split(put, "train", STEMS["train"], gt="gtCoarse")
    dataset = open_dataset(str(tmp_path))
    assert dataset.name == "Cityscapes coarse"
    assert sorted(dataset.splits) == ["train", "train_extra"]
    assert pixels_of(dataset, "train_extra") == [0, 18, 255]
    write_split(put, "train", STEMS["train"])
    assert list(open_dataset(str(tmp_path)).splits) == ["train"]


def test_foreign_and_capital_names(put, tmp_path):
    write_split(put, "train", STEMS["train"])
    folder = tmp_path / "leftImg8bit" / "train" / "aachen"
    put("leftImg8bit/train/aachen/._aachen_000000_000019_leftImg8bit.png")
    put("leftImg8bit/train/aachen/Thumbs.db")
    put("leftImg8bit/train/.DS_Store")
    put("leftImg8bit/train/README.txt")
    os.rename(
        str(folder / "aachen_000000_000019_leftImg8bit.png"), str(folder / "aachen_000000_000019_leftImg8bit.PNG")
    )
    assert pixels_of(open_dataset(str(tmp_path))) == [0, 18, 255]


def test_missing_archives_are_named(put, tmp_path, fault):
    write_split(put, "train", STEMS["train"], labels=())
    os.unlink(str(tmp_path / "gtFine" / "train" / (STEMS["train"] + "_gtFine_polygons.json")))
    assert "unpack gtFine_trainvaltest.zip" in fault(open_dataset, str(tmp_path))
    write_split(put, "val", STEMS["val"], images=False)
    message = fault(open_dataset, str(tmp_path))
    assert "leftImg8bit holds train, gtFine holds train, val" in message
    assert "unpack leftImg8bit_trainvaltest.zip" in message


def test_images_of_test_alone(put, tmp_path, fault):
    put("leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png", (1, 2, 3))
    assert "test has no public labels" in fault(open_dataset, str(tmp_path))


def test_polygons_without_label_images(put, tmp_path, fault):
    write_split(put, "train", STEMS["train"], labels=())
    message = fault(open_dataset, str(tmp_path))
    assert "aachen_000000_000019_gtFine_polygons.json" in message
    assert "CITYSCAPES_DATASET={} csCreateTrainIdLabelImgs".format(tmp_path) in message


def test_polygons_in_one_split(put, tmp_path, fault):
    write_split(put, "train", STEMS["train"])
    write_split(put, "val", STEMS["val"], labels=())
    message = fault(open_dataset, str(tmp_path))
    assert "1 of 1 image(s) have no label" in message
    assert "csCreateTrainIdLabelImgs" in message


def test_image_and_label_that_are_alone(put, tmp_path, fault):
    write_split(put, "train", STEMS["train"])
    lonely = put("leftImg8bit/train/aachen/aachen_000009_000019_leftImg8bit.png", (1, 2, 3))
    assert "1 of 2 image(s) have no label: " + lonely in fault(open_dataset, str(tmp_path))
    os.unlink(lonely)
    lonely = put("gtFine/train/aachen/aachen_000009_000019_gtFine_labelIds.png", 7)
    assert "1 of 2 label(s) have no image: " + lonely in fault(open_dataset, str(tmp_path))


def test_value_outside_the_ids(put, tmp_path, fault):
    write_split(put, "train", STEMS["train"])
    path = put("gtFine/train/{}_gtFine_labelIds.png".format(STEMS["train"]), 34)
    dataset = open_dataset(str(tmp_path))
    message = fault(dataset.read, dataset.pairs("train")[0])
    assert path in message
    assert "value(s) 34" in message
    assert "0..33" in message


def test_the_real_cityscapes(shared_data):
    dataset = open_dataset(str(shared_data("cityscapes_sample")))
    assert {split: len(pairs) for split, pairs in dataset.splits.items()} == {"train": 4}
    image, label = dataset.read(dataset.pairs("train")[0])
    assert image.shape == (1024, 2048, 3)
    assert label[700, 1000] == 0  # road before the car
    assert np.mean(label == 255) < 0.2
