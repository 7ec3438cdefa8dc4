"""The training loss: class-weighted cross-entropy plus a soft Jaccard term, and distillation from a teacher."""

import keras
import numpy as np
from keras import KerasTensor, ops

from edgeseg.models.coarse import Meanings
from edgeseg.models.recipe import Balance
from edgeseg.palette import UNLABELED

_NEVER = -1e4  # added to a log probability


def class_weights(pixels: np.ndarray, balance: Balance) -> np.ndarray:
    """Weights (classes,) with a pixel-weighted mean of 1, from pixel counts (classes,).

    "sqrt": inverse square root of the frequency. "log": 1 / ln(1.02 + frequency), ENet (arXiv
    1606.02147, section 5.2). A class without pixels gets the largest weight among the others.
    """
    frequency = pixels / pixels.sum()
    seen = frequency > 0
    weights = np.ones_like(frequency)
    if balance == "sqrt":
        weights[seen] = frequency[seen] ** -0.5
    elif balance == "log":
        weights[seen] = 1 / np.log(1.02 + frequency[seen])
    weights[~seen] = np.max(weights[seen])
    return (weights / (weights * frequency).sum()).astype(np.float32)


class SegmentationLoss(keras.losses.Loss):  # type: ignore[misc]
    """Weighted cross-entropy + `jaccard` x (1 - soft IoU), unlabelled pixels left out of both.

    A label that stands for several classes asks for the sum of their probabilities, and is left out of the second.

    The second term is the mean over the classes in the batch of 1 - sum(p*y) / sum(p + y - p*y)
    (Rahman and Wang 2016), so a pole counts as much as the road, as in the mIoU that is reported.

    Labels (N, H, W) integer with 255 for unlabelled, weights by label value, logits (N, H, W, classes) float.
    """

    def __init__(self, weights: np.ndarray, jaccard: float, meanings: Meanings) -> None:
        super().__init__(name="segmentation_loss", reduction=None)
        self.weights = np.append(weights, 0).astype(np.float32)  # by label value; the last one is unlabelled
        self.meanings = np.pad(meanings.table, ((0, 1), (0, 0)))
        self.has_sets = meanings.has_sets
        self.jaccard = jaccard

    def call(self, labels: KerasTensor, logits: KerasTensor) -> KerasTensor:
        labels = ops.cast(labels, "int32")
        labels = ops.where(labels == UNLABELED, len(self.weights) - 1, labels)
        truth = ops.take(self.meanings, labels, axis=0)  # (N, H, W, classes): 1 for each that it may be
        weight = ops.take(self.weights, labels, axis=0)
        log_p = ops.log_softmax(logits, axis=-1)
        if self.has_sets:
            right = ops.logsumexp(log_p + ops.where(truth > 0, 0.0, _NEVER), axis=-1)
        else:
            right = ops.sum(truth * log_p, axis=-1)
        cross_entropy = -ops.sum(weight * right) / ops.maximum(ops.sum(weight), 1.0)
        if not self.jaccard:
            return cross_entropy
        is_one = ops.cast(ops.sum(truth, axis=-1, keepdims=True) == 1, logits.dtype)
        p, truth = ops.exp(log_p) * is_one, truth * is_one
        axes = (0, 1, 2)
        hit = ops.sum(p * truth, axis=axes)
        pixels = ops.sum(truth, axis=axes)
        soft_iou = hit / ops.maximum(ops.sum(p, axis=axes) + pixels - hit, 1.0)
        present = ops.cast(pixels > 0, logits.dtype)
        miss = ops.sum((1 - soft_iou) * present) / ops.maximum(ops.sum(present), 1.0)
        return cross_entropy + self.jaccard * miss


class DistillationLoss(keras.losses.Loss):  # type: ignore[misc]
    """`weight` x Kullback-Leibler divergence of the network's classes from a teacher's, the mean over all cells.

    Hinton et al. 2015 (arXiv 1503.02531), cell by cell as in Liu et al. 2019 (arXiv 1903.04197, section 3.1),
    at temperature 1 as there. A teacher also speaks where there is no label.

    Probabilities of the teacher and logits of the network, both (N, h, w, classes) float.
    """

    def __init__(self, weight: float) -> None:
        super().__init__(name="distillation_loss", reduction=None)
        self.weight = weight

    def call(self, teacher: KerasTensor, logits: KerasTensor) -> KerasTensor:
        log_ratio = ops.log(ops.maximum(teacher, 1e-7)) - ops.log_softmax(logits, axis=-1)
        return self.weight * ops.mean(ops.sum(teacher * log_ratio, axis=-1))
