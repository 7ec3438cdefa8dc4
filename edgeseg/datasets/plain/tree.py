"""Images of a folder of any depth, and labels matched with them by the names of their files."""

import os
from typing import Dict, List

from edgeseg.datasets.listing import images_below, images_named
from edgeseg.stream.uri import natural_key

# What labels are called beyond their images, where all of them are
_SUFFIXES = ("_mask", "_masks", "_label", "_labels", "_L", "_gt", "_seg", "_segmentation", "_annotation")

Files = Dict[str, str]  # path by "SUBFOLDER/NAME" without suffix


def image_tree(folder: str) -> Files:
    """Image files in a folder and all below it, in natural order of their names.

    Raises UsageError for two files that differ only in their suffix.
    """
    found = images_named(images_below(folder), folder)
    return {key: found[key] for key in sorted(found, key=natural_key)}


def holds_images(folder: str) -> bool:
    """Whether a folder or one below it holds an image file."""
    return next(images_below(folder), None) is not None


def matched(images: Files, labels: Files) -> Files:
    """The labels by the names of their images.

    Names are compared with their subfolders; if that leaves files over, without a suffix that all labels have
    (NAME_mask.png); if it still does, without subfolders. What then has no partner is kept under its own name.
    """
    best = labels
    for form in _forms(labels):
        if len(set(form) & set(images)) > len(set(best) & set(images)):
            best = form
    if set(images) <= set(best):
        return best
    by_base = {os.path.basename(key): key for key in images}
    if len(by_base) == len(images):
        for form in _forms(labels):
            flat = {by_base.get(os.path.basename(key), key): path for key, path in form.items()}
            if len(flat) == len(labels) and len(set(flat) & set(images)) > len(set(best) & set(images)):
                best = flat
    return best


def _forms(labels: Files) -> List[Files]:
    """The labels by their names, and by the names without a suffix that all of them have."""
    common = [suffix for suffix in _SUFFIXES if all(key.endswith(suffix) for key in labels)]
    return [labels] + [{key[: -len(suffix)]: path for key, path in labels.items()} for suffix in common]
