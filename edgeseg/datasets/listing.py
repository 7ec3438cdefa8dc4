"""Names of files in dataset folders, and images and labels paired by them. No file is opened."""

import os
from typing import Dict, Iterable, Iterator, List

from edgeseg.datasets.files import Pair
from edgeseg.errors import UsageError

_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def names_in(folder: str) -> List[str]:
    """Names in a folder, sorted, without hidden ones (as the "._NAME" of macOS); none if there is no such folder.

    Raises UsageError if the folder cannot be read.
    """
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UsageError("folder {} cannot be read: {}".format(folder, error.strerror), "change its permissions")


def names_below(folder: str) -> List[str]:
    """`SUBFOLDER/NAME` of what is one folder further down, sorted."""
    return [os.path.join(sub, name) for sub in names_in(folder) for name in names_in(os.path.join(folder, sub))]


def images_below(folder: str) -> Iterator[str]:
    """`SUBFOLDER/.../NAME` of the image files in a folder and all below it. Raises UsageError like `names_in`."""
    for name in names_in(folder):
        if _is_image(name):
            yield name
        else:  # a file holds nothing
            yield from (os.path.join(name, below) for below in images_below(os.path.join(folder, name)))


def images_named(names: Iterable[str], folder: str, ending: str = "") -> Dict[str, str]:
    """Path of each image `KEY + ending + suffix` in `folder`, by KEY, sorted.

    Raises UsageError for two images that differ in the suffix only.
    """
    paths: Dict[str, str] = {}
    for name in filter(_is_image, names):
        stem = os.path.splitext(name)[0]
        if not stem.endswith(ending):
            continue
        key = stem[: len(stem) - len(ending)]
        if key in paths:
            raise UsageError(
                "{} and {} have the same base name".format(paths[key], name), "keep one image of each name"
            )
        paths[key] = os.path.join(folder, name)
    return {key: paths[key] for key in sorted(paths)}


def images_in(folder: str, ending: str = "") -> Dict[str, str]:
    """`images_named` of all names in a folder; none if there is no such folder."""
    return images_named(names_in(folder), folder, ending)


def paired(images: Dict[str, str], labels: Dict[str, str], fix: str) -> List[Pair]:
    """Images with labels of the same key, in their order. Raises UsageError with `fix` where one lacks the other."""
    for ours, theirs, what in ((images, labels, "image(s) have no label"), (labels, images, "label(s) have no image")):
        alone = [key for key in ours if key not in theirs]
        if alone:
            raise UsageError(
                "{} of {} {}: {}".format(len(alone), len(ours), what, ", ".join(ours[key] for key in alone[:3])), fix
            )
    return [Pair(path, labels[key]) for key, path in images.items()]


def pairs_in(images: str, labels: str, fix: str, image_ending: str = "", label_ending: str = "") -> List[Pair]:
    """Images `KEY + image_ending` of one folder with labels `KEY + label_ending` of another, in order.

    Raises UsageError with `fix` where there are none, or where one lacks the other.
    """
    pairs = paired(images_in(images, image_ending), images_in(labels, label_ending), fix)
    if not pairs:
        raise UsageError("{} and {} hold no image files".format(images, labels), fix)
    return pairs


def _is_image(name: str) -> bool:
    return name.lower().endswith(_IMAGES)
