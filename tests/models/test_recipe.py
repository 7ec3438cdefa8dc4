"""Arguments are checked before anything heavy is imported."""

from pathlib import Path
from typing import Any

import pytest

from edgeseg.datasets import open_dataset
from edgeseg.errors import UsageError
from edgeseg.models.recipe import Recipe, check_recipe, check_same, recipe_of, split_pairs

RECIPE = Recipe("somewhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "--epochs 0"),
        ({"batch": -1}, "--batch -1"),
        ({"lr": 0.0}, "--lr 0.0"),
        ({"lr": float("nan")}, "--lr nan"),
        ({"weight_decay": -0.1}, "--weight-decay -0.1"),
        ({"jaccard": float("inf")}, "--jaccard inf"),
        ({"rare_crop": 1.5}, "--rare-crop 1.5"),
        ({"seed": -1}, "--seed -1"),
        ({"distill": 2.0}, "--distill is the weight of what teachers say"),
        ({"network": "unet"}, "unet"),
        ({"imgsz": (100, 96)}, "--imgsz 96 96 or --imgsz 128 96"),
        ({"crop": (64, 90)}, "--crop 64 64 or --crop 64 96"),
    ],
)
def test_wrong_argument_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_recipe(RECIPE._replace(**change))
    assert message in str(caught.value)
    assert caught.value.fix


def test_defaults_are_right() -> None:
    check_recipe(RECIPE)


def test_recipe_survives_json_and_must_agree() -> None:
    saved = {name: list(v) if isinstance(v, tuple) else v for name, v in RECIPE._asdict().items()}
    assert recipe_of(saved) == RECIPE
    check_same(RECIPE, saved, Path("run"))
    with pytest.raises(UsageError, match=r"seed=0 \(now 7\)"):
        check_same(RECIPE._replace(seed=7), saved, Path("run"))
    with pytest.raises(UsageError, match="another version of edgeseg"):
        recipe_of(saved | {"dropout": 0.1})


def test_holdout_splits_by_name(streets: Path) -> None:
    dataset = open_dataset(str(streets))
    train, val = split_pairs(dataset, "")
    assert (len(train), len(val)) == (12, 4)
    train, val = split_pairs(dataset, "b_")
    assert {pair.name[0] for pair in train} == {"a"}
    assert {pair.name[0] for pair in val} == {"b"}
    assert all("train" in pair.image for pair in val)


@pytest.mark.parametrize("holdout", ["nothing", "a"])
def test_holdout_of_nothing_or_everything(tmp_path: Path, holdout: str) -> None:
    for folder in ("train", "trainannot"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a_1.png").touch()
    with pytest.raises(UsageError, match=f"--holdout {holdout}: . of 1 training images") as caught:
        split_pairs(open_dataset(str(tmp_path)), holdout)
    assert "--holdout a" in caught.value.fix


def test_no_validation_split_suggests_a_holdout(tmp_path: Path) -> None:
    for folder in ("train", "trainannot"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "drive1_007.png").touch()
    with pytest.raises(UsageError, match="no split 'val'") as caught:
        split_pairs(open_dataset(str(tmp_path)), "")
    assert "--holdout drive1" in caught.value.fix
