"""The training loss: class-weighted cross-entropy plus a soft Jaccard term, and distillation from a teacher."""

import keras
import numpy as np
from keras import KerasTensor, ops

from edgeseg.models.recipe import Balance
from edgeseg.palette import UNLABELED


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

    The second term is the mean over the classes in the batch of 1 - sum(p*y) / sum(p + y - p*y)
    (Rahman and Wang 2016), so a pole counts as much as the road, as in the mIoU that is reported.

    Labels (N, H, W) integer with 255 for unlabelled, logits (N, H, W, classes) float.
    """

    def __init__(self, weights: np.ndarray, jaccard: float) -> None:
        super().__init__(name="segmentation_loss", reduction=None)
        self.weights = weights
        self.jaccard = jaccard

    def call(self, labels: KerasTensor, logits: KerasTensor) -> KerasTensor:
        classes = len(self.weights)
        labels = ops.cast(labels, "int32")
        known = labels != UNLABELED
        # one_hot gives zeros for ids outside 0..classes-1, which drops unlabelled pixels from all sums.
        truth = ops.one_hot(ops.where(known, labels, -1), classes, dtype=logits.dtype)
        log_p = ops.log_softmax(logits, axis=-1)
        weighted = truth * ops.convert_to_tensor(self.weights)
        cross_entropy = -ops.sum(weighted * log_p) / ops.maximum(ops.sum(weighted), 1.0)
        if not self.jaccard:
            return cross_entropy
        p = ops.exp(log_p) * ops.expand_dims(ops.cast(known, logits.dtype), -1)
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
