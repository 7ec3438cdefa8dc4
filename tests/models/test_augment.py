"""Augmentation: image and label move together, and every draw is repeatable."""

from typing import Any

import cv2
import numpy as np
import pytest

from edgeseg.models.augment import Augmentation, Sizes, _crop_matrix, augment, largest_used
from edgeseg.palette import UNLABELED

NOTHING: dict[str, Any] = dict.fromkeys(Augmentation._fields, 0)
PLAIN = Augmentation(**NOTHING)._replace(scale=(1.0, 1.0), flip=False)
CROP = (64, 96)
SIZES = Sizes(CROP, CROP)


def marked(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A dark image (96, 128, 3) with white discs, label 1 exactly where it is white, else 0."""
    label = np.zeros((96, 128), np.uint8)
    for _ in range(6):
        centre = (int(rng.integers(10, 118)), int(rng.integers(10, 86)))
        cv2.circle(label, centre, 7, 1, cv2.FILLED)
    image = np.where(label[..., None] == 1, 255, 0).astype(np.uint8).repeat(3, axis=2)
    return image, label


def run(image: np.ndarray, label: np.ndarray, seed: int, options: Augmentation) -> tuple[np.ndarray, np.ndarray]:
    return augment(image, label, SIZES, np.ones(2), np.random.default_rng(seed), options)


def test_label_stays_on_the_image() -> None:
    geometry = PLAIN._replace(scale=(0.6, 2.0), stretch=0.1, rare_crop=0.5)
    shifts = []
    for seed in range(40):
        image, label = run(*marked(np.random.default_rng(seed)), seed, geometry)
        known = label != UNLABELED
        bright = (image[..., 0] > 0).astype(np.uint8)
        # Resampling blurs an edge over a pixel or two; inside and outside, both must agree.
        edge = cv2.dilate(bright, np.ones((3, 3))) != cv2.erode(bright, np.ones((3, 3)))
        assert np.array_equal((label == 1)[known & ~edge], bright[known & ~edge] == 1)
        centres = [np.argwhere(m & known).mean(axis=0) for m in (label == 1, bright == 1)]
        shifts.append(centres[1] - centres[0])
    # On the edges neither side is favoured: a shift of half a pixel would show here.
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.1


def test_without_changes_the_image_comes_back() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*CROP, 3)).astype(np.uint8)
    label = rng.integers(0, 2, CROP).astype(np.uint8)
    same_image, same_label = run(image, label, 1, PLAIN)
    assert np.allclose(same_image, image / 127.5 - 1, atol=1e-6)
    assert np.array_equal(same_label, label)


def test_flip_mirrors_both_exactly() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*CROP, 3)).astype(np.uint8)
    label = rng.integers(0, 2, CROP).astype(np.uint8)
    mirrored = 0
    for seed in range(20):
        got_image, got_label = run(image, label, seed, PLAIN._replace(flip=True))
        is_mirrored = not np.array_equal(got_label, label)
        mirrored += is_mirrored
        expected = (image[:, ::-1], label[:, ::-1]) if is_mirrored else (image, label)
        assert np.allclose(got_image, expected[0] / 127.5 - 1, atol=1e-6)
        assert np.array_equal(got_label, expected[1])
    assert 4 <= mirrored <= 16


def test_what_lies_outside_the_image_is_unlabelled() -> None:
    image, label = np.full((96, 128, 3), 255, np.uint8), np.zeros((96, 128), np.uint8)
    got_image, got_label = run(image, label, 0, PLAIN._replace(scale=(0.5, 0.5)))
    assert np.mean(got_label == UNLABELED) == pytest.approx(0.75, abs=0.03)
    assert np.all(got_image[got_label == UNLABELED] < 1)


def test_values_are_in_range_and_dtypes_right() -> None:
    image, label = marked(np.random.default_rng(0))
    for seed in range(20):
        got_image, got_label = run(image, label, seed, Augmentation())
        assert got_image.dtype == np.float32
        assert got_image.shape == (*CROP, 3)
        assert got_image.min() >= -1
        assert got_image.max() <= 1
        assert got_label.dtype == np.uint8
        assert set(np.unique(got_label)) <= {0, 1, UNLABELED}


def test_same_seed_same_sample() -> None:
    image, label = marked(np.random.default_rng(0))
    one, two, other = (run(image, label, seed, Augmentation()) for seed in (3, 3, 4))
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])
    assert not np.array_equal(one[0], other[0])


def test_rare_classes_are_seen_more_often_with_rare_crop() -> None:
    label = np.zeros((96, 128), np.uint8)
    label[5:9, 100:104] = 1  # in a corner, which few random crops hold
    image = np.zeros((96, 128, 3), np.uint8)
    wanted = np.array([0.01, 1.0])
    shares = []
    for rare_crop in (0.0, 1.0):
        options = PLAIN._replace(scale=(1.8, 2.0), rare_crop=rare_crop)
        crops = [augment(image, label, SIZES, wanted, np.random.default_rng(s), options)[1] for s in range(100)]
        shares.append(np.mean([(crop == 1).any() for crop in crops]))
    assert shares[1] > 0.9
    assert shares[0] < 0.6


def test_image_without_any_class_is_cropped_at_random() -> None:
    nothing = np.full((96, 128), UNLABELED, np.uint8)
    _, label = run(np.zeros((96, 128, 3), np.uint8), nothing, 0, Augmentation(rare_crop=1.0))
    assert np.all(label == UNLABELED)


def test_scale_is_that_of_the_input_whatever_the_crop() -> None:
    label = np.zeros((96, 128), np.uint8)
    label[40:60, 50:70] = 1
    image = np.zeros((96, 128, 3), np.uint8)
    sizes = Sizes(imgsz=(48, 64), crop=(32, 32))  # the input is half as large as the image
    crops = [augment(image, label, sizes, np.ones(2), np.random.default_rng(seed), PLAIN)[1] for seed in range(20)]
    assert max(int((crop == 1).sum()) for crop in crops) == 10 * 10


def test_larger_images_are_of_no_use() -> None:
    """An image of this size is enlarged by no draw, one of half of it up to twice."""
    options = PLAIN._replace(scale=(0.6, 2.0), stretch=0.1)
    height, width = largest_used(CROP, options)
    for shrink in (1, 2):
        label = np.zeros((height // shrink, width // shrink), np.uint8)
        scales = [
            np.diag(_crop_matrix(label, SIZES, np.ones(2), np.random.default_rng(seed), options)) for seed in range(300)
        ]
        assert np.all(np.max(scales, axis=0) <= shrink)
        assert np.all(np.max(scales, axis=0) > 0.95 * shrink)
