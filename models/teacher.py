"""Networks that another one learns from: their mean probabilities for a batch of crops."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from edgeseg.errors import UsageError
from edgeseg.models.file import load_network
from edgeseg.models.network import build
from edgeseg.models.weights import name_of
from edgeseg.palette import SegClass


class Teacher:
    """An ensemble of trained networks, built for crops.

    Raises UsageError for a file that is no network of edgeseg, and for one with other classes.
    """

    def __init__(self, paths: Sequence[Path], classes: Sequence[SegClass], crop: tuple[int, int], stride: int) -> None:
        image = keras.Input((*crop, 3))
        size = (crop[0] // stride, crop[1] // stride)
        networks = [_network(path, classes, crop) for path in paths]
        for number, network in enumerate(networks):
            network.name = f"teacher{number}"  # two of one architecture would share its name
        votes = [_resized(keras.ops.softmax(network(image)), size) for network in networks]
        self._network = keras.Model(image, keras.layers.average(votes) if len(votes) > 1 else votes[0])
        self.sources = tuple(
            f"{name_of(path)} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in paths
        )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities (n, h/stride, w/stride, classes) float32 for images (n, h, w, 3) in [-1, 1]."""
        return np.asarray(keras.ops.convert_to_numpy(self._network.predict_on_batch(images)))


def _network(path: Path, classes: Sequence[SegClass], crop: tuple[int, int]) -> keras.Model:
    trained, card = load_network(path)
    theirs, ours = ([c.name for c in group] for group in (card.classes, classes))
    if theirs != ours:
        raise UsageError(
            f"the teacher {path} knows the classes {', '.join(theirs)}; this data has {', '.join(ours)}",
            "give --teacher a network that was trained on these classes",
        )
    network = build(card.spec._replace(imgsz=crop))
    network.set_weights(trained.get_weights())
    return network


def _resized(probabilities: keras.KerasTensor, size: tuple[int, int]) -> keras.KerasTensor:
    """At the resolution of the learner, which may have another output stride."""
    if probabilities.shape[1:3] == size:
        return probabilities
    return keras.ops.image.resize(probabilities, size, interpolation="bilinear", antialias=True)
