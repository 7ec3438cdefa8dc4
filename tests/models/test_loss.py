"""The loss against a plain NumPy reference."""

import numpy as np
import pytest

from edgeseg.models.coarse import Meanings, plain_meanings
from edgeseg.models.loss import SegmentationLoss, class_weights

CLASSES = 4


def reference(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray, jaccard: float) -> float:
    """The formulas of the docstring, pixel by pixel."""
    known = labels != 255
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    p, y = p[known], labels[known]
    entropy = np.sum(weights[y] * -np.log(p[np.arange(len(y)), y])) / weights[y].sum()
    misses = []
    for cls in np.unique(y):
        truth, soft = y == cls, p[:, cls]
        misses.append(1 - soft[truth].sum() / (soft.sum() + truth.sum() - soft[truth].sum()))
    return float(entropy + jaccard * np.mean(misses))


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 2, 255], (2, 8, 10)).astype(np.uint8)  # class 3 does not occur
    return labels, rng.normal(0, 2, (2, 8, 10, CLASSES)).astype(np.float32)


@pytest.mark.parametrize("jaccard", [0.0, 0.5, 2.0])
def test_loss_equals_the_reference(batch: tuple[np.ndarray, np.ndarray], jaccard: float) -> None:
    weights = np.array([0.5, 1, 3, 2], np.float32)
    loss = SegmentationLoss(weights, jaccard, plain_meanings(CLASSES))(*batch)
    assert float(loss) == pytest.approx(reference(*batch, weights, jaccard), rel=1e-5)


def test_unlabelled_pixels_have_no_influence(batch: tuple[np.ndarray, np.ndarray]) -> None:
    labels, logits = batch
    loss = SegmentationLoss(np.ones(CLASSES, np.float32), 0.5, plain_meanings(CLASSES))
    other = logits.copy()
    other[labels == 255] = np.random.default_rng(1).normal(0, 50, other[labels == 255].shape)
    assert float(loss(labels, other)) == pytest.approx(float(loss(labels, logits)), rel=1e-6)
    other[labels == 0] += [5, 0, 0, 0]
    assert float(loss(labels, other)) != pytest.approx(float(loss(labels, logits)), rel=1e-3)


def test_batch_without_a_labelled_pixel_is_no_nan() -> None:
    labels = np.full((1, 4, 4), 255, np.uint8)
    assert (
        float(
            SegmentationLoss(np.ones(CLASSES, np.float32), 0.5, plain_meanings(CLASSES))(
                labels, np.zeros((1, 4, 4, CLASSES))
            )
        )
        == 0
    )


@pytest.mark.parametrize("balance", ["none", "sqrt", "log"])
def test_class_weights_have_a_pixel_mean_of_one(balance: str) -> None:
    pixels = np.array([7000, 2000, 100, 0])
    weights = class_weights(pixels, balance)  # type: ignore[arg-type]
    assert (weights * pixels).sum() / pixels.sum() == pytest.approx(1)
    assert weights[3] == weights.max()  # a class that never occurs
    if balance == "none":
        assert np.allclose(weights, 1)
    else:
        assert weights[0] < weights[1] < weights[2]


def test_weights_by_their_formulas() -> None:
    pixels = np.array([900, 100])
    sqrt, log = class_weights(pixels, "sqrt"), class_weights(pixels, "log")
    assert sqrt[1] / sqrt[0] == pytest.approx(3)
    assert log[1] / log[0] == pytest.approx(np.log(1.92) / np.log(1.12))


@pytest.mark.parametrize("jaccard", [0.0, 0.5])
def test_a_label_of_two_classes_asks_for_their_sum(batch: tuple[np.ndarray, np.ndarray], jaccard: float) -> None:
    """Against the reference, where the two are one class: pixel by pixel, and without them in the Jaccard term."""
    labels, logits = batch
    labels = np.where(labels == 1, CLASSES, labels)  # class 1 is only seen as "1 or 3"
    table = np.concatenate([np.eye(CLASSES), [[0, 1, 0, 1]]]).astype(np.float32)
    weights = np.array([0.5, 1, 3, 2, 1.5], np.float32)
    loss = SegmentationLoss(weights, jaccard, Meanings(table))(labels.astype(np.uint8), logits)

    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    known, is_set = labels != 255, labels == CLASSES
    right = np.where(is_set, p[..., 1] + p[..., 3], np.take_along_axis(p, (labels % CLASSES)[..., None], -1)[..., 0])
    weight = weights[labels[known]]
    expected = (weight * -np.log(right[known])).sum() / weight.sum()
    single = np.where(is_set, 255, labels)
    if jaccard:
        expected += reference(single, logits, weights, jaccard) - reference(single, logits, weights, 0.0)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
