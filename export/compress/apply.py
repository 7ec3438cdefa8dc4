"""One step of compression applied to a float network, before its fine-tuning."""

import itertools
from collections.abc import Callable, Iterator

import keras
import numpy as np

from edgeseg.datasets import Dataset
from edgeseg.errors import UsageError
from edgeseg.export.compress import channels, magnitude
from edgeseg.export.compress.latency import kept_for_speed
from edgeseg.export.compress.plan import Step
from edgeseg.export.compress.sensitivity import sensitivities
from edgeseg.export.compress.share import share
from edgeseg.export.source import FloatNetwork
from edgeseg.frames import dataset_frames
from edgeseg.models.coarse import plain_meanings
from edgeseg.models.cost import operations
from edgeseg.models.evaluate import to_float_input
from edgeseg.models.hold import channel_axis_of, convolutions_of, held_by, turn_negative_scales
from edgeseg.models.loss import SegmentationLoss, class_weights
from edgeseg.models.network import copy_of
from edgeseg.models.slicing import SCORE, Arrays
from edgeseg.palette import UNLABELED
from edgeseg.preprocess import resize

FEW = 4  # images whose masks tell how sensitive a layer is
IMAGES = 64  # whose loss tells what a channel is worth
# Kernels that cost a network more than they save keep more values: depthwise ones, with nine weights a channel, and
# small ones, which come first in the network. fcn8-camvid, 16 values, before any fine-tuning, 12 images of CamVid val:
# with this for small kernels too 97.4 % of the cells keep their class, else 52.4; 372 and 366 kB (Shannon) of weights.
MORE_CLUSTERS = 64
SMALL = 8192  # weights


def apply(
    source: FloatNetwork, step: Step, dataset: Dataset, criterion: channels.Criterion, log: Callable[[str], None]
) -> FloatNetwork:
    """The network after `step`. Raises UsageError where the budget of a step is out of reach."""
    if step.kind == "qat":  # which is all fine-tuning
        return source
    if step.kind == "channels":
        return _without_channels(source, step, dataset, criterion, log)
    network = copy_of(source.network)
    if step.kind == "share":
        _share(network, int(step.amount))
    else:
        dense = dense_kernels(network)
        if step.kind == "2:4":
            masks = {name: magnitude.two_of_four(kernel) for name, kernel in dense.items()}
        else:
            batch = np.concatenate([image for image, _ in itertools.islice(_batches(source, dataset), FEW)])
            masks = magnitude.masks_of(dense, step.amount, sensitivities(network, dense, batch))
        for name, mask in masks.items():
            network.get_layer(name).kernel.assign(np.where(mask, dense[name], 0))  # not -0, another symbol to LZMA
    return source._replace(network=network)


def rewound(source: FloatNetwork, early: FloatNetwork) -> FloatNetwork:
    """The weights of `early` with the zeros of `source`: a lottery ticket (Frankle et al. 2020, arXiv 1903.01611).

    Raises UsageError where the two are not of the same layers.
    """
    shapes = [[(w.path, tuple(w.shape)) for w in n.network.weights] for n in (source, early)]
    if shapes[0] != shapes[1]:
        raise UsageError(f"{early.path} has other layers than the network that is pruned", "rewind to one of the same")
    network = copy_of(early.network)
    for name, kernel in dense_kernels(source.network).items():
        layer = network.get_layer(name)
        layer.kernel.assign(np.where(kernel != 0, keras.ops.convert_to_numpy(layer.kernel), 0))
    return source._replace(network=network)


def dense_kernels(network: keras.Model) -> dict[str, np.ndarray]:
    """Kernels whose weights are pruned, by layer: not depthwise ones, nor that of the classes."""
    return {
        layer.name: keras.ops.convert_to_numpy(layer.kernel)
        for layer in convolutions_of(network)
        if not isinstance(layer, keras.layers.DepthwiseConv2D) and layer.name != SCORE
    }


def _share(network: keras.Model, clusters: int) -> None:
    is_pruned = held_by(network) == "zeros"
    turn_negative_scales(network)
    for layer in convolutions_of(network):
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        is_dear = isinstance(layer, keras.layers.DepthwiseConv2D) or kernel.size < SMALL
        most = max(clusters, MORE_CLUSTERS) if is_dear else clusters
        layer.kernel.assign(share(kernel, most, channel_axis_of(layer), is_pruned).kernel())


def _without_channels(
    source: FloatNetwork, step: Step, dataset: Dataset, criterion: channels.Criterion, log: Callable[[str], None]
) -> FloatNetwork:
    layout = channels.layout_of(source.network, source.card.spec)
    taylor = _taylor(source, dataset) if criterion == "taylor" else None
    worth = channels.importance(source.network, layout, criterion, taylor)
    if step.on_this_cpu:
        kept = kept_for_speed(source, step, worth, log)
    else:
        if step.params:
            layout = layout._replace(costs={s.name: s.weights for s in operations(source.network) if s.macs})
        left = step.macs / layout.cost_at(layout.sizes) if step.macs else 1 - step.amount
        kept = channels.choose(layout, worth, channels.to_share(layout, left))
    if not kept:
        raise UsageError(f"{step.text}: the network is within that budget already", "give a smaller one")
    log("channels that stay:\n" + channels.groups_text(layout, kept))
    network, spec = channels.narrowed(source.network, source.card.spec, layout, kept)
    card = source.card._replace(spec=spec, ranges=None)  # those of wider layers
    return source._replace(network=network, card=card)


def _taylor(source: FloatNetwork, dataset: Dataset) -> Arrays:
    """What channels are worth to the loss of training, on IMAGES images of train."""
    pixels = np.zeros(256, np.int64)
    for frame in dataset_frames(dataset, "train", IMAGES).read():
        pixels += np.bincount(np.asarray(frame.label).ravel(), minlength=256)
    count = len(dataset.classes)
    loss = SegmentationLoss(class_weights(pixels[:count], "sqrt"), 0.5, plain_meanings(count))
    return channels.taylor_scores(source.network, _batches(source, dataset), loss)


def _batches(source: FloatNetwork, dataset: Dataset) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Training images, one at a time, with labels in the cells of the logits."""
    spec = source.card.spec
    stride = spec.stride
    for frame in dataset_frames(dataset, "train", IMAGES).read():
        label = np.asarray(frame.label)
        rows, columns = (
            np.minimum(((np.arange(side // stride) + 0.5) * size / (side // stride)).astype(int), size - 1)
            for side, size in zip(spec.imgsz, label.shape, strict=True)
        )
        cells = label[np.ix_(rows, columns)]
        cells = np.where(cells < len(dataset.classes), cells, UNLABELED)
        yield to_float_input(resize(frame.image, spec.imgsz))[None], cells[None]
