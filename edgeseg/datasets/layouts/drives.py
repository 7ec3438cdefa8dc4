"""Datasets in folders by split and drive, as Cityscapes introduced them.

leftImg8bit/SPLIT/DRIVE/NAME_leftImg8bit.png has the label gtFine/SPLIT/DRIVE/NAME_gtFine_labelIds.png.
"""

import os
import re
from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple

from edgeseg.datasets.files import Pair
from edgeseg.datasets.listing import images_named, names_below, names_in, paired
from edgeseg.errors import UsageError

IMAGES = "leftImg8bit"


class DriveFolders(NamedTuple):
    """How the files of a dataset are called. `{root}` in the last three is the data folder."""

    name: str
    image_ending: str
    labels: str  # folder of the labels
    label_endings: Tuple[str, ...]  # of the kinds of label files, the preferred one first
    splits: Tuple[str, ...]  # that have labels
    own_name: str  # regular expression of a name in this dataset, for folders without labels
    get_images: str
    get_labels: str
    make_labels: str  # for polygons without label images


class DriveFiles(NamedTuple):
    """Pairs by split, and which kind of label files they have."""

    splits: Dict[str, List[Pair]]
    label_ending: str


def read_drives(root: str, folders: DriveFolders) -> Optional[DriveFiles]:
    """The files of a dataset; None if `root` holds no such dataset.

    Splits without images or without labels are left out. Raises UsageError if none is left, for labels that are there
    as polygons only, and for images and labels without the other.
    """
    images = _by_split(_listed(root, IMAGES, names_in(os.path.join(root, IMAGES))), folders.image_ending)
    listed = _listed(root, folders.labels, folders.splits)
    for ending in folders.label_endings:
        labels = _by_split(listed, ending)
        if any(labels.values()):
            # a split with polygons, but without label images, counts: its images are said to have no labels
            found = [split for split, (_, names) in listed.items() if names and images.get(split)]
            if not found:
                raise _nothing_shared(root, folders)
            fix = "unpack the archives again, or " + folders.make_labels.format(root=root)
            return DriveFiles({split: paired(images[split], labels[split], fix) for split in found}, ending)
    polygons = [os.path.basename(n) for _, names in listed.values() for n in names if n.endswith("_polygons.json")]
    if _is_own([name for names in images.values() for name in names], folders) or _is_own(polygons, folders):
        raise _without_labels(root, folders, polygons)
    return None


def _listed(root: str, folder: str, splits: Iterable[str]) -> Dict[str, Tuple[str, List[str]]]:
    """By split its folder, and `DRIVE/NAME` of what is in it."""
    paths = {split: os.path.join(root, folder, split) for split in splits}
    return {split: (path, names_below(path)) for split, path in paths.items()}


def _by_split(listed: Dict[str, Tuple[str, List[str]]], ending: str) -> Dict[str, Dict[str, str]]:
    """By split the images `DRIVE/NAME + ending`, by `DRIVE/NAME`."""
    return {split: images_named(names, path, ending) for split, (path, names) in listed.items()}


def _is_own(names: Iterable[str], folders: DriveFolders) -> bool:
    return any(re.search(folders.own_name, name) for name in names)


def _nothing_shared(root: str, folders: DriveFolders) -> UsageError:
    held = [", ".join(names_in(os.path.join(root, folder))) or "nothing" for folder in (IMAGES, folders.labels)]
    return UsageError(
        "{} in {} has no split with images and labels: {} holds {}, {} holds {}".format(
            folders.name, root, IMAGES, held[0], folders.labels, held[1]
        ),
        folders.get_images.format(root=root),
    )


def _without_labels(root: str, folders: DriveFolders, polygons: List[str]) -> UsageError:
    where = os.path.join(root, folders.labels)
    if polygons:
        return UsageError(
            "{} holds {} files of polygons (as {}), but no label images of {}".format(
                where, len(polygons), polygons[0], folders.name
            ),
            folders.make_labels.format(root=root),
        )
    return UsageError(
        "{} holds images of {}, but {} has no labels of them".format(os.path.join(root, IMAGES), folders.name, where),
        folders.get_labels.format(root=root),
    )
