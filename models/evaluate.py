"""Masks of a float network on a labelled split, made with the device's own resize and upsampling."""

from collections.abc import Iterable, Iterator

import keras
import numpy as np

from edgeseg.datasets import Dataset, Pair
from edgeseg.metrics import Scores, boundary_confusions, scores
from edgeseg.postprocess import upsample_argmax
from edgeseg.preprocess import resize


def to_float_input(rgb: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 -> float32 in [-1, 1], the range of the networks."""
    return rgb.astype(np.float32) / 127.5 - 1


def logits_of(network: keras.Model, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Logits (h, w, classes) float32 of each RGB image (H, W, 3) uint8 of any size."""
    height, width = network.input_shape[1:3]
    for image in images:
        batch = to_float_input(resize(image, (height, width)))[None]
        yield np.asarray(keras.ops.convert_to_numpy(network.predict_on_batch(batch)))[0]


def scores_on(network: keras.Model, dataset: Dataset, pairs: Iterable[Pair]) -> Scores:
    """Accuracy of the network over labelled pairs, masks at the size of the labels."""
    classes = len(dataset.classes)
    total = np.zeros((2, classes, classes + 1), np.int64)
    for pair in pairs:
        image, label = dataset.read(pair)
        (logits,) = logits_of(network, [image])
        total += boundary_confusions(label, upsample_argmax(logits, label.shape), classes)
    return scores(total, dataset.classes)
