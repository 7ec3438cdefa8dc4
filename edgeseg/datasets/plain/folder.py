"""Plain folders: images and labels side by side, with or without a file that tells the classes.

    images/ labels/                     of any depth; also masks/ or annotations/, JPEGImages/ and SegmentationClass/
    train/images/ train/labels/ val/images/ val/labels/
    train/ train_labels/ val/ val_labels/

Labels are greyscale images of class ids, indexed PNG, or images in class colours. The classes are listed in a file
such as classes.txt, class_dict.csv or labelmap.txt (see class_lines.py and class_json.py); without one they are taken
from the label images.

Splits are train.txt and val.txt (test.txt), the folders train and val (test) inside images and labels or above them,
and else those of edgeseg.datasets.splits.block_splits.
"""

import os
from typing import Dict, List, Optional, Sequence, Tuple

from edgeseg.datasets.base import Dataset, spread
from edgeseg.datasets.files import Pair
from edgeseg.datasets.labels import LabelDecoder, mapped_colours, mapped_ids
from edgeseg.datasets.listing import names_in, paired
from edgeseg.datasets.plain.class_file import Legend, class_files, read_legend
from edgeseg.datasets.plain.class_lines import FORMS_HELP
from edgeseg.datasets.plain.label_colours import legend_of, look, palette_colors
from edgeseg.datasets.plain.tree import holds_images, image_tree, matched
from edgeseg.datasets.splits import SPLITS, block_splits, listed_pairs, split_lists, split_named
from edgeseg.errors import UsageError
from edgeseg.palette import UNLABELED, Color

_IMAGES = ("images", "image", "imgs", "img", "jpegimages")
_LABELS = ("labels", "label", "masks", "mask", "annotations", "segmentationclasspng", "segmentationclass")
_BESIDE = ("_labels", "_masks", "_annotations", "annot")

_SAMPLE = 8  # label images that tell how labels are stored
_SURVEYED = 200  # label images that are read for their classes

_SAME_NAMES = (
    "an image and its label have the same base name; take files without a partner out of the folders, or list the "
    "images to use in train.txt and val.txt"
)

Splits = Dict[str, List[Pair]]


def open_folder(root: str) -> Optional[Dataset]:
    """Read a plain folder; None if `root` has no images with labels beside them.

    At most 8 label images are read where a file tells the classes, at most 200 where none does.
    """
    found = _folders(root)
    if not found:
        return None
    splits: Splits = {}
    for split, (images, labels) in found.items():
        splits.update(_pairs(root, images, labels) if split is None else {split: _all_pairs(images, labels)})
    pairs = [pair for split in splits.values() for pair in split]
    legend, decoder = _labels(root, next(iter(found.values()))[1], [pair.label for pair in pairs])
    return Dataset(os.path.basename(os.path.abspath(root)), root, legend.classes, splits, decoder)


def holds_folders(root: str) -> bool:
    """Whether `root` is laid out as a plain folder. No file is opened."""
    return bool(_folders(root))


def _folders(root: str) -> Dict[Optional[str], Tuple[str, str]]:
    """The folders of images and of labels: under None, or by split where each split has its own."""
    here = _inside(root)
    if here is not None:
        return {None: here}
    found = {}
    for name in names_in(root):
        split, folder = split_named(name), os.path.join(root, name)
        beside = [folder + ending for ending in _BESIDE if os.path.isdir(folder + ending)]
        folders = (folder, beside[0]) if beside else _inside(folder)
        if split and folders:
            found[split] = folders
    return {split: found[split] for split in SPLITS if split in found}


def _inside(folder: str) -> Optional[Tuple[str, str]]:
    """The folders of images and of labels in a folder; None if it has not both."""
    names = {name.lower(): os.path.join(folder, name) for name in names_in(folder)}
    images, labels = (
        [names[name] for name in known if os.path.isdir(names.get(name, ""))] for known in (_IMAGES, _LABELS)
    )
    if not images or not labels:
        return None
    return images[0], next(filter(holds_images, labels), labels[0])  # labels/ may hold YOLO's polygons beside masks/


