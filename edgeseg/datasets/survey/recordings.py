"""Recordings (drives) among the images of a dataset, by their file names, and those that two splits share.

Frames of one recording are numbered, so the last number of a name tells them apart, and what is before it names the
recording: 0016E5_07959 is of 0016E5_, aachen_000000_000019 of aachen_000000_. Other numbered images look the same by
name (photos of VOC: 2007_000032). So a recording is believed where images that follow each other are more alike than
those far apart.
"""

import os
import re
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from edgeseg.datasets.files import Pair
from edgeseg.datasets.splits import split_named
from edgeseg.datasets.survey.similar import bits_between
from edgeseg.stream.uri import natural_key

Array = Any  # numpy.ndarray; numpy of Python 3.6 has no type stubs

# In a recording images that follow each other differ in this many bits less than those far apart. Medians of CamVid's
# drives, of a frame a second: 68 against 104, 88 against 124, 108 against 126. Pairs of unrelated images have 126, with
# a deviation of 9: at this many images their median is sure to some 3 bits.
_CLOSER = 16
_FEWEST = 16


class Shared(NamedTuple):
    """A recording of which the training split has images, and another one too."""

    name: str  # what its files' names have before the number, with the folder
    split: str
    images: int  # in that split
    train_images: int


def shared_recordings(root: str, splits: Dict[str, Tuple[Sequence[Pair], Array]]) -> List[Shared]:
    """The recordings of other splits that are in "train" too. `splits`: pairs and their hashes (n, 32) uint8."""
    train, train_hashes = splits.get("train", ((), None))
    groups = by_recording(root, train)
    shared = []
    for split, (pairs, hashes) in splits.items():
        for name, indices in by_recording(root, pairs).items() if split != "train" else ():
            ours = groups.get(name, [])
            names = [pairs[i].name for i in indices] + [train[i].name for i in ours]
            if ours and _is_recording(names, np.concatenate([hashes[indices], train_hashes[ours]])):
                shared.append(Shared(name, split, len(indices), len(ours)))
    return shared


def by_recording(root: str, pairs: Sequence[Pair]) -> Dict[str, List[int]]:
    """Indices of pairs by recording: folder below `root`, without those called after a split, and start of the name."""
    groups: Dict[str, List[int]] = {}
    for index, pair in enumerate(pairs):
        numbers = list(re.finditer(r"\d+(?![0-9A-Za-z])", pair.name))  # the 8 of leftImg8bit is none
        if numbers:
            folders = os.path.relpath(os.path.dirname(pair.image), root).split(os.sep)
            folders = [name for name in folders if name != os.curdir and split_named(name) is None]
            key = "/".join(folders + [pair.name[: numbers[-1].start()]])
            groups.setdefault(key, []).append(index)
    return groups


def _is_recording(names: Sequence[str], hashes: Array) -> bool:
    """Whether images, whose hashes are (n, 32) uint8, are alike where they follow each other by name."""
    if len(names) < _FEWEST:
        return False
    ordered = hashes[sorted(range(len(names)), key=lambda i: natural_key(names[i]))]
    following = np.median(bits_between(ordered[1:], ordered[:-1]))
    far = np.median(bits_between(np.roll(ordered, len(ordered) // 2, axis=0), ordered))
    return bool(following <= far - _CLOSER)


def holdout_prefix(root: str, train: Sequence[Pair]) -> str:
    """A value for `--holdout`: the start of the names of the recording that is nearest to a fifth of `train`.

    "" where there is none, of a twentieth at least, whose images alone have names that start so.
    """
    candidates = []
    for key, indices in by_recording(root, train).items():
        prefix = key.split("/")[-1]
        matching = sum(pair.name.startswith(prefix) for pair in train)
        share = len(indices) / len(train)
        if prefix and matching == len(indices) and 0.05 <= share < 1:
            candidates.append((abs(share - 0.2), prefix))
    return min(candidates)[1] if candidates else ""
