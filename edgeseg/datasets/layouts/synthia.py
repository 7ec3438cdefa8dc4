"""SYNTHIA-RAND-CITYSCAPES: 9,400 generated street images, 22 classes, values 1..22; 0 is void.

Ros et al., CVPR 2016; http://synthia-dataset.net. Classes and colours: README.txt of the archive. Labels are 16-bit PNG
with the class in the first channel and the number of the object in the second. The archive has no splits: see
edgeseg.datasets.splits.block_splits.
"""

import os
from typing import Optional

from edgeseg.datasets.base import Dataset
from edgeseg.datasets.labels import mapped_ids
from edgeseg.datasets.listing import images_in, paired
from edgeseg.datasets.pixels import read_first_channel
from edgeseg.datasets.splits import block_splits
from edgeseg.errors import UsageError
from edgeseg.palette import numbered

CLASSES = numbered(
    [
        ("sky", (70, 130, 180)),
        ("building", (70, 70, 70)),
        ("road", (128, 64, 128)),
        ("sidewalk", (244, 35, 232)),
        ("fence", (64, 64, 128)),
        ("vegetation", (107, 142, 35)),
        ("pole", (153, 153, 153)),
        ("car", (0, 0, 142)),
        ("traffic sign", (220, 220, 0)),
        ("pedestrian", (220, 20, 60)),
        ("bicycle", (119, 11, 32)),
        ("motorcycle", (0, 0, 230)),
        ("parking slot", (250, 170, 160)),
        ("road work", (128, 64, 64)),
        ("traffic light", (250, 170, 30)),
        ("terrain", (152, 251, 152)),
        ("rider", (255, 0, 0)),
        ("truck", (0, 0, 70)),
        ("bus", (0, 60, 100)),
        ("train", (0, 80, 100)),
        ("wall", (102, 102, 156)),
        ("lane marking", (255, 255, 255)),  # the README gives it the colour of walls
    ]
)
_GET = "unpack SYNTHIA-RAND-CITYSCAPES again; RGB/ and GT/LABELS/ are needed"


def open_synthia(root: str) -> Optional[Dataset]:
    """Read RGB/ and GT/LABELS/ in `root`; None for another layout."""
    folders = [os.path.join(root, "RGB"), os.path.join(root, "GT", "LABELS")]
    if not os.path.isdir(folders[1]):
        return None
    images, labels = map(images_in, folders)
    if not images or not labels:
        raise UsageError("{} has no {}".format(root, "images in RGB" if labels else "labels in GT/LABELS"), _GET)
    ids = {c.id + 1: c.id for c in CLASSES}
    expected = "SYNTHIA-RAND-CITYSCAPES has the values 0 (void) to 22; other archives of SYNTHIA have other classes"
    decoder = mapped_ids(ids, [0], expected, read_first_channel)
    return Dataset("SYNTHIA", root, CLASSES, block_splits(paired(images, labels, _GET)), decoder)
