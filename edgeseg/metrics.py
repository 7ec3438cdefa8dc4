"""Confusion matrix, IoU, accuracy at class borders and agreement of masks."""

from typing import Any, Dict, NamedTuple, Optional, Sequence

import numpy as np

from edgeseg.opencv import load_cv2
from edgeseg.palette import UNLABELED, SegClass

Array = Any

# A lead of the best class in logits, odds of 7 to 1, under which rounding may turn the winner. On scenes that it was
# not trained for a network wavers over much of the image. Measured where the float network leads by this much, on
# an FCN-8s for CamVid and generated scenes: 99.6 % agreement of its own int8 file, 95.8 % of that of another training,
# 91.0 % with red and blue swapped (of all logits: 93.2, 85.3 and 78.4 %).
SURE_MARGIN = 2.0

BOUNDARY_PIXELS = 4  # reach of the band around class borders, to each side


class Scores(NamedTuple):
    """Accuracy on labelled images; shares 0..1, None where nothing was counted."""

    miou: Optional[float]
    boundary_miou: Optional[float]  # of the pixels of `boundary_band` alone
    pixel_accuracy: Optional[float]
    iou: Dict[str, Optional[float]]  # by class; None for a class that neither side has
    boundary_iou: Dict[str, Optional[float]]


def scores(confusion: Array, classes: Sequence[SegClass]) -> Scores:
    """The figures of a sum of `boundary_confusions`."""
    whole, band = confusion
    return Scores(
        _known(mean_iou(whole)),
        _known(mean_iou(band)),
        _known(pixel_accuracy(whole)),
        {c.name: _known(value) for c, value in zip(classes, iou(whole))},
        {c.name: _known(value) for c, value in zip(classes, iou(band))},
    )


def _known(share: float) -> Optional[float]:
    """A share that JSON can hold: None for NaN."""
    return None if np.isnan(share) else float(share)


def boundary_confusions(labels: Array, mask: Array, classes: int) -> Array:
    """Two confusion matrices, (2, classes, classes + 1) int64: of all pixels, and of those of `boundary_band`."""
    near = np.where(boundary_band(labels), labels, UNLABELED)
    return np.stack([confusion_matrix(labels, mask, classes), confusion_matrix(near, mask, classes)])


def boundary_band(labels: Array, reach: int = BOUNDARY_PIXELS) -> Array:
    """(H, W) bool: labelled pixels with another class at most `reach` rows and columns away.

    The trimap of Kohli et al. (Robust Higher Order Potentials, IJCV 2009), a band around the borders of the true
    classes; mean IoU in it as Chen et al. have it (DeepLab, arXiv 1412.7062). DeepLab's band surrounds the void
    lines that PASCAL VOC draws along borders. Here void is no class: where a class meets nothing but void there is no
    border, and pixels without a label are never counted.
    """
    cv2 = load_cv2()
    window = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    known = labels != UNLABELED
    # The window of a labelled pixel has its own class, so void as the lowest and as the highest id is never decisive.
    highest = cv2.dilate(np.where(known, labels, 0).astype(np.uint8), window)
    return known & (highest != cv2.erode(np.ascontiguousarray(labels), window))


def confusion_matrix(labels: Array, mask: Array, classes: int) -> Array:
    """Pixels of each (labelled class, predicted class): (classes, classes + 1) int64.

    Pixels whose label is 255 are left out. The last column counts predictions of 255 (no class),
    which are errors of their labelled class.
    """
    known = labels != UNLABELED
    pairs = labels[known].astype(np.int32) * (classes + 1) + np.minimum(mask[known], classes)
    return np.bincount(pairs, minlength=classes * (classes + 1)).reshape(classes, classes + 1)


def iou(confusion: Array) -> Array:
    """Intersection over union of each class, 0..1; NaN for a class that neither side has.

    `confusion` is (classes, classes) or (classes, classes + 1) with a last column of no class.
    """
    classes = confusion.shape[0]
    hit = np.diag(confusion[:, :classes]).astype(np.float64)
    union = confusion.sum(axis=1) + confusion[:, :classes].sum(axis=0) - hit
    return np.divide(hit, union, out=np.full(classes, np.nan), where=union > 0)


def mean_iou(confusion: Array) -> float:
    """Mean of the IoU of the classes that occur in the labels, 0..1."""
    occurs = confusion.sum(axis=1) > 0
    values = iou(confusion)[occurs]
    return float(values.mean()) if values.size else float("nan")


def pixel_accuracy(confusion: Array) -> float:
    """Share of labelled pixels with the right class, 0..1."""
    total = confusion.sum()
    return float(np.diag(confusion[:, : confusion.shape[0]]).sum() / total) if total else float("nan")


def agreement(a: Array, b: Array, known: Optional[Array] = None) -> float:
    """Share of pixels with the same class in two masks of equal shape, 0..1; NaN where none is `known`."""
    same = a == b if known is None else (a == b)[known]
    return float(same.mean()) if same.size else float("nan")


def agreement_iou(a: Array, b: Array) -> float:
    """Agreement of two masks of equal shape as Google's tests have it: same / (all of a + all of b - same), 0..1.

    pycoral, tests/segment_test.py; libcoral, coral/segmentation_models_test.cc. 0.95 are 97.4 % of the pixels.
    """
    same = int((a == b).sum())
    return same / float(a.size + b.size - same)


def where_sure(logits: Array) -> Array:
    """(h, w) bool of logits (h, w, classes): where the best class leads the second by SURE_MARGIN or more."""
    best = np.partition(logits, -2, axis=-1)
    return best[..., -1] - best[..., -2] >= SURE_MARGIN