def _files(images: str, labels: str) -> Tuple[Dict[str, str], Dict[str, str]]:
    """Images and labels by the names of the images. Raises UsageError where there are none."""
    trees = image_tree(images), image_tree(labels)
    for folder, tree in zip((images, labels), trees):
        if not tree:
            held = ", ".join(names_in(folder)[:4]) or "nothing"
            raise UsageError(
                "{} holds no image files; it holds: {}".format(folder, held),
                "put PNG or JPEG images and PNG labels there; polygons (JSON, XML, YOLO) must be drawn as images first",
            )
    return trees[0], matched(*trees)


def _all_pairs(images: str, labels: str) -> List[Pair]:
    return paired(*_files(images, labels), _SAME_NAMES)


def _pairs(root: str, images: str, labels: str) -> Splits:
    """The pairs of images/ and labels/ by split: of lists, of folders, or of neither."""
    image_files, label_files = _files(images, labels)
    for folder in (root, os.path.join(root, "splits"), os.path.join(root, "ImageSets", "Segmentation")):
        lists = split_lists(folder)
        if lists:
            return {split: listed_pairs(path, image_files, label_files) for split, path in lists.items()}
    pairs: Dict[Optional[str], List[Pair]] = {}
    for key, pair in zip(image_files, paired(image_files, label_files, _SAME_NAMES)):
        pairs.setdefault(split_named(key.split("/")[0]) if "/" in key else None, []).append(pair)
    if None not in pairs:
        return {split: pairs[split] for split in SPLITS if split in pairs}
    if len(pairs) > 1:
        raise UsageError(
            "{} image(s) of {} are in no split, as {}; others are in {}".format(
                len(pairs[None]), images, pairs[None][0].image, ", ".join(sorted(s for s in pairs if s))
            ),
            "move them to the folder of a split",
        )
    return block_splits(pairs[None])


def _labels(root: str, folder: str, labels: Sequence[str]) -> Tuple[Legend, LabelDecoder]:
    """The classes of label images, and how these are read."""
    legend = read_legend(class_files(root) or class_files(folder))
    content = look(spread(labels, _SURVEYED if legend is None else _SAMPLE))
    if legend is not None and len(content.colours) == 1:  # may be ids as well as colours
        content = look(spread(labels, _SURVEYED))
    classes_txt = os.path.join(root, "classes.txt")
    if legend is None:
        legend = legend_of(content, folder, "list the classes in {}, {}".format(classes_txt, FORMS_HELP))
    elif not legend.colours:
        legend = _in_palette_colours(legend, content.palette)
    if legend.colours and (content.ids is None or set(content.colours) <= {*legend.colours, *legend.void_colours}):
        return legend, mapped_colours(legend.colours, legend.void_colours, legend.advice)
    if content.ids is None:
        raise UsageError(
            "the labels in {} are in colours, but {} has none".format(folder, legend.source),
            "write R G B before each name there; the first labels have the colours {}".format(
                ", ".join("{} {} {}".format(*color) for color in content.colours[:8])
            ),
        )
    if set(content.ids) == {0, UNLABELED} and len(legend.classes) <= 2:
        raise UsageError(
            "the labels in {} hold 0 and 255 only, and 255 means unlabelled".format(folder),
            "if 255 is a class, write two lines to {}: 0 0 0 NAME and 255 255 255 NAME".format(classes_txt),
        )
    return legend, mapped_ids(legend.ids, legend.void, legend.advice)


def _in_palette_colours(legend: Legend, palette: Sequence[Color]) -> Legend:
    """Take the colours of the classes from the palette of the labels, if it has them."""
    colors = palette_colors(palette, sorted(legend.ids))
    classes = [c._replace(color=color) for c, color in zip(legend.classes, colors)]
    return legend._replace(classes=tuple(classes)) if classes else legend
