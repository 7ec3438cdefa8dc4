"""Cityscapes: streets of 50 cities, 2048x1024, the 19 classes that are evaluated.

Cordts et al., CVPR 2016. Folders, ids, train ids and colours:
https://github.com/mcordts/cityscapesScripts (README.md, cityscapesscripts/helpers/labels.py)
"""

import os
from typing import Optional

from edgeseg.datasets.base import Dataset
from edgeseg.datasets.labels import LabelDecoder, class_ids, mapped_ids
from edgeseg.datasets.layouts.drives import DriveFolders, read_drives
from edgeseg.palette import numbered

# In the order of the train ids.
CLASSES = numbered(
    [
        ("road", (128, 64, 128)),
        ("sidewalk", (244, 35, 232)),
        ("building", (70, 70, 70)),
        ("wall", (102, 102, 156)),
        ("fence", (190, 153, 153)),
        ("pole", (153, 153, 153)),
        ("traffic light", (250, 170, 30)),
        ("traffic sign", (220, 220, 0)),
        ("vegetation", (107, 142, 35)),
        ("terrain", (152, 251, 152)),
        ("sky", (70, 130, 180)),
        ("person", (220, 20, 60)),
        ("rider", (255, 0, 0)),
        ("car", (0, 0, 142)),
        ("truck", (0, 0, 70)),
        ("bus", (0, 60, 100)),
        ("train", (0, 80, 100)),
        ("motorcycle", (0, 0, 230)),
        ("bicycle", (119, 11, 32)),
    ]
)

_IDS = 34  # 0..33 in label images
_EVALUATED_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)  # id of each train id

_GET = "unpack {archive} of https://www.cityscapes-dataset.com/downloads into {{root}}: {{root}}/{folder} must be there"
_FINE = DriveFolders(
    name="Cityscapes",
    image_ending="_leftImg8bit",
    labels="gtFine",
    label_endings=("_gtFine_labelIds", "_gtFine_labelTrainIds"),
    splits=("train", "val"),
    own_name=r"_\d{6}_\d{6}(_gtFine_polygons\.json)?$",
    get_images=_GET.format(archive="leftImg8bit_trainvaltest.zip", folder="leftImg8bit/train"),
    get_labels=_GET.format(archive="gtFine_trainvaltest.zip", folder="gtFine/train") + "; test has no public labels",
    make_labels="make label images of the polygons: pip install cityscapesscripts; "
    "CITYSCAPES_DATASET={root} csCreateTrainIdLabelImgs",
)
_COARSE = _FINE._replace(
    name="Cityscapes coarse",
    labels="gtCoarse",
    label_endings=("_gtCoarse_labelIds", "_gtCoarse_labelTrainIds"),
    splits=("train", "val", "train_extra"),
    own_name=r"_\d{6}_\d{6}(_gtCoarse_polygons\.json)?$",
    get_labels=_GET.format(archive="gtCoarse.zip", folder="gtCoarse/train"),
)


def label_ids() -> LabelDecoder:
    """Decoder of Cityscapes' ids 0..33: the 19 evaluated ones are classes, the others unlabelled."""
    ids = {value: number for number, value in enumerate(_EVALUATED_IDS)}
    void = [value for value in range(_IDS) if value not in ids]
    return mapped_ids(ids, void, "labels with Cityscapes' ids hold 0..33, where 7 is road; is this a *_labelIds.png?")


def open_cityscapes(root: str) -> Optional[Dataset]:
    """Read leftImg8bit/ and gtFine/ in `root`, or gtCoarse/ where there is no gtFine/; None for another layout.

    Of labelIds, which come with the archives, and labelTrainIds, which scripts make of any table, labelIds are read
    if there are any. The split test is left out: its public labels are void. train_extra has coarse labels only.
    """
    has_fine = os.path.isdir(os.path.join(root, _FINE.labels))
    folders = _FINE if has_fine or not os.path.isdir(os.path.join(root, _COARSE.labels)) else _COARSE
    files = read_drives(root, folders)
    if files is None:
        return None
    labels = label_ids() if files.label_ending.endswith("_labelIds") else class_ids(len(CLASSES))
    return Dataset(folders.name, root, CLASSES, files.splits, labels)
