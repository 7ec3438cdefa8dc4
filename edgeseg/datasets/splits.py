"""Which images are for training: by lists of names, by the names of folders, or by blocks of neighbours."""

import os
from typing import Dict, List, Optional, Sequence, TypeVar

from edgeseg.datasets.files import Pair, read_text
from edgeseg.datasets.listing import names_in
from edgeseg.errors import UsageError

T = TypeVar("T")

SPLITS = ("train", "val", "test")

_ALIASES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_BLOCKS = 5  # that validation images come in, where there are enough for it
_VAL_SHARE = 5  # one image in five


def split_named(folder: str) -> Optional[str]:
    """The split that a folder or list is called after: "train", "val" or "test"; None for other names."""
    return _ALIASES.get(folder.lower())


def split_lists(folder: str) -> Dict[str, str]:
    """Paths of train.txt, val.txt and test.txt (also valid.txt and so on) in a folder, by split."""
    names = [os.path.splitext(name) for name in names_in(folder)]
    found = {split_named(stem): os.path.join(folder, stem + suffix) for stem, suffix in names if suffix == ".txt"}
    return {split: found[split] for split in SPLITS if split in found}


def listed_pairs(path: str, images: Dict[str, str], labels: Dict[str, str]) -> List[Pair]:
    """The pairs that a list names, one a line: NAME, FILE or PATH of the image; that of the label may follow.

    Args:
        path: the list.
        images, labels: paths by name without suffix, in subfolders "SUBFOLDER/NAME".

    Raises UsageError for an empty list, and naming what is listed but absent.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    by_base: Dict[str, List[str]] = {}
    for key in images:
        by_base.setdefault(os.path.basename(key), []).append(key)
    keys = {line: _key(line, images, by_base) for line in lines if line}
    if not keys:
        raise UsageError("list {} is empty".format(path), "write one image name a line, or delete the file")
    for what, paths in (("image", images), ("label", labels)):
        absent = [line for line, key in keys.items() if key not in paths]
        if absent:
            raise UsageError(
                "{} lists {} name(s) without {}: {}".format(path, len(absent), what, ", ".join(absent[:5])),
                "add the missing {} files or take the names from the list".format(what),
            )
    return [Pair(images[key], labels[key]) for key in dict.fromkeys(keys.values()) if key is not None]


def _key(line: str, images: Dict[str, str], by_base: Dict[str, List[str]]) -> Optional[str]:
    """The name among `images` of a line of a list; None if there is none, or more than one."""
    for text in (line, line.split(maxsplit=1)[0]):  # names may hold spaces
        for stem in (text, os.path.splitext(text)[0]):
            parts = stem.replace("\\", "/").strip("/").split("/")
            for start in range(len(parts)):
                if "/".join(parts[start:]) in images:
                    return "/".join(parts[start:])
            if len(by_base.get(parts[-1], ())) == 1:
                return by_base[parts[-1]][0]
    return None


def block_splits(items: Sequence[T]) -> Dict[str, List[T]]:
    """Split a dataset that comes without splits: one item in five is "val", the others "train".

    `items` are in the order of their names. From 25 on they are cut into five equal stretches, of which each gives its
    last fifth; of fewer the last fifth (at least one) is taken. So frames of a video mostly stay with their neighbours,
    which look the same and would make validation too easy; and the same files always get the same splits.
    """
    count = _BLOCKS if len(items) >= _BLOCKS * _VAL_SHARE else 1
    splits: Dict[str, List[T]] = {"train": [], "val": []}
    for block in range(count):
        start, end = len(items) * block // count, len(items) * (block + 1) // count
        middle = end - max(1, (end - start) // _VAL_SHARE)
        splits["train"].extend(items[start:middle])
        splits["val"].extend(items[middle:end])
    return splits if splits["train"] else {"train": list(items)}
