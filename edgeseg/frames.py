"""Frames that a network is calibrated and checked on: of a dataset, of any source, or generated."""

import itertools
from typing import Any, Callable, Iterator, NamedTuple, Optional, Sequence

import numpy as np

from edgeseg.datasets import Dataset, Pair, open_dataset
from edgeseg.datasets.base import spread
from edgeseg.errors import UsageError
from edgeseg.palette import SegClass
from edgeseg.stream import open_source
from edgeseg.stream.pattern import PatternSource
from edgeseg.stream.uri import redact

Array = Any

MAX_IMAGES = 101  # of a dataset: the whole of CamVid val
FEW_FRAMES = 20  # of a camera, or generated


class Frame(NamedTuple):
    """An RGB image (H, W, 3) uint8 and, if known, its labels (H, W) uint8."""

    name: str
    image: Array
    label: Optional[Array]


class Frames(NamedTuple):
    """A set of frames, read one by one on each call of `read`."""

    dataset: str
    split: str
    images: int  # of a source that ends sooner: fewer
    familiar: bool  # labelled, and of the kind that the network was trained on
    read: Callable[[], Iterator[Frame]]

    @property
    def title(self) -> str:
        return "{} {}".format(self.dataset, self.split).strip()


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


def source_frames(uri: str, count: int) -> Frames:
    """At most `count` frames of a source of `open_source`: of a recording evenly spread, of a camera as they come.

    Each `read` opens the source, and raises what `open_source` raises.
    """

    def read() -> Iterator[Frame]:
        with open_source(uri) as source:
            numbers = spread(range(source.frames or count), count)
            for number, frame in enumerate(itertools.islice(source, numbers[-1] + 1)):
                if number in numbers:
                    yield Frame(frame.name, np.ascontiguousarray(frame.image[..., ::-1]), None)

    return Frames("frames of {}".format(redact(uri)), "", count, False, read)


def pattern_frames(count: int) -> Frames:
    """Generated street scenes, a second apart. No network was trained on them: they are not `familiar`."""

    def read() -> Iterator[Frame]:
        with PatternSource(fps=1.0, frames=count) as source:
            for frame in source:
                yield Frame(frame.name, np.ascontiguousarray(frame.image[..., ::-1]), None)

    return Frames("generated scenes", "", count, False, read)


def choose_frames(
    classes: Sequence[SegClass], data: Optional[str], split: str, camera: Optional[str], count: Optional[int]
) -> Frames:
    """The frames that a user asks for: of the dataset `data`, of the source `camera`, else generated scenes.

    `count` is the most there may be; None for as many as are usual. Raises UsageError for what makes no sense.
    """
    if count is not None and count < 1:
        raise UsageError("--frames {}: there is nothing to compare".format(count), "give a number above 0")
    if data is not None and camera is not None:
        raise UsageError("--data and --camera both name images", "give one of them")
    if data is not None:
        return dataset_frames(open_matching(data, classes), split, count or MAX_IMAGES)
    return pattern_frames(count or FEW_FRAMES) if camera is None else source_frames(camera, count or FEW_FRAMES)
