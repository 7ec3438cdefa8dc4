"""A folder above or below that of the dataset is answered with the right one."""

import pytest

from edgeseg.datasets import open_dataset


@pytest.fixture
def street(put, tmp_path):
    put("street/leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png", (1, 2, 3))
    put("street/gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png", 7)
    return tmp_path / "street"


@pytest.mark.parametrize("inside", ["leftImg8bit", "gtFine/train", "leftImg8bit/train/aachen"])
def test_too_low(street, fault, inside):
    assert "give --data {}".format(street) in fault(open_dataset, str(street.joinpath(*inside.split("/"))))


def test_too_high(street, fault):
    assert "give --data {}".format(street) in fault(open_dataset, str(street.parent))


def test_too_high_above_a_broken_one(street, put, fault):
    """As when each archive is unpacked into a folder of its own."""
    put("gtFine_trainvaltest/gtFine/val/lindau/lindau_000001_000019_gtFine_labelIds.png", 7)
    message = fault(open_dataset, str(street.parent))
    assert "{} or {}".format(street.parent / "gtFine_trainvaltest", street) in message


def test_plain_folder(put, tmp_path, fault):
    put("mine/images/a.png", (1, 2, 3))
    put("mine/labels/a.png", 0)
    for folder in (tmp_path, tmp_path / "mine" / "images"):
        assert "give --data {}".format(tmp_path / "mine") in fault(open_dataset, str(folder))


def test_relative_folder(street, fault, monkeypatch):
    monkeypatch.chdir(str(street / "gtFine"))
    assert "give --data .." in fault(open_dataset, ".")
    assert open_dataset("..").name == "Cityscapes"


def test_elsewhere(street, put, fault):
    put("elsewhere/notes.txt")
    message = fault(open_dataset, str(street.parent / "elsewhere"))
    assert "has no layout that edgeseg knows; it holds: notes.txt" in message
    assert "CamVid, 11 classes: train/ trainannot/" in message
