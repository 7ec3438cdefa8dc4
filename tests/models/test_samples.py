"""Batches are a function of seed and epoch, and their thread ends with them."""

import threading
from pathlib import Path

import numpy as np
import pytest

from edgeseg.datasets import open_dataset
from edgeseg.errors import UsageError
from edgeseg.models.augment import Augmentation, Sizes
from edgeseg.models.samples import TrainingSet


def training_set(root: Path, seed: int = 0, batch: int = 5, **options: object) -> TrainingSet:
    dataset = open_dataset(str(root))
    augmentation = Augmentation()._replace(**options)  # type: ignore[arg-type]
    return TrainingSet(dataset, dataset.pairs("train"), Sizes((64, 96), (32, 64)), batch, augmentation, seed)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "augment"]


def test_shapes_and_counts(streets: Path) -> None:
    samples = training_set(streets)
    batches = list(samples.epoch(0))
    assert (len(samples), samples.steps, len(batches)) == (12, 2, 2)
    for images, labels in batches:
        assert images.shape == (5, 32, 64, 3)
        assert images.dtype == np.float32
        assert labels.shape == (5, 16, 32)
        assert labels.dtype == np.uint8
    labelled = sum(
        np.sum(open_dataset(str(streets)).read(p)[1] != 255) for p in open_dataset(str(streets)).pairs("train")
    )
    assert samples.pixels.sum() == labelled


def test_batch_is_no_larger_than_the_split(streets: Path) -> None:
    samples = training_set(streets, batch=100)
    assert (samples.batch, samples.steps) == (12, 1)


def test_an_epoch_depends_on_seed_and_number_only(streets: Path) -> None:
    def pixels(seed: int, epoch: int) -> np.ndarray:
        return np.concatenate([images for images, _ in training_set(streets, seed).epoch(epoch)])

    assert np.array_equal(pixels(1, 3), pixels(1, 3))
    assert not np.array_equal(pixels(1, 3), pixels(1, 4))
    assert not np.array_equal(pixels(1, 3), pixels(2, 3))


def test_the_thread_ends_when_the_reader_leaves(streets: Path) -> None:
    batches = training_set(streets, batch=1).epoch(0)
    next(batches)
    assert threads() == ["augment"]
    batches.close()
    assert threads() == []


def test_a_single_class_is_refused(streets: Path) -> None:
    dataset = open_dataset(str(streets))
    dataset = dataset._replace(classes=dataset.classes[:1])
    with pytest.raises(UsageError, match=r"one class only \(Sky\)"):
        TrainingSet(dataset, dataset.pairs("train"), Sizes((64, 96), (32, 64)), 4, Augmentation(), 0)


def test_a_fault_in_the_thread_reaches_the_reader(streets: Path) -> None:
    with pytest.raises(TypeError):
        list(training_set(streets, stretch="wide").epoch(0))
    assert threads() == []
