"""COCO-Stuff: 171 classes of things and stuff, the values 0..181 with gaps, 255 is unlabelled.

Caesar, Uijlings, Ferrari, CVPR 2018; https://github.com/nightrome/cocostuff (README.md, "Downloads", "Setup")
"""

import os
from typing import Dict, Optional

from edgeseg.datasets.base import Dataset
from edgeseg.datasets.labels import mapped_ids
from edgeseg.datasets.layouts.coco_stuff_classes import COCO_STUFF, NAMES
from edgeseg.datasets.listing import images_named, names_in, paired
from edgeseg.errors import UsageError

_LABELS = ("annotations", "stuffthingmaps", ".")  # the last two: as the archive is unpacked
_FOLDERS = {"train": "train2017", "val": "val2017"}
_GET = (
    "unpack train2017.zip and val2017.zip of COCO in {0}/images, stuffthingmaps_trainval2017.zip of "
    "https://github.com/nightrome/cocostuff in {0}/annotations"
)


def open_coco_stuff(root: str) -> Optional[Dataset]:
    """Read images/{train,val}2017 and the label maps in annotations/{train,val}2017; None for another layout.

    Images may lie in {train,val}2017 itself, label maps in stuffthingmaps/. A split without images is left out.
    """
    splits, has_labels = {}, False
    for split, folder in _FOLDERS.items():
        labels = next(filter(None, (_numbered(root, kind, folder, ".png") for kind in _LABELS)), {})
        images = next(filter(None, (_numbered(root, kind, folder, ".jpg") for kind in ("images", "."))), {})
        has_labels |= bool(labels)
        if labels and images:
            splits[split] = paired(images, labels, _GET.format(root))
    if not has_labels:
        return None
    if not splits:
        raise UsageError("{} has label maps of COCO-Stuff, but not their images".format(root), _GET.format(root))
    ids = {value: id for id, value in enumerate(sorted(NAMES))}
    expected = "COCO-Stuff's values are 0..181, less eleven that COCO does not use, and 255; " + _GET.format(root)
    return Dataset("COCO-Stuff", root, COCO_STUFF, splits, mapped_ids(ids, (), expected))


def _numbered(root: str, kind: str, folder: str, suffix: str) -> Dict[str, str]:
    """The files called by a number only: others put maps of their own, as 000000000009_labelTrainIds.png, there."""
    path = os.path.join(root, kind, folder)
    names = [name for name in names_in(path) if name.endswith(suffix) and name[: -len(suffix)].isdigit()]
    return images_named(names, path)
