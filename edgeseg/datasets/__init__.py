"""Labelled datasets in their official on-disk layouts: `open_dataset(folder)` tells which one it is."""

import os
from typing import Callable, List, NamedTuple, Optional

from edgeseg.datasets.base import Dataset
from edgeseg.datasets.files import Pair
from edgeseg.datasets.layouts.ade20k import open_ade20k
from edgeseg.datasets.layouts.camvid import open_camvid
from edgeseg.datasets.layouts.camvid32 import open_camvid32
from edgeseg.datasets.layouts.cityscapes import open_cityscapes
from edgeseg.datasets.layouts.coco_stuff import open_coco_stuff
from edgeseg.datasets.layouts.idd import open_idd
from edgeseg.datasets.layouts.kitti import open_kitti
from edgeseg.datasets.layouts.mapillary import open_mapillary
from edgeseg.datasets.layouts.synthia import open_synthia
from edgeseg.datasets.layouts.voc import open_voc
from edgeseg.datasets.listing import names_in
from edgeseg.datasets.plain.folder import holds_folders, open_folder
from edgeseg.errors import UsageError

__all__ = ["Dataset", "Pair", "open_dataset"]


class Layout(NamedTuple):
    """How a dataset lies on disk."""

    name: str
    folders: str
    open: Callable[[str], Optional[Dataset]]  # None: another layout. UsageError: this one, but broken


# The first that fits is taken.
_LAYOUTS = (
    Layout("Cityscapes", "leftImg8bit/train/CITY/ gtFine/train/CITY/ (or gtCoarse/)", open_cityscapes),
    Layout("IDD, IDD-Lite", "leftImg8bit/train/DRIVE/ gtFine/train/DRIVE/", open_idd),
    Layout("KITTI semantic", "training/image_2/ training/semantic/", open_kitti),
    Layout("Mapillary Vistas", "config_v2.0.json training/images/ training/v2.0/labels/", open_mapillary),
    Layout("CamVid, 32 colours", "701_StillsRaw_full/ LabeledApproved_full/, or train/ train_labels/", open_camvid32),
    Layout("CamVid, 11 classes", "train/ trainannot/ val/ valannot/ (test/ testannot/)", open_camvid),
    Layout("Pascal VOC 2012", "JPEGImages/ SegmentationClass/ ImageSets/Segmentation/train.txt", open_voc),
    Layout("ADE20K SceneParsing", "images/training/ annotations/training/", open_ade20k),
    Layout("COCO-Stuff", "images/train2017/ annotations/train2017/ (or stuffthingmaps/)", open_coco_stuff),
    Layout("SYNTHIA-RAND-CITYSCAPES", "RGB/ GT/LABELS/", open_synthia),
    Layout("your own", "images/ labels/ (or masks/, annotations/), and classes.txt", open_folder),
)

_MAX_SUBFOLDERS = 50  # that are looked into for a dataset


def layout_help() -> str:
    """The known layouts, one a line."""
    return "\n".join("    {}: {}".format(layout.name, layout.folders) for layout in _LAYOUTS)


def open_dataset(root: str) -> Dataset:
    """Open the dataset in folder `root`. Raises UsageError where the layout is not a known one."""
    root = os.path.expanduser(root)
    if not os.path.isdir(root):
        what = "is a file" if os.path.exists(root) else "does not exist"
        raise UsageError("data folder {} {}".format(root, what), "give --data an existing folder")
    for layout in _LAYOUTS:
        dataset = layout.open(root)
        if dataset is not None:
            return dataset._replace(folders=layout.folders)
    found = names_in(root)
    nearby = _datasets_near(root, found)
    if nearby:
        raise UsageError(
            "the dataset is not in {} itself, but in {}".format(root, " or ".join(nearby)), "give --data " + nearby[0]
        )
    raise UsageError(
        "data folder {} has no layout that edgeseg knows; it holds: {}".format(root, ", ".join(found[:8]) or "nothing"),
        "known layouts:\n" + layout_help(),
    )


def _datasets_near(root: str, names: List[str]) -> List[str]:
    """Folders just under `root` that have a known layout; if none has, the first of up to three above it."""
    below = [os.path.join(root, name) for name in names[:_MAX_SUBFOLDERS]]
    above = [os.path.normpath(os.path.join(root, *[os.pardir] * level)) for level in (1, 2, 3)]
    return [folder for folder in below if _is_dataset(folder)] or list(filter(_is_dataset, above))[:1]


def _is_dataset(folder: str) -> bool:
    """Whether `folder` has a known layout, whole or broken."""
    if not os.path.isdir(folder):
        return False
    try:
        return holds_folders(folder) or any(layout.open(folder) for layout in _LAYOUTS if layout.open != open_folder)
    except UsageError:
        return True
