"""Training batches: the whole split in memory, augmented ahead of the optimiser in one thread.

Memory: 4 bytes a pixel (RGB and label, uint8) for all images of the split, 254 MB for CamVid's 367.

Every sample is drawn from a generator seeded with (seed, epoch, position), so that a resumed run
sees exactly what an uninterrupted one does.
"""

import queue
import threading
from collections.abc import Generator, Sequence

import numpy as np

from edgeseg.datasets import Dataset, Pair
from edgeseg.errors import UsageError
from edgeseg.models.augment import Augmentation, Sizes, augment

Batch = tuple[np.ndarray, np.ndarray]

# Every second label of every second row is trained on, the first or the second by chance: a quarter of the work of a
# loss at full resolution, which is as much as that of the convolutions, at the same expected gradient.
LABEL_STEP = 2


class TrainingSet:
    """Images and labels of a split, and the batches of an epoch.

    Raises UsageError for a file that cannot be read, and where no pixel has a label.
    """

    def __init__(
        self,
        dataset: Dataset,
        pairs: Sequence[Pair],
        sizes: Sizes,
        batch: int,
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        self._samples = [dataset.read(pair) for pair in pairs]
        self._sizes = sizes
        self._augmentation = augmentation
        self._seed = seed
        self.batch = min(batch, len(pairs))
        self.pixels = np.zeros(len(dataset.classes), np.int64)  # by class
        for _, label in self._samples:
            self.pixels += np.bincount(label.ravel(), minlength=256)[: len(self.pixels)]
        if not self.pixels.any():
            raise UsageError(
                f"none of the {len(pairs)} training labels of {dataset.root} has a labelled pixel",
                f"label values must be 0 to {len(self.pixels) - 1}",
            )
        share = np.maximum(self.pixels, 1) / max(1, self.pixels.sum())
        self._wanted = share**-0.5  # rarer classes are in the middle of more crops

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def steps(self) -> int:
        """Batches in an epoch; the last images of a shuffle that fill no batch wait for the next epoch."""
        return len(self._samples) // self.batch

    def epoch(self, epoch: int) -> Generator[Batch, None, None]:
        """Batches (n, h, w, 3) float32 in [-1, 1] and (n, h/2, w/2) uint8, made one ahead in a thread."""
        ready: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=2)
        stop = threading.Event()

        def put(item: Batch | BaseException | None) -> bool:
            while not stop.is_set():
                try:
                    ready.put(item, timeout=0.2)
                    return True
                except queue.Full:
                    continue
            return False

        def produce() -> None:
            try:
                for step in range(self.steps):
                    if not put(self._batch(epoch, step)):
                        return
                put(None)
            except BaseException as error:  # handed to the training loop, which raises it
                put(error)

        thread = threading.Thread(target=produce, name="augment", daemon=True)
        try:  # from here on, as Ctrl-C may come while the thread starts
            thread.start()
            while (item := ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stop.set()
            if thread.is_alive():
                thread.join()

    def _batch(self, epoch: int, step: int) -> Batch:
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._samples))
        height, width = self._sizes.crop
        images = np.empty((self.batch, height, width, 3), np.float32)
        labels = np.empty((self.batch, height // LABEL_STEP, width // LABEL_STEP), np.uint8)
        for slot in range(self.batch):
            position = step * self.batch + slot
            rng = np.random.default_rng([self._seed, epoch, position])
            image, label = self._samples[order[position]]
            images[slot], label = augment(image, label, self._sizes, self._wanted, rng, self._augmentation)
            y, x = rng.integers(LABEL_STEP, size=2)
            labels[slot] = label[y::LABEL_STEP, x::LABEL_STEP]
        return images, labels
