"""Pascal VOC 2012 segmentation: background and 20 classes, palette labels, 255 is the border of objects.

Everingham et al., IJCV 2010 and 2015; http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ (classes: devkit document,
section 2; colours: VOClabelcolormap.m). The extra labels of SegmentationClassAug: Hariharan et al., ICCV 2011,
http://home.bharathh.info/pubs/codes/SBD/download.html
"""

import os
from typing import Optional

from edgeseg.datasets.base import Dataset
from edgeseg.datasets.labels import class_ids
from edgeseg.datasets.listing import images_in
from edgeseg.datasets.plain.class_file import class_files
from edgeseg.datasets.splits import listed_pairs, split_lists
from edgeseg.errors import UsageError
from edgeseg.palette import numbered, voc_color

_NAMES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
CLASSES = numbered((name, voc_color(id)) for id, name in enumerate(_NAMES))


def open_voc(root: str) -> Optional[Dataset]:
    """Read JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/ in `root`; None for another layout.

    The splits are train and val; the lists trainval and test are left out. Names in train.txt that have no label in
    SegmentationClass/ take that of SegmentationClassAug/: to train on those, put the names of trainaug.txt there.
    A folder with a class file of its own (CVAT, labelme) is none of VOC's: see edgeseg.datasets.plain.folder.
    """
    images = os.path.join(root, "JPEGImages")
    folders = [os.path.join(root, name) for name in ("SegmentationClassAug", "SegmentationClass")]
    if not (os.path.isdir(images) and os.path.isdir(folders[1])) or class_files(root):
        return None
    lists = split_lists(os.path.join(root, "ImageSets", "Segmentation"))
    if not {"train", "val"} & set(lists):
        raise UsageError(
            "{} has no ImageSets/Segmentation/train.txt and val.txt".format(root),
            "unpack VOCtrainval_11-May-2012.tar again; for classes of your own write {}".format(
                os.path.join(root, "classes.txt")
            ),
        )
    image_files = images_in(images)
    labels = {**images_in(folders[0]), **images_in(folders[1])}
    lists.pop("test", None)
    splits = {split: listed_pairs(path, image_files, labels) for split, path in lists.items()}
    return Dataset("Pascal VOC 2012", root, CLASSES, splits, class_ids(len(CLASSES)))
