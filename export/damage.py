"""What rounding to int8 costs, layer by layer: masks of a network in which one layer is int8 and all others float."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import KerasTensor, ops

from edgeseg.export.bias import with_corrected_biases
from edgeseg.models.activations import Observation
from edgeseg.models.evaluate import to_float_input
from edgeseg.models.fake_quant import Range, fake_quant, int8_operations, rounded_kernel
from edgeseg.models.hold import channel_axis_of, convolutions_of
from edgeseg.models.network import copy_of


class Damage(NamedTuple):
    """One operation of the int8 file, rounded alone: its weights, and what it gives."""

    layer: str  # its first one: the convolution, or the sum
    low: float  # of the range of its output
    high: float
    agreement: float  # share of the cells of the logits whose best class stays


def damage(
    network: keras.Model,
    seen: Observation,
    ranges: Mapping[str, Sequence[float]],
    images: Sequence[np.ndarray],
    report: Callable[[str], None],
) -> list[Damage]:
    """What each operation costs on RGB images (H, W, 3) uint8 of the network's size, worst first.

    `ranges` has all tensors of `quantised_tensors`; biases make up for rounded weights, as in an export.
    """
    operations = int8_operations(network)
    int8 = _with_rounded_kernels(with_corrected_biases(network, seen.means))
    mixed = copy_of(network)
    mixed.jit_compile = False
    switches = keras.Variable(np.zeros(len(operations), np.float32), trainable=False, name="switches")
    for number, operation in enumerate(operations):
        layer = mixed.get_layer(operation[-1])
        layer.call = partial(_switched, layer.call, Range(*ranges[layer.name]), switches, number)
    batches = [to_float_input(image)[None] for image in images]
    masks = [_mask(mixed, batch) for batch in batches]
    found = []
    for number, operation in enumerate(operations):
        report(f"layer {number + 1} of {len(operations)}")
        switches.assign(np.eye(len(operations), dtype=np.float32)[number])
        _copy(int8, mixed, operation)
        same = [np.mean(_mask(mixed, batch) == mask) for batch, mask in zip(batches, masks, strict=True)]
        _copy(network, mixed, operation)
        low, high = ranges[operation[-1]]
        found.append(Damage(operation[0], low, high, float(np.mean(same))))
    return sorted(found, key=lambda row: row.agreement)


def _with_rounded_kernels(network: keras.Model) -> keras.Model:
    for layer in convolutions_of(network):
        layer.kernel.assign(rounded_kernel(layer.kernel, channel_axis_of(layer)))
    return network


def _copy(source: keras.Model, target: keras.Model, layers: Sequence[str]) -> None:
    for name in layers:
        target.get_layer(name).set_weights(source.get_layer(name).get_weights())


def _switched(plain: Any, bounds: Range, switches: Any, number: int, *args: Any, **options: Any) -> KerasTensor:
    values = plain(*args, **options)
    return ops.cond(switches[number] > 0, lambda: fake_quant(values, bounds), lambda: values)


def _mask(network: keras.Model, batch: np.ndarray) -> np.ndarray:
    """Class of each cell of the logits."""
    return np.asarray(network.predict_on_batch(batch)).argmax(axis=-1)
