"""Training batches, made ahead of the optimiser in threads of their own.

Memory: 4 bytes a pixel (RGB and label, uint8) for images of the split, 254 MB for CamVid's 367, up to the bound of
edgeseg.models.store.

Every sample is drawn from a generator seeded with (seed, epoch, position), so that a resumed run
sees exactly what an uninterrupted one does.
"""

import queue
import threading
from collections.abc import Generator, Sequence
from multiprocessing.pool import ThreadPool

import numpy as np

from edgeseg.datasets import Dataset, Pair
from edgeseg.errors import UsageError
from edgeseg.models.augment import Augmentation, Sizes, augment, largest_used
from edgeseg.models.coarse import Also, plain_meanings
from edgeseg.models.store import READERS, Sample, Store

Batch = tuple[np.ndarray, np.ndarray]

# Every second label of every second row is trained on, the first or the second by chance: a quarter of the work of a
# loss at full resolution, which is as much as that of the convolutions, at the same expected gradient.
LABEL_STEP = 2


class TrainingSet:
    """Images and labels of a split, and the batches of an epoch.

    Raises UsageError for a file that cannot be read, where no pixel has a label, and for a single class.
    """

    def __init__(
        self,
        dataset: Dataset,
        pairs: Sequence[Pair],
        sizes: Sizes,
        batch: int,
        augmentation: Augmentation,
        seed: int,
        also: Also | None = None,
    ) -> None:
        dataset.require_several_classes()
        largest = largest_used(sizes.imgsz, augmentation)
        self._store = Store(dataset, pairs, largest)
        self._also = Store(also.dataset, also.pairs, largest) if also else None
        self._sizes = sizes
        self._augmentation = augmentation
        self._seed = seed
        self.batch = min(batch, len(pairs))
        self._others = min(self.batch - 1, round(also.share * self.batch)) if also else 0  # of each batch
        self.pixels = self._store.pixels  # by class
        if not self.pixels.any():
            raise UsageError(
                f"none of the {len(pairs)} training labels of {dataset.root} has a labelled pixel",
                f"label values must be 0 to {len(self.pixels) - 1}",
            )
        share = np.maximum(self.pixels, 1) / max(1, self.pixels.sum())
        self.meanings = also.meanings if also else plain_meanings(len(share))  # of the label values in batches
        self._wanted = self.meanings.spread(share**-0.5, share)  # rarer classes are in the middle of more crops

    def __len__(self) -> int:
        return len(self._store)

    @property
    def images(self) -> int:
        """How many there are of both datasets."""
        return len(self._store) + len(self._also or ())

    @property
    def steps(self) -> int:
        """Batches in an epoch; the last images of a shuffle that fill no batch wait for the next epoch."""
        return len(self._store) // (self.batch - self._others)

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
                with ThreadPool(min(READERS, self.batch)) as pool:
                    for step in range(self.steps):
                        if not put(self._batch(pool, epoch, step)):
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

    def _batch(self, pool: ThreadPool, epoch: int, step: int) -> Batch:
        own = self.batch - self._others
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self))

        def drawn(slot: int) -> Sample:
            rng = np.random.default_rng([self._seed, epoch, step * self.batch + slot])
            if self._also and slot >= own:
                image, label = self._also[int(rng.integers(len(self._also)))]
            else:
                image, label = self._store[order[step * own + slot]]
            image, label = augment(image, label, self._sizes, self._wanted, rng, self._augmentation)
            y, x = rng.integers(LABEL_STEP, size=2)
            return image, label[y::LABEL_STEP, x::LABEL_STEP]

        images, labels = zip(*pool.map(drawn, range(self.batch)), strict=True)
        return np.stack(images), np.stack(labels)
