"""IDD, the India Driving Dataset: the 26 classes of level 3, and IDD-Lite with the 7 of level 1 at 320x227.

Varma et al., WACV 2019; https://idd.insaan.iiit.ac.in. Folders, classes and colours:
https://github.com/AutoNUE/public-code (README.md, helpers/anue_labels.py, evaluation/*_mIoU.py)
"""

from typing import Optional

from edgeseg.datasets.base import Dataset
from edgeseg.datasets.labels import class_ids, mapped_ids
from edgeseg.datasets.layouts.drives import DriveFolders, read_drives
from edgeseg.palette import numbered

# level3Id 0..25
CLASSES = numbered(
    [
        ("road", (128, 64, 128)),
        ("drivable fallback", (81, 0, 81)),
        ("sidewalk", (244, 35, 232)),
        ("non-drivable fallback", (152, 251, 152)),
        ("person", (220, 20, 60)),
        ("rider", (255, 0, 0)),
        ("motorcycle", (0, 0, 230)),
        ("bicycle", (119, 11, 32)),
        ("autorickshaw", (255, 204, 54)),
        ("car", (0, 0, 142)),
        ("truck", (0, 0, 70)),
        ("bus", (0, 60, 100)),
        ("vehicle fallback", (136, 143, 153)),
        ("curb", (220, 190, 40)),
        ("wall", (102, 102, 156)),
        ("fence", (190, 153, 153)),
        ("guard rail", (180, 165, 180)),
        ("billboard", (174, 64, 67)),
        ("traffic sign", (220, 220, 0)),
        ("traffic light", (250, 170, 30)),
        ("pole", (153, 153, 153)),
        ("obs-str-bar-fallback", (169, 187, 214)),
        ("building", (70, 70, 70)),
        ("bridge", (150, 100, 100)),
        ("vegetation", (107, 142, 35)),
        ("sky", (70, 130, 180)),
    ]
)
# level1Id 0..6; the script has plurals: living-things, vehicles, road-side-objs, far-objects
LITE_CLASSES = numbered(
    [
        ("drivable", (128, 64, 128)),
        ("non-drivable", (244, 35, 232)),
        ("living thing", (220, 20, 60)),
        ("vehicle", (0, 0, 142)),
        ("roadside object", (220, 220, 0)),
        ("far object", (70, 70, 70)),
        ("sky", (70, 130, 180)),
    ]
)

# level3Id of the ids 0..34; 35..39 are void. Id 34, "fallback background", counts as sky there.
_LEVEL3_IDS = (0, 1, 1, 2, 3, 3, 4, 4, *range(5, 12), *[12] * 4, *range(13, 20), 20, 20, 21, 22, 23, 23, 24, 25, 25)
_VOID_IDS = range(35, 40)

_GET = "unpack the archive of https://idd.insaan.iiit.ac.in/dataset/download again: {{root}}/{folder} must be there"
_FULL = DriveFolders(
    name="IDD",
    image_ending="_leftImg8bit",
    labels="gtFine",
    # the scripts of 2018 to 2021 differ in a capital letter
    label_endings=("_gtFine_labellevel3Ids", "_gtFine_labelLevel3Ids", "_gtFine_labelids"),
    splits=("train", "val"),
    own_name="",
    get_images=_GET.format(folder="leftImg8bit/train"),
    get_labels=_GET.format(folder="gtFine/train"),
    make_labels="make label images of the polygons with https://github.com/AutoNUE/public-code: "
    "python preperation/createLabels.py --datadir {root} --id-type level3Id",
)
_LITE = _FULL._replace(
    name="IDD-Lite",
    image_ending="_image",
    label_endings=("_label",),
    make_labels="remove those that are alone",
)


def open_idd(root: str) -> Optional[Dataset]:
    """Read leftImg8bit/ and gtFine/ of IDD or IDD-Lite in `root`; None for another layout.

    Of IDD, the label images that its createLabels.py makes are read: level3Ids, or ids if there are none of those.
    Images may be PNG, as in part I, or JPEG, as in part II. The split test has no labels and is left out.
    """
    files = read_drives(root, _FULL)
    if files is None:
        return _open_lite(root)
    if files.label_ending == "_gtFine_labelids":
        labels = mapped_ids(dict(enumerate(_LEVEL3_IDS)), _VOID_IDS, "IDD's ids are 0..39; is this a *_labelids.png?")
    else:
        labels = class_ids(len(CLASSES))
    return Dataset(_FULL.name, root, CLASSES, files.splits, labels)


def _open_lite(root: str) -> Optional[Dataset]:
    files = read_drives(root, _LITE)
    if files is None:
        return None
    return Dataset(_LITE.name, root, LITE_CLASSES, files.splits, class_ids(len(LITE_CLASSES)))
