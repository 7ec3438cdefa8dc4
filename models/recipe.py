"""The arguments of a training run, and what can be said about them before anything heavy is imported."""

import math
from pathlib import Path
from typing import Any, Literal, NamedTuple

from edgeseg.datasets import Dataset, Pair
from edgeseg.errors import UsageError
from edgeseg.models.freeze import frozen_prefixes
from edgeseg.models.spec import NetworkSpec, Upsampling, check

Balance = Literal["none", "sqrt", "log"]
Hold = Literal["", "zeros", "values"]


class Recipe(NamedTuple):
    """The arguments of a run: together with the data they determine its result."""

    data: str
    network: str = "fcn8"
    width: float = 1.0
    imgsz: tuple[int, int] = (352, 480)  # height, width
    crop: tuple[int, int] = (352, 480)
    init: str | tuple[str, ...] = "imagenet"  # several: the best of them for this data
    freeze: str = ""  # how much of the backbone stays as it is loaded
    upsampling: Upsampling = "bilinear"
    epochs: int = 45
    batch: int = 8
    lr: float = 1e-3
    weight_decay: float = 1e-2
    balance: Balance = "sqrt"
    jaccard: float = 0.5
    rare_crop: float = 0.5
    also: str = ""  # a second dataset
    also_classes: str = ""  # file that tells what its classes mean
    also_share: float = 0.5  # of the images of a batch
    teacher: tuple[str, ...] = ()  # files of networks to learn from
    distill: float = 1.0  # weight of what they say
    hold: Hold = ""  # what the initial weights have that stays: "zeros", or which "values" are equal
    int8: bool = False  # fine-tune with what int8 makes of weights and activations
    holdout: str = ""  # training images whose name starts so are validated on instead of `val`
    seed: int = 0

    @property
    def candidates(self) -> tuple[str, ...]:
        """The initial weights to choose from."""
        return (self.init,) if isinstance(self.init, str) else self.init


# Argument -> lowest and highest value. An infinite bound is not itself allowed.
_RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, math.inf),
    "batch": (1, math.inf),
    "lr": (1e-9, 10),
    "weight_decay": (0, 10),
    "jaccard": (0, math.inf),
    "rare_crop": (0, 1),
    "also_share": (0.01, 0.99),
    "distill": (0, math.inf),
    "seed": (0, math.inf),
}


def check_recipe(recipe: Recipe) -> None:
    """Raise UsageError for an argument that no run can have, naming the option."""
    for name, (low, high) in _RANGES.items():
        value = getattr(recipe, name)
        if not (low <= value <= high and math.isfinite(value)):
            span = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
            raise UsageError(f"--{name.replace('_', '-')} {value} is out of range", f"give {span}")
    if frozen_prefixes(recipe.freeze) and "none" in recipe.candidates:
        raise UsageError(f"--freeze {recipe.freeze} keeps initial weights, and --init none has none", "leave out one")
    one = len(recipe.candidates) + recipe.candidates.count("none") == 1
    if recipe.hold and not one:
        raise UsageError(
            f"--hold {recipe.hold} keeps what the weights of one network have in common",
            "give --init that network: one that was pruned, or whose weights are shared",
        )
    if recipe.int8 and not one:
        raise UsageError("--int8 fine-tunes one trained network", "give --init that network")
    usual = Recipe._field_defaults
    if not recipe.also and (recipe.also_classes or recipe.also_share != usual["also_share"]):
        raise UsageError("--also-classes and --also-share are for a second dataset; there is none", "add --also DIR")
    if recipe.distill != usual["distill"] and not recipe.teacher:
        raise UsageError("--distill is the weight of what teachers say, and there is none", "add --teacher NETWORK")
    two_classes = NetworkSpec(recipe.network, recipe.width, recipe.imgsz, 2)
    check(two_classes)
    check(two_classes._replace(imgsz=recipe.crop), option="--crop")


def recipe_of(saved: dict[str, Any]) -> Recipe:
    """The recipe in a checkpoint's JSON. Raises UsageError where another version wrote it."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in saved.items()}
    try:
        return Recipe(**values)
    except TypeError as error:
        raise UsageError(
            f"the checkpoint was made by another version of edgeseg ({error})",
            "resume with that version, or start a new run",
        ) from error


def check_same(recipe: Recipe, saved: dict[str, Any], out: Path) -> None:
    """Raise UsageError unless the run in `out`, begun with `saved`, has the arguments of `recipe`."""
    was = recipe_of(saved)._asdict()
    changed = {name: value for name, value in recipe._asdict().items() if was[name] != value}
    if changed:
        listing = ", ".join(f"{name}={was[name]!r} (now {value!r})" for name, value in changed.items())
        raise UsageError(f"the run in {out} was started with {listing}", "resume with the same arguments")


def split_pairs(dataset: Dataset, holdout: str) -> tuple[list[Pair], list[Pair]]:
    """Training and validation pairs; with `holdout`, training images of that prefix are validated on.

    A held-out recording (drive) measures what a split of neighbouring video frames cannot.
    Raises UsageError where the splits do not exist, or `holdout` matches no or every image.
    """
    pairs = dataset.pairs("train")
    example = f"name the start of some file names, for example --holdout {pairs[0].name.split('_')[0]}"
    if not holdout:
        if not dataset.splits.get("val"):
            raise UsageError(f"{dataset.root} has no split 'val'", f"add one, or {example}")
        return pairs, dataset.pairs("val")
    held = [pair for pair in pairs if pair.name.startswith(holdout)]
    kept = [pair for pair in pairs if not pair.name.startswith(holdout)]
    if not held or not kept:
        raise UsageError(f"--holdout {holdout}: {len(held)} of {len(pairs)} training images start so", example)
    return kept, held
