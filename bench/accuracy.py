"""How right: confusion matrix of a bundle on a labelled split, with the device's own runtime."""

from typing import Any, Callable, Dict, NamedTuple, Optional

import numpy as np

from edgeseg.datasets import Dataset
from edgeseg.errors import UsageError
from edgeseg.metrics import confusion_matrix, iou, mean_iou, pixel_accuracy
from edgeseg.palette import SegClass
from edgeseg.segmenter import Segmenter

Array = Any


class Accuracy(NamedTuple):
    """Figures on a labelled split; fractions 0..1."""

    images: int
    miou: float
    iou: Dict[str, Optional[float]]  # None for a class that does not occur
    pixel_accuracy: float
    confusion: Array  # (classes, classes + 1) pixels: labelled, predicted


def measure_accuracy(
    segmenter: Segmenter,
    dataset: Dataset,
    split: str,
    limit: Optional[int] = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Accuracy:
    """Segment the images of `split` and compare with their labels, at the labels' size.

    Raises UsageError if the classes of network and dataset differ, or the data is faulty.
    """
    check_classes(segmenter.classes, dataset)
    pairs = dataset.pairs(split)[:limit]
    classes = len(dataset.classes)
    total = np.zeros((classes, classes + 1), np.int64)
    for done, pair in enumerate(pairs, start=1):
        image, label = dataset.read(pair)
        total += confusion_matrix(label, segmenter(image, "rgb").mask, classes)
        progress(done, len(pairs))
    values = iou(total)
    return Accuracy(
        len(pairs),
        mean_iou(total),
        {c.name: None if np.isnan(v) else float(v) for c, v in zip(dataset.classes, values)},
        pixel_accuracy(total),
        total,
    )


def check_classes(classes: Any, dataset: Dataset) -> None:
    """Raise UsageError unless the network has the classes of the dataset, in its order."""
    mine, theirs = [c.name for c in classes], [c.name for c in dataset.classes]
    if mine != theirs:
        raise UsageError(
            "the network's classes ({}) are not those of {} ({})".format(
                ", ".join(mine), dataset.root, ", ".join(theirs)
            ),
            "measure with the kind of data that the network was trained on",
        )


def class_row(label: SegClass, value: Optional[float]) -> str:
    """One line of the table of IoU."""
    return "  {:<14}{:>6}".format(label.name, "-" if value is None else "{:.1f}".format(100 * value))
