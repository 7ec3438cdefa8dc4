"""How right: confusion matrix of a bundle on a labelled split, with the device's own runtime."""

from typing import Any, Callable, Dict, NamedTuple, Optional

import numpy as np

from edgeseg.datasets import Dataset
from edgeseg.metrics import confusion_matrix, iou, mean_iou, pixel_accuracy
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
    dataset.require_classes(segmenter.classes)
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
