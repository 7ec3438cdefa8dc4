"""Images and labels of a split: in memory as far as they fit there, read anew from their files where they do not."""

import os
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool

import cv2
import numpy as np

from edgeseg.datasets import Dataset, Pair
from edgeseg.device.ram import read_ram
from edgeseg.preprocess import resize

Sample = tuple[np.ndarray, np.ndarray]

READERS = os.cpu_count() or 1  # threads
MEMORY = 4 << 30  # bytes for images and labels, or half of what is available if that is less


class Store:
    """The samples of a split by number: image (h, w, 3) uint8 RGB and label (h, w) uint8.

    What is larger than `largest`, (height, width), is shrunk to that, images as on the device (see
    edgeseg.preprocess). How many samples fit into `memory` bytes changes nothing but the time that they take.

    Reads every file once. Raises UsageError for one that cannot be read.
    """

    def __init__(
        self, dataset: Dataset, pairs: Sequence[Pair], largest: tuple[int, int], memory: int | None = None
    ) -> None:
        self._dataset, self._pairs, self._largest = dataset, pairs, largest
        self.pixels = np.zeros(len(dataset.classes), np.int64)  # by class, of the labels as they are used
        self._kept: list[Sample] = []  # the first ones
        free = _memory() if memory is None else memory
        with ThreadPool(READERS) as pool:
            for sample, counts in pool.imap(self._counted, pairs):
                self.pixels += counts[: len(self.pixels)]
                free -= sum(pixels.nbytes for pixels in sample)
                if free >= 0:
                    self._kept.append(sample)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Sample:
        return self._kept[index] if index < len(self._kept) else self._read(self._pairs[index])

    def _counted(self, pair: Pair) -> tuple[Sample, np.ndarray]:
        sample = self._read(pair)
        return sample, np.bincount(sample[1].ravel(), minlength=256)

    def _read(self, pair: Pair) -> Sample:
        image, label = self._dataset.read(pair)
        height, width = size = (min(label.shape[0], self._largest[0]), min(label.shape[1], self._largest[1]))
        if size == label.shape:
            return image, label
        return resize(image, size), cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def _memory() -> int:
    ram = read_ram()
    return MEMORY if ram is None else min(MEMORY, ram.available // 2)
