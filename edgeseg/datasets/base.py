"""What every dataset layout is read into."""

import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgeseg.errors import UsageError
from edgeseg.opencv import load_cv2
from edgeseg.palette import UNLABELED, SegClass

Array = Any  # numpy.ndarray; numpy of Python 3.6 has no type stubs


class Pair(NamedTuple):
    """Paths of an image and of its label map."""

    image: str
    label: str

    @property
    def name(self) -> str:
        return os.path.splitext(os.path.basename(self.image))[0]


class Dataset(NamedTuple):
    """A labelled dataset: its classes and, by split, its image and label files."""

    name: str
    root: str
    classes: Tuple[SegClass, ...]
    splits: Dict[str, List[Pair]]
    void_id: int  # the value that unlabelled pixels have in the label files

    def pairs(self, split: str) -> List[Pair]:
        """The pairs of a split. Raises UsageError naming the splits that exist."""
        if not self.splits.get(split):
            raise UsageError(
                "{} has no split {!r}".format(self.root, split),
                "splits here: {}".format(", ".join(sorted(self.splits))),
            )
        return self.splits[split]

    def require_classes(self, classes: Sequence[SegClass]) -> None:
        """Raise UsageError unless these, the classes of a network, are those of the dataset, in its order."""
        ours, theirs = [c.name for c in classes], [c.name for c in self.classes]
        if ours != theirs:
            raise UsageError(
                "{} in {} has the classes {}; the network has {}".format(
                    self.name, self.root, ", ".join(theirs), ", ".join(ours)
                ),
                "give --data the kind of dataset that the network was trained on",
            )

    def read(self, pair: Pair) -> Tuple[Array, Array]:
        """RGB image (H, W, 3) uint8 and labels (H, W) uint8, 0..classes-1 or 255 for unlabelled.

        Raises UsageError for an unreadable file, sizes that differ, or a value outside the classes.
        """
        image = read_rgb(pair.image)
        label = read_labels(pair.label, len(self.classes), self.void_id)
        if image.shape[:2] != label.shape:
            raise UsageError(
                "{} is {}x{} but its label {} is {}x{} (width x height)".format(
                    pair.image, image.shape[1], image.shape[0], pair.label, label.shape[1], label.shape[0]
                ),
                "image and label must have the same size; resize labels with nearest neighbour",
            )
        return image, label


def read_rgb(path: str) -> Array:
    """Read an image file as (H, W, 3) uint8 RGB. Raises UsageError if it is absent or no image."""
    cv2 = load_cv2()
    image = _decoded(path, cv2.IMREAD_COLOR)
    if image is None:
        raise UsageError("{} cannot be read as an image".format(path), "is the file complete, and a PNG or JPEG?")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def read_labels(path: str, classes: int, void_id: int) -> Array:
    """Read a one-channel label PNG as (H, W) uint8 with 255 for `void_id`.

    Raises UsageError if it is no such image or has a value that is neither a class nor unlabelled.
    """
    label = _decoded(path, load_cv2().IMREAD_UNCHANGED)
    if label is None or label.ndim != 2 or label.dtype != np.uint8:
        shape = "unreadable" if label is None else "shape {} of {}".format(label.shape, label.dtype)
        raise UsageError(
            "label {} is not a one-channel 8-bit image of class ids ({})".format(path, shape),
            "save labels as greyscale PNG, one value per class",
        )
    lookup = np.full(256, UNLABELED, np.uint8)
    lookup[:classes] = np.arange(classes)
    allowed = lookup != UNLABELED
    allowed[[void_id, UNLABELED]] = True
    count = np.bincount(label.ravel(), minlength=256)
    wrong = np.flatnonzero((count > 0) & ~allowed)
    if wrong.size:
        raise UsageError(
            "label {} holds value(s) {} outside the {} classes ({} pixels)".format(
                path, ", ".join(str(v) for v in wrong[:8]), classes, int(count[wrong].sum())
            ),
            "classes are 0..{}; {} and 255 mean unlabelled".format(classes - 1, void_id),
        )
    return lookup[label]


def _decoded(path: str, flags: int) -> Optional[Array]:
    """The image in a file, None if there is no whole one. Raises UsageError if the file is absent."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UsageError("file {} cannot be read: {}".format(path, error.strerror), "check the data folder")
    # OpenCV fills the missing part of a truncated JPEG with grey; the end marker tells.
    is_cut_jpeg = data.startswith(b"\xff\xd8") and b"\xff\xd9" not in data
    if is_cut_jpeg or not data:
        return None
    cv2 = load_cv2()
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # a header with an impossible size
        return None


def pair_files(images: str, labels: str) -> Optional[List[Pair]]:
    """Pair the files of two folders by base name; None if one of the folders is absent.

    Raises UsageError naming images without labels and labels without images.
    """
    if not (os.path.isdir(images) and os.path.isdir(labels)):
        return None
    by_name = [_by_base_name(folder) for folder in (images, labels)]
    unpaired = sorted(set(by_name[0]) ^ set(by_name[1]))
    if unpaired:
        raise UsageError(
            "{} file(s) of {} and {} have no partner: {}".format(
                len(unpaired), images, labels, ", ".join(unpaired[:5])
            ),
            "an image and its label have the same base name",
        )
    return [Pair(path, by_name[1][name]) for name, path in by_name[0].items()]


_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def _by_base_name(folder: str) -> Dict[str, str]:
    """Image files of a folder by name without extension, sorted."""
    paths: Dict[str, str] = {}
    for file in sorted(os.listdir(folder)):
        name = os.path.splitext(file)[0]
        if not _is_image(file):
            continue
        if name in paths:
            raise UsageError(
                "{} and {} have the same base name".format(paths[name], file), "keep one image of each name"
            )
        paths[name] = os.path.join(folder, file)
    return paths


def _is_image(name: str) -> bool:
    # macOS leaves "._NAME.png" beside NAME.png on foreign disks
    return not name.startswith(".") and name.lower().endswith(_IMAGES)
