"""The images that an export is calibrated and checked on."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from edgeseg.datasets import Dataset, Pair, open_dataset
from edgeseg.palette import SegClass
from edgeseg.stream.pattern import PatternSource

T = TypeVar("T")


class Frame(NamedTuple):
    """An RGB image (H, W, 3) uint8 and, if known, its labels (H, W) uint8."""

    name: str
    image: np.ndarray
    label: np.ndarray | None


class Frames(NamedTuple):
    """A set of frames, read one by one on each call of `read`."""

    dataset: str
    split: str
    images: int
    familiar: bool  # labelled, and of the kind that the network was trained on
    read: Callable[[], Iterator[Frame]]

    @property
    def title(self) -> str:
        return f"{self.dataset} {self.split}".strip()


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most `count` items at even distances, the first and the last among them."""
    if count >= len(items):
        return list(items)
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, count)]


def open_matching(root: str, classes: Sequence[SegClass]) -> Dataset:
    """Open a dataset that has exactly `classes`. Raises UsageError where it has others."""
    dataset = open_dataset(root)
    dataset.require_classes(classes)
    return dataset


def dataset_frames(dataset: Dataset, split: str, limit: int) -> Frames:
    """At most `limit` frames of a split, evenly spread. Raises UsageError if there is no such split."""
    pairs = spread(dataset.pairs(split), limit)

    def read() -> Iterator[Frame]:
        for pair in pairs:
            yield _frame(dataset, pair)

    return Frames(dataset.name, split, len(pairs), True, read)


def _frame(dataset: Dataset, pair: Pair) -> Frame:
    image, label = dataset.read(pair)
    return Frame(pair.name, image, label)


def pattern_frames(count: int) -> Frames:
    """Generated street scenes, a second apart. No network was trained on them: they are not `familiar`."""

    def read() -> Iterator[Frame]:
        with PatternSource(fps=1.0, frames=count) as source:
            for frame in source:
                yield Frame(frame.name, np.ascontiguousarray(frame.image[..., ::-1]), None)

    return Frames("generated scenes", "", count, False, read)
