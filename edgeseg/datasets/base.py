"""What every dataset layout is read into."""

from typing import Any, Dict, List, NamedTuple, Sequence, Tuple, TypeVar

import numpy as np

from edgeseg.datasets.files import Pair, read_rgb
from edgeseg.datasets.labels import LabelDecoder
from edgeseg.errors import UsageError
from edgeseg.palette import SegClass

Array = Any  # numpy.ndarray; numpy of Python 3.6 has no type stubs
T = TypeVar("T")


class Dataset(NamedTuple):
    """A labelled dataset: its classes and, by split, its image and label files."""

    name: str
    root: str
    classes: Tuple[SegClass, ...]
    splits: Dict[str, List[Pair]]
    labels: LabelDecoder
    folders: str = ""  # of its layout, for messages

    def pairs(self, split: str) -> List[Pair]:
        """The pairs of a split. Raises UsageError naming the splits that exist."""
        if not self.splits.get(split):
            raise UsageError(
                "{} has no split {!r}".format(self.root, split),
                "splits here: {}; a split is there with its images and its labels: {}".format(
                    ", ".join(sorted(self.splits)), self.folders
                ),
            )
        return self.splits[split]

    def require_several_classes(self) -> None:
        """Raise UsageError where there is nothing to tell apart."""
        if len(self.classes) < 2:
            raise UsageError(
                "{} has one class only ({}), so every pixel would be of it".format(self.root, self.classes[0].name),
                "give the rest of the pixels a class as well, for example background",
            )

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
        label = self.labels(pair.label)
        if image.shape[:2] != label.shape:
            raise UsageError(
                "{} is {}x{} but its label {} is {}x{} (width x height)".format(
                    pair.image, image.shape[1], image.shape[0], pair.label, label.shape[1], label.shape[0]
                ),
                "image and label must have the same size; resize labels with nearest neighbour",
            )
        return image, label


def spread(items: Sequence[T], count: int) -> List[T]:
    """At most `count` items at even distances, the first and the last among them."""
    if count >= len(items):
        return list(items)
    return [items[int(i + 0.5)] for i in np.linspace(0, len(items) - 1, count)]
