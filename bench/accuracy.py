"""How right: confusion matrix of a bundle on a labelled split, with the device's own runtime."""

from typing import Any, Callable, NamedTuple, Optional

import numpy as np

from edgeseg.datasets import Dataset
from edgeseg.metrics import Scores, boundary_confusions, scores
from edgeseg.segmenter import Segmenter

Array = Any


class Accuracy(NamedTuple):
    """Figures on a labelled split."""

    images: int
    scores: Scores
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
    total = np.zeros((2, classes, classes + 1), np.int64)
    for done, pair in enumerate(pairs, start=1):
        image, label = dataset.read(pair)
        total += boundary_confusions(label, segmenter(image, "rgb").mask, classes)
        progress(done, len(pairs))
    return Accuracy(len(pairs), scores(total, dataset.classes), total[0])
