"""Samples are the same wherever they lie, and no larger than of use."""

from pathlib import Path

import numpy as np
import pytest

from edgeseg.datasets import open_dataset
from edgeseg.errors import UsageError
from edgeseg.models import store
from edgeseg.models.augment import Augmentation, Sizes
from edgeseg.models.samples import TrainingSet
from edgeseg.models.store import Store

WHOLE = (1000, 1000)


def read(root: Path, largest: tuple[int, int] = WHOLE, memory: int | None = None) -> Store:
    dataset = open_dataset(str(root))
    return Store(dataset, dataset.pairs("train"), largest, memory)


@pytest.mark.parametrize("samples", [0, 5])
def test_what_does_not_fit_into_memory_is_read_anew(
    streets: Path, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(str(streets))
    whole, part = read(streets), read(streets, memory=samples * 64 * 96 * 4)
    assert np.array_equal(whole.pixels, part.pixels)
    opened: list[str] = []

    def noted(path: str) -> np.ndarray:
        opened.append(path)
        return np.zeros((64, 96, 3), np.uint8)

    monkeypatch.setattr("edgeseg.datasets.base.read_rgb", noted)
    for index, pair in enumerate(dataset.pairs("train")):
        assert np.array_equal(whole[index][1], part[index][1])
        assert opened == ([pair.image] if index >= samples else [])
        opened.clear()


def test_batches_do_not_depend_on_memory(streets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def batches() -> list[np.ndarray]:
        dataset = open_dataset(str(streets))
        sizes = Sizes((64, 96), (32, 64))
        samples = TrainingSet(dataset, dataset.pairs("train"), sizes, 4, Augmentation(), 0)
        return [array for batch in samples.epoch(0) for array in batch]

    expected = batches()
    monkeypatch.setattr(store, "MEMORY", 100000)  # 4 of the 12
    for array, same in zip(batches(), expected, strict=True):
        assert np.array_equal(array, same)


def test_large_images_are_shrunk_with_their_labels(streets: Path) -> None:
    dataset = open_dataset(str(streets))
    image, label = dataset.read(dataset.pairs("train")[0])
    small_image, small_label = read(streets, (32, 200))[0]
    assert (small_image.shape, small_label.shape) == ((32, 96, 3), (32, 96))
    assert set(np.unique(small_label)) <= set(np.unique(label))
    # Sky above, road below: both are where they were.
    assert np.array_equal(small_label[[0, -1]], label[[0, -1]])
    assert np.abs(small_image.mean(axis=(0, 1)) - image.mean(axis=(0, 1))).max() < 2


def test_a_faulty_file_is_named(streets: Path, tmp_path: Path) -> None:
    for folder in ("train", "trainannot"):
        (tmp_path / folder).mkdir()
        for path in (streets / folder).iterdir():
            (tmp_path / folder / path.name).write_bytes(path.read_bytes())
    (tmp_path / "train" / "a_04.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"a_04\.png cannot be read"):
        read(tmp_path)
