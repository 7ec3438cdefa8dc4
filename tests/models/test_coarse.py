"""A second dataset in terms of the classes of the first."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeseg.cli import main
from edgeseg.datasets import open_dataset
from edgeseg.errors import UsageError
from edgeseg.models.augment import Augmentation, Sizes
from edgeseg.models.coarse import open_also, read_meanings, relabelled
from edgeseg.models.file import load_network
from edgeseg.models.recipe import Recipe
from edgeseg.models.samples import TrainingSet
from edgeseg.palette import CAMVID

MEANINGS = {"ground": ["Road", "Pavement"], "up": ["Sky"], "movable": ["Car", "Bicyclist", "Pedestrian"]}


@pytest.fixture
def coarse(tmp_path: Path) -> Path:
    """Five images in a plain folder: classes up, ground, movable and other, in bands of 16 rows."""
    root = tmp_path / "coarse"
    for folder, pixels in (
        ("images", np.full((64, 96, 3), 90, np.uint8)),
        ("labels", np.repeat(np.arange(4, dtype=np.uint8), 16)[:, None].repeat(96, axis=1)),
    ):
        (root / folder).mkdir(parents=True)
        for number in range(5):
            assert cv2.imwrite(str(root / folder / f"{number}.png"), pixels)
    (root / "classes.txt").write_text("up\nground\nmovable\nother\n")
    return root


@pytest.fixture
def meanings(tmp_path: Path) -> Path:
    path = tmp_path / "meanings.json"
    path.write_text(json.dumps(MEANINGS))
    return path


def test_labels_of_one_class_and_of_several(coarse: Path) -> None:
    dataset, meanings = relabelled(open_dataset(str(coarse)), MEANINGS, CAMVID)
    _, label = dataset.read(dataset.pairs("train")[0])
    up, ground, movable, other = label[::16, 0]
    assert (up, other) == (0, 255)
    assert [c.name for c, may in zip(CAMVID, meanings.table[ground], strict=True) if may] == ["Road", "Pavement"]
    assert np.flatnonzero(meanings.table[movable]).tolist() == [8, 9, 10]
    assert len(meanings.table) == 11 + 2
    assert np.array_equal(meanings.table[:11], np.eye(11))


def test_figures_of_a_set_are_the_mean_of_its_classes_by_share(coarse: Path) -> None:
    _, meanings = relabelled(open_dataset(str(coarse)), {"ground": ["Road", "Pavement"]}, CAMVID)
    per_class, shares = np.zeros(11), np.zeros(11)
    per_class[[3, 4]], shares[[3, 4]] = (2, 10), (3, 1)
    assert meanings.spread(per_class, shares)[-1] == pytest.approx(4)
    assert np.allclose(meanings.spread(per_class, shares)[:11], per_class)


def test_without_a_file_classes_of_one_name_are_the_same(coarse: Path) -> None:
    (coarse / "classes.txt").write_text("sky\nground\nPedestrian\nother\n")
    theirs = open_dataset(str(coarse)).classes
    assert read_meanings("", theirs, CAMVID) == {"sky": ["Sky"], "Pedestrian": ["Pedestrian"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no class of the --also dataset (up, ground, movable, other) has the name of one of ours"),
        ("{", "cannot be read as JSON"),
        ("[]", "is not an object of lists of names"),
        ('{"up": "Sky"}', "is not an object of lists of names"),
        ('{"up": []}', "is not an object of lists of names"),
        ('{"down": ["Road"]}', "names down, no class of the --also dataset"),
        ('{"up": ["Ceiling"]}', "names Ceiling, no class of ours"),
    ],
)
def test_meanings_that_cannot_be_are_named(coarse: Path, tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "bad.json"
    if content is not None:
        path.write_text(content)
    recipe = Recipe("data", also=str(coarse), also_classes=str(path) if content is not None else "")
    with pytest.raises(UsageError) as caught:
        open_also(recipe, CAMVID)
    assert message in caught.value.message
    assert caught.value.fix


def test_they_fill_their_share_of_every_batch(streets: Path, coarse: Path, meanings: Path) -> None:
    dataset = open_dataset(str(streets))
    also = open_also(Recipe("data", also=str(coarse), also_classes=str(meanings), also_share=0.25), CAMVID)
    sizes = Sizes((64, 96), (64, 96))
    samples = TrainingSet(dataset, dataset.pairs("train"), sizes, 4, Augmentation(), 0, also)
    assert samples.steps == 12 // 3  # every own image once
    batches = list(samples.epoch(0))
    for (images, labels), (again, _) in zip(batches, samples.epoch(0), strict=True):
        assert images.shape == (4, 64, 96, 3)
        assert np.array_equal(images, again)
        has_sets = [bool(((label >= 11) & (label < 255)).any()) for label in labels]
        assert has_sets == [False, False, False, True]
    assert samples.pixels.shape == (11,)


def test_a_network_is_trained_on_both(streets: Path, coarse: Path, meanings: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    recipe = [
        "--network",
        "fcn32",
        "--width",
        "0.35",
        "--imgsz",
        "64",
        "96",
        "--init",
        "none",
        "--epochs",
        "1",
        "--batch",
        "4",
    ]
    also = ["--also", str(coarse), "--also-classes", str(meanings)]
    assert main(["train", "--data", str(streets), *recipe, *also, "-o", str(out)]) == 0
    card = load_network(out / "network.keras")[1]
    assert (card.recipe["also"], card.recipe["also_classes"]) == ("coarse", "meanings.json")
    assert [c.name for c in card.classes] == [c.name for c in CAMVID]
    own, others = (len(open_dataset(str(folder)).pairs("train")) for folder in (streets, coarse))
    assert card.images == own + others


def test_its_options_need_a_second_dataset(streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", str(streets), "--also-share", "0.3", "-o", str(tmp_path / "run")]) == 2
    assert "add --also DIR" in capsys.readouterr().err
