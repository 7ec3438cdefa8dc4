"""KITTI semantic segmentation (2015): 200 labelled images of about 1242x375, the 19 classes of Cityscapes.

Alhaija et al., IJCV 2018; http://www.cvlibs.net/datasets/kitti/eval_semseg.php?benchmark=semantics2015. "The data
format and metrics are conform with The Cityscapes Dataset": labels hold its ids.
"""

import os
from typing import Optional

from edgeseg.datasets.base import Dataset
from edgeseg.datasets.layouts.cityscapes import CLASSES, label_ids
from edgeseg.datasets.listing import pairs_in
from edgeseg.datasets.splits import block_splits
from edgeseg.errors import UsageError

_FRAME = "_10"  # the labelled one; archives of KITTI 2015's other tasks add the next, _11


def open_kitti(root: str) -> Optional[Dataset]:
    """Read training/image_2/ and training/semantic/ in `root`; None for another layout.

    KITTI has no validation split: see edgeseg.datasets.splits.block_splits. testing/ has no labels and is left out.
    """
    images, labels = (os.path.join(root, "training", folder) for folder in ("image_2", "semantic"))
    if not os.path.isdir(images):
        return None
    fix = "unpack data_semantics.zip of http://www.cvlibs.net/datasets/kitti/eval_semseg.php into {}".format(root)
    if not os.path.isdir(labels):
        raise UsageError("{} is a folder of KITTI, but has no training/semantic/ with labels".format(root), fix)
    pairs = pairs_in(images, labels, fix, _FRAME, _FRAME)
    return Dataset("KITTI", root, CLASSES, block_splits(pairs), label_ids())
