"""A second dataset to train on, whose classes mean one or several of ours.

"vehicle" of one dataset may be Car or Bicyclist of another. Its pixels then teach that the answer is among these,
and leave the choice to the other images (loss: minus the logarithm of the sum of their probabilities, as for the
partial labels of Cour, Sapp, Taskar 2011, JMLR 12).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgeseg.datasets import Dataset, Pair, open_dataset
from edgeseg.errors import UsageError
from edgeseg.models.recipe import Recipe
from edgeseg.palette import UNLABELED, SegClass


class Meanings(NamedTuple):
    """What label values stand for. Values 0..classes-1 are the classes, further ones are sets of classes."""

    table: np.ndarray  # (values, classes) float32: 1 where the value may be that class

    @property
    def has_sets(self) -> bool:
        return self.table.shape[0] > self.table.shape[1]

    def spread(self, per_class: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """A figure of each class (classes,) for each value (values,): the mean over its classes by `shares`."""
        weights = self.table * np.maximum(shares, 1e-9)
        return np.asarray((weights * per_class).sum(axis=1) / weights.sum(axis=1))


class Also(NamedTuple):
    """Images of the second dataset, labelled in terms of ours, and the share of each batch that they fill."""

    dataset: Dataset
    pairs: Sequence[Pair]
    meanings: Meanings
    share: float


def open_also(recipe: Recipe, ours: Sequence[SegClass]) -> Also | None:
    """The second dataset of a recipe, if it has one. Raises UsageError for bad data, and as `read_meanings` does."""
    if not recipe.also:
        return None
    other = open_dataset(recipe.also)
    dataset, meanings = relabelled(other, read_meanings(recipe.also_classes, other.classes, ours), ours)
    return Also(dataset, dataset.pairs("train"), meanings, recipe.also_share)


def plain_meanings(classes: int) -> Meanings:
    """Each value is the class of that number."""
    return Meanings(np.eye(classes, dtype=np.float32))


def read_meanings(path: str, theirs: Sequence[SegClass], ours: Sequence[SegClass]) -> dict[str, list[str]]:
    """Class of another dataset -> our classes that it may be. Without a file, classes of one name are the same.

    The file is JSON: {"vehicle": ["Car", "Bicyclist"], "sky": ["Sky"]}. Classes that it leaves out are unlabelled.
    Raises UsageError for another content, and where no class is left.
    """
    known = {c.name.lower(): c.name for c in ours}
    if not path:
        same = {c.name: [known[c.name.lower()]] for c in theirs if c.name.lower() in known}
        if not same:
            raise UsageError(
                f"no class of the --also dataset ({_names(theirs)}) has the name of one of ours ({_names(ours)})",
                'say what they mean: --also-classes FILE with {"their class": ["our class", ...]}',
            )
        return same
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as JSON: {error}", 'write {"their class": ["our class"]}') from error
    if not isinstance(content, dict) or not all(
        isinstance(v, list) and v and all(isinstance(n, str) for n in v) for v in content.values()
    ):
        raise UsageError(f"{path} is not an object of lists of names", 'write {"their class": ["our class", ...]}')
    named = [name for names in content.values() for name in names]
    for names, classes, whose in ((list(content), theirs, "the --also dataset"), (named, ours, "ours")):
        strange = sorted(set(names) - {c.name for c in classes})
        if strange:
            raise UsageError(f"{path} names {', '.join(strange)}, no class of {whose}", f"there are: {_names(classes)}")
    return content


def relabelled(dataset: Dataset, meanings: dict[str, list[str]], ours: Sequence[SegClass]) -> tuple[Dataset, Meanings]:
    """`dataset` with label values of ours and, from len(ours) on, of sets of them; and what those values mean."""
    number = {c.name: i for i, c in enumerate(ours)}
    sets = sorted(
        {frozenset(number[n] for n in names) for names in meanings.values() if len(set(names)) > 1}, key=sorted
    )
    table = np.eye(len(ours), dtype=np.float32)
    rows = [np.isin(np.arange(len(ours)), sorted(members)) for members in sets]
    values = np.full(256, UNLABELED, np.uint8)
    for c in dataset.classes:
        members = frozenset(number[n] for n in meanings.get(c.name, ()))
        if members:
            values[c.id] = min(members) if len(members) == 1 else len(ours) + sets.index(members)
    changed = dataset._replace(labels=lambda path: values[dataset.labels(path)])
    return changed, Meanings(np.concatenate([table, *(row[None].astype(np.float32) for row in rows)]))


def _names(classes: Sequence[SegClass]) -> str:
    return ", ".join(c.name for c in classes)
