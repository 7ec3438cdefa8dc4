"""One look at every file of a dataset: what `edgeseg data` tells."""

import hashlib
import os
from collections import Counter
from multiprocessing.pool import ThreadPool
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgeseg.datasets.base import Dataset
from edgeseg.datasets.files import Pair
from edgeseg.datasets.survey.recordings import Shared, shared_recordings
from edgeseg.datasets.survey.similar import NEAR, image_hash, nearest, scenes
from edgeseg.errors import UsageError
from edgeseg.opencv import single_threaded_opencv
from edgeseg.palette import UNLABELED

Array = Any  # numpy.ndarray; numpy of Python 3.6 has no type stubs

TRAIN = "train"


class Look(NamedTuple):
    """What is kept of a pair of files."""

    size: Tuple[int, int]  # width, height
    counts: Array  # (256,) int64 pixels by label, 255 is unlabelled
    picture: bytes  # digest of the pixels
    label: bytes  # digest of the labels
    hash: bytes  # see edgeseg.datasets.survey.similar


class Split:
    """What is in a split; its pairs that cannot be used only count in `total`."""

    def __init__(self, name: str, total: int, classes: int) -> None:
        self.name = name
        self.total = total
        self.pairs: List[Pair] = []
        self.sizes: Counter = Counter()  # images by (width, height)
        self.pixels = np.zeros(classes, np.int64)
        self.images = np.zeros(classes, np.int64)  # that show the class
        self.unlabelled = 0  # pixels
        self.blank = 0  # images without a labelled pixel
        self.pictures: List[bytes] = []  # digests, by pair
        self.labels: List[bytes] = []
        self._hashes: List[bytes] = []

    def add(self, pair: Pair, look: Look) -> None:
        counts = look.counts[: len(self.pixels)]
        self.pairs.append(pair)
        self.sizes[look.size] += 1
        self.pixels += counts
        self.images += counts > 0
        self.unlabelled += int(look.counts[UNLABELED])
        self.blank += not counts.any()
        self.pictures.append(look.picture)
        self.labels.append(look.label)
        self._hashes.append(look.hash)

    @property
    def hashes(self) -> Array:
        """(pairs, 32) uint8, see edgeseg.datasets.survey.similar."""
        return np.frombuffer(b"".join(self._hashes), np.uint8).reshape(-1, 32)


class Leak(NamedTuple):
    """An image of another split that is a near-duplicate of a training image."""

    split: str
    image: str
    train_image: str
    bits: int  # of 256 that differ between the hashes


class Copies(NamedTuple):
    """Images whose pixels are all equal."""

    images: List[str]
    same_labels: bool


class Survey(NamedTuple):
    """What is in a dataset, and what is wrong with it."""

    dataset: Dataset
    splits: List[Split]
    faults: List[UsageError]  # what training would stumble over: faulty files, splits without labels, too few classes
    copies: List[Copies]
    scenes: Dict[str, int]  # by split: images, where all that are chained by near-duplicates count as one
    leaks: List[Leak]
    shared: List[Shared]

    @property
    def train(self) -> Optional[Split]:
        return next((split for split in self.splits if split.name == TRAIN), None)


def survey(
    dataset: Dataset, names: Sequence[str], progress: Callable[[int, int], None] = lambda done, total: None
) -> Survey:
    """Look at all pairs of the splits `names`. Each file is read once, and less than 1 KB is kept of a pair.

    Faulty files are collected. Raises UsageError for a split that does not exist.
    """
    groups = [(name, dataset.pairs(name)) for name in names]
    total = sum(len(pairs) for _, pairs in groups)
    faults: List[UsageError] = _classes_fault(dataset)
    splits = []
    done = 0
    with single_threaded_opencv(), ThreadPool(len(os.sched_getaffinity(0))) as pool:
        for name, pairs in groups:
            split = Split(name, len(pairs), len(dataset.classes))
            for pair, (look, wrong) in zip(pairs, pool.imap(lambda pair: _look(dataset, pair), pairs)):
                if look is not None:
                    split.add(pair, look)
                faults += wrong
                done += 1
                progress(done, total)
            if split.pairs and split.blank == len(split.pairs):
                faults.append(_without_labels(split))
            splits.append(split)
    return Survey(
        dataset,
        splits,
        faults,
        _copies(splits),
        {split.name: len(set(scenes(split.hashes))) for split in splits},
        _leaks(splits),
        shared_recordings(dataset.root, {s.name: (s.pairs, s.hashes) for s in splits}),
    )


def _look(dataset: Dataset, pair: Pair) -> Tuple[Optional[Look], List[UsageError]]:
    """A look at a pair, or all that is wrong with its files."""
    try:
        image, label = dataset.read(pair)
    except UsageError as error:
        return None, [error] + _second_fault(dataset, pair, error)
    counts = np.bincount(label.ravel(), minlength=256)
    return Look((label.shape[1], label.shape[0]), counts, _digest(image), _digest(label), image_hash(image)), []


def _second_fault(dataset: Dataset, pair: Pair, first: UsageError) -> List[UsageError]:
    """What is wrong with the label where `first`, of reading both files, is about the image."""
    try:
        dataset.labels(pair.label)
    except UsageError as error:
        return [] if error.message == first.message else [error]
    return []


def _classes_fault(dataset: Dataset) -> List[UsageError]:
    try:
        dataset.require_several_classes()
    except UsageError as error:
        return [error]
    return []


def _without_labels(split: Split) -> UsageError:
    return UsageError(
        "none of the {} labels of {} has a labelled pixel".format(len(split.pairs), split.name),
        "compare the values in the label files with the classes",
    )


def _digest(pixels: Array) -> bytes:
    digest = hashlib.blake2b(str(pixels.shape).encode("ascii"), digest_size=16)
    digest.update(np.ascontiguousarray(pixels))
    return digest.digest()


def _copies(splits: Sequence[Split]) -> List[Copies]:
    found: Dict[bytes, List[Tuple[str, bytes]]] = {}
    for split in splits:
        for pair, picture, label in zip(split.pairs, split.pictures, split.labels):
            found.setdefault(picture, []).append((pair.image, label))
    return [
        Copies([image for image, _ in group], len({label for _, label in group}) == 1)
        for group in found.values()
        if len(group) > 1
    ]


def _leaks(splits: Sequence[Split]) -> List[Leak]:
    train = [split for split in splits if split.name == TRAIN and split.pairs]
    leaks = []
    for split in splits if train else ():
        if split.name == TRAIN:
            continue
        found = zip(split.pairs, *nearest(split.hashes, train[0].hashes))
        leaks += [
            Leak(split.name, pair.image, train[0].pairs[index].image, int(bits))
            for pair, index, bits in found
            if bits <= NEAR
        ]
    return sorted(leaks, key=lambda leak: leak.bits)
