"""Averaged weights, and BatchNorm statistics that fit them."""

import itertools
from collections.abc import Iterable

import keras
import numpy as np

EVERY = 8  # steps between two updates; copying the weights at each would slow a GPU down
DECAY = 0.998  # per step: an average over about 500 steps


class WeightAverage:
    """Exponential moving average of all weights and statistics of a network (Polyak averaging)."""

    def __init__(self, network: keras.Model) -> None:
        self._network = network
        self._steps = 0
        self._values = network.get_weights()

    def update(self) -> None:
        """Call after each optimiser step."""
        self._steps += 1
        if self._steps % EVERY and self._steps > EVERY:
            return  # but a run of a few steps must not end where it started
        # Early on the start counts less than a fixed decay would make it.
        decay = min(DECAY, self._steps / (self._steps + 10)) ** EVERY
        for average, value in zip(self._values, self._network.get_weights(), strict=True):
            average[...] += (1 - decay) * (value - average)

    def copy_to(self, network: keras.Model) -> None:
        network.set_weights(self._values)

    def state(self) -> list[np.ndarray]:
        return [np.array(self._steps), *self._values]

    def set_state(self, state: list[np.ndarray]) -> None:
        self._steps = int(state[0])
        self._values = [np.array(value) for value in state[1:]]


def restore_batch_norm(network: keras.Model, batches: Iterable[np.ndarray], count: int) -> None:
    """Set the moving statistics of each BatchNorm that is not frozen to their mean over `count` batches.

    The moving average that training leaves lags behind the weights, and does not belong to averaged
    weights at all; on CamVid that cost 8 points of mIoU. Raises ValueError without a batch.
    """
    norms = [n for n in network.layers if isinstance(n, keras.layers.BatchNormalization) and n.trainable]
    momenta = [layer.momentum for layer in norms]
    sums = [[np.zeros(w.shape, np.float64) for w in layer.non_trainable_variables] for layer in norms]
    seen = 0
    for layer in norms:
        layer.momentum = 0.0  # a forward pass leaves the statistics of its batch
    try:
        for images in itertools.islice(batches, count):
            network(images, training=True)
            for layer, total in zip(norms, sums, strict=True):
                for partial, variable in zip(total, layer.non_trainable_variables, strict=True):
                    partial[...] += keras.ops.convert_to_numpy(variable)
            seen += 1
    finally:
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
    if not seen:
        raise ValueError("no batch to estimate the statistics from")
    for layer, total in zip(norms, sums, strict=True):
        for variable, value in zip(layer.non_trainable_variables, total, strict=True):
            variable.assign((value / seen).astype(np.float32))
