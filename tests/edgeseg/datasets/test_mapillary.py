"""Mapillary Vistas is read as v2.0 and v1.2 unpack, with the classes of its configuration."""

import json
import os

import numpy as np
import pytest

from edgeseg.datasets import open_dataset
from edgeseg.palette import numbered
from edgeseg.stream.png import write_palette_png

KEY = "-6-WLs7O63-6cwx-8adk7g"
LABELS = [
    {"color": [165, 42, 42], "instances": True, "readable": "Bird", "name": "animal--bird", "evaluate": True},
    {"color": [0, 0, 0], "instances": False, "readable": "Ambiguous", "name": "void--ambiguous", "evaluate": False},
    {"color": [128, 64, 128], "instances": False, "readable": "Road", "name": "flat--road", "evaluate": True},
    {"color": [0, 0, 0], "instances": False, "readable": "Unlabeled", "name": "void--unlabeled", "evaluate": False},
]


def write_config(tmp_path, name, labels=LABELS):
    (tmp_path / name).write_text(json.dumps({"labels": labels, "version": 1.1, "mapping": "public"}))


def write_split(put, split, labels, value=2):
    put("{}/images/{}.jpg".format(split, KEY), (10, 20, 30))
    return put("{}/{}/{}.png".format(split, labels, KEY), value)


@pytest.mark.parametrize(
    "config, labels, name",
    [
        ("config_v2.0.json", "v2.0/labels", "Mapillary Vistas v2.0"),
        ("config_v1.2.json", "v1.2/labels", "Mapillary Vistas v1.2"),
        ("config.json", "labels", "Mapillary Vistas v1.2"),
    ],
)
def test_versions(put, tmp_path, config, labels, name):
    write_config(tmp_path, config)
    write_split(put, "training", labels)
    write_split(put, "validation", labels, 3)
    put("testing/images/{}.jpg".format(KEY), (1, 2, 3))
    dataset = open_dataset(str(tmp_path))
    assert dataset.name == name
    assert dataset.classes == ((0, "Bird", (165, 42, 42)), (1, "Road", (128, 64, 128)))
    assert sorted(dataset.splits) == ["train", "val"]
    assert dataset.read(dataset.pairs("train")[0])[1][0, 0] == 1
    assert dataset.read(dataset.pairs("val")[0])[1][0, 0] == 255


def test_the_newest_version_that_has_a_configuration(put, tmp_path):
    for version in ("v1.2", "v2.0"):
        write_config(tmp_path, "config_{}.json".format(version))
        write_split(put, "training", version + "/labels")
    assert open_dataset(str(tmp_path)).name == "Mapillary Vistas v2.0"
    os.rename(str(tmp_path / "config_v2.0.json"), str(tmp_path / "unused.json"))
    assert open_dataset(str(tmp_path)).name == "Mapillary Vistas v1.2"


def test_palette_labels(put, tmp_path):
    """Label images are indexed PNGs: the index is the class, whatever colour it has."""
    write_config(tmp_path, "config.json")
    path = write_split(put, "training", "labels")
    write_palette_png(path, np.full((6, 8), 2, np.uint8), numbered([("any", (0, 0, 0))] * 4))
    dataset = open_dataset(str(tmp_path))
    assert dataset.read(dataset.pairs("train")[0])[1].max() == 1


def test_missing_configuration_or_labels(put, tmp_path, fault):
    write_split(put, "training", "v2.0/labels")
    assert "of no version both the configuration and the labels" in fault(open_dataset, str(tmp_path))
    write_config(tmp_path, "config_v1.2.json")
    assert "must hold config_v2.0.json" in fault(open_dataset, str(tmp_path))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"labels": [{"color": [1, 2]}]}'])
def test_damaged_configuration(put, tmp_path, fault, content):
    write_split(put, "training", "v2.0/labels")
    (tmp_path / "config_v2.0.json").write_text(content)
    message = fault(open_dataset, str(tmp_path))
    assert "config_v2.0.json is no configuration" in message


def test_faults(put, tmp_path, fault):
    write_config(tmp_path, "config.json")
    path = write_split(put, "training", "labels", 4)
    dataset = open_dataset(str(tmp_path))
    message = fault(dataset.read, dataset.pairs("train")[0])
    assert path in message
    assert "value(s) 4" in message
    assert "positions 0..3" in message
    assert "give --data {}".format(tmp_path) in fault(open_dataset, str(tmp_path / "training"))
    os.unlink(path)
    put("training/labels/other.png", 0)
    assert "1 of 1 image(s) have no label" in fault(open_dataset, str(tmp_path))
