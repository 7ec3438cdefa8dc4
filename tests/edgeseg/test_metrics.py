"""Confusion matrix, IoU and agreement, against hand-made cases and a plain definition."""

import numpy as np
import pytest

from edgeseg.metrics import agreement, agreement_iou, confusion_matrix, iou, mean_iou, pixel_accuracy

LABELS = np.array([[0, 0, 1], [1, 2, 255]], np.uint8)
MASK = np.array([[0, 1, 1], [1, 255, 0]], np.uint8)


def test_confusion_counts_pixels_by_label_and_prediction():
    # unlabelled pixels are left out, a prediction of "no class" is in the last column
    expected = [[1, 1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1]]
    assert confusion_matrix(LABELS, MASK, 3).tolist() == expected


def test_predictions_beyond_the_classes_count_as_no_class():
    mask = np.where(MASK == 255, 7, MASK).astype(np.uint8)
    assert np.array_equal(confusion_matrix(LABELS, mask, 3), confusion_matrix(LABELS, MASK, 3))


def test_iou_and_accuracy_by_hand():
    confusion = confusion_matrix(LABELS, MASK, 3)
    assert iou(confusion).tolist() == [1 / 2, 2 / 3, 0]
    assert mean_iou(confusion) == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert pixel_accuracy(confusion) == pytest.approx(3 / 5)


def test_iou_equals_its_definition_on_random_masks():
    random = np.random.RandomState(0)
    labels = random.choice([0, 1, 2, 3, 255], (40, 50)).astype(np.uint8)
    mask = random.choice([0, 1, 2, 3, 255], (40, 50)).astype(np.uint8)
    known = labels != 255
    expected = [
        np.sum((labels == c) & (mask == c)) / float(np.sum(((labels == c) | (mask == c)) & known)) for c in range(4)
    ]
    assert np.allclose(iou(confusion_matrix(labels, mask, 4)), expected)


def test_a_class_without_labels_is_not_in_the_mean():
    labels = np.zeros((4, 4), np.uint8)
    mask = labels.copy()
    mask[0, 0] = 1
    confusion = confusion_matrix(labels, mask, 3)
    values = iou(confusion)
    assert values[1] == 0  # predicted, never right
    assert np.isnan(values[2])  # on neither side
    assert mean_iou(confusion) == pytest.approx(15 / 16.0)


def test_nothing_labelled_gives_nan_without_a_warning():
    nothing = np.full((3, 3), 255, np.uint8)
    confusion = confusion_matrix(nothing, nothing, 2)
    assert np.isnan(mean_iou(confusion))
    assert np.isnan(pixel_accuracy(confusion))
    assert np.isnan(agreement(nothing, nothing, known=np.zeros((3, 3), bool)))


def test_agreement_over_all_and_over_known_pixels():
    assert agreement(LABELS, MASK) == pytest.approx(3 / 6)
    assert agreement(LABELS, MASK, known=LABELS != 255) == pytest.approx(3 / 5)


def test_agreement_iou_is_that_of_google():
    assert agreement_iou(LABELS, MASK) == pytest.approx(3 / (6 + 6 - 3))
    assert agreement_iou(LABELS, LABELS) == 1
