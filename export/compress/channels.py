"""Channel pruning: the least important channels are taken out of the graph, so every target computes less.

Pruned are the first features and the last ones, the expansions of the inverted residuals and the channels of the head.
Not those of the bottlenecks, whose residual connections tie whole stages together, nor the classes.

Channels are compared across layers by what they are worth for each multiply-accumulate or millisecond that they
cost, eight at a time: tensor cores and the Edge TPU work on multiples of eight.

Three criteria:

- "taylor" (Molchanov et al. 2019, Importance Estimation for Neural Network Pruning, arXiv 1906.10771, section 3.2: a
  gate after the BatchNorm): the square of what the loss would change by without the channel, to first order, from
  labelled images. Comparable between layers as it is.
- "bn" (Liu et al. 2017, Network Slimming, arXiv 1708.06519): the scale of the channel in BatchNorm.
- "l1" (Li et al. 2017, arXiv 1608.08710, here of the kernels that read the channel; see models/slicing.py).

The last two need no images; each layer's values are divided by their mean, as they say nothing across layers.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import keras
import numpy as np

from edgeseg.errors import UsageError
from edgeseg.models.cost import operations
from edgeseg.models.network import build, with_channels
from edgeseg.models.slicing import SCORE, Arrays, Axis, channel_axes, channels_of, l1_importance, take_channels
from edgeseg.models.spec import NetworkSpec
from edgeseg.models.transfer import arrays_of

Criterion = Literal["taylor", "bn", "l1"]
CRITERIA = get_args(Criterion)

MULTIPLE = 8  # of the channels that stay
# Of the channels that a group had in the unpruned network at least a quarter stays. On images that a network has learnt
# by heart the gradients of its last stages are near zero, and Taylor takes nearly all: on fcn8-camvid, cut to 46 % of
# its time on a CPU and trained for 20 epochs, 69.2 % mIoU with this floor, 68.4 without.
SMALLEST_SHARE = 0.25
_BOTTLENECK = "_project"  # the ending of the layers that make the channels of a bottleneck


class OutOfReachError(UsageError):
    """A budget that pruning cannot reach."""


class Layout(NamedTuple):
    """Where the channels of a network lie, and what they cost."""

    axes: list[Axis]
    sizes: dict[str, int]  # channels of each group
    costs: Mapping[str, float]  # of each layer, as it is: multiply-accumulates, or milliseconds
    fewest: Mapping[str, float]  # channels that each group keeps at least

    def cost_at(self, sizes: Mapping[str, int]) -> float:
        """Cost of an image when the groups have these sizes."""
        shares = dict.fromkeys(self.costs, 1.0)
        for axis in self.axes:
            if axis.key.endswith("/kernel"):
                whole = sum(self.sizes[group] for group in axis.groups)
                shares[axis.layer] *= sum(sizes[group] for group in axis.groups) / whole
        return sum(cost * shares[layer] for layer, cost in self.costs.items())


def layout_of(network: keras.Model, spec: NetworkSpec, costs: Mapping[str, float] | None = None) -> Layout:
    """The layout of `network`, built by `spec`; its costs are multiply-accumulates where none are given."""
    axes = channel_axes(network)
    sizes = channels_of(axes, arrays_of(network))
    whole = channels_of(axes, arrays_of(build(spec._replace(channels=())))) if spec.channels else sizes
    fewest = {group: max(MULTIPLE, SMALLEST_SHARE * size) for group, size in whole.items()}
    macs = {step.name: step.macs for step in operations(network) if step.macs}
    return Layout(axes, sizes, costs or macs, fewest)


def prunable(layout: Layout) -> list[str]:
    """The groups of channels that may lose some, in the order of the network."""
    makers: dict[str, set[str]] = {}
    for axis in layout.axes:
        if len(axis.groups) == 1 and not axis.is_input and axis.key.endswith("/kernel"):
            makers.setdefault(axis.groups[0], set()).add(axis.layer)
    return [
        group
        for group, layers in makers.items()
        if SCORE not in layers and not any(layer.endswith(_BOTTLENECK) for layer in layers)
    ]


def importance(network: keras.Model, layout: Layout, criterion: Criterion, taylor: Arrays | None) -> Arrays:
    """How much each channel of each prunable group is worth; `taylor` is what `taylor_scores` found."""
    groups = prunable(layout)
    if criterion == "taylor":
        assert taylor is not None
        return {group: _summed(layout, group, taylor) for group in groups}
    arrays = arrays_of(network)
    if criterion == "l1":
        found = l1_importance(layout.axes, arrays)
    else:
        gammas = {key.split("/")[0]: np.abs(array) for key, array in arrays.items() if key.endswith("/gamma")}
        found = {group: _summed(layout, group, gammas) for group in groups}
    return {group: found[group] / max(1e-12, float(found[group].mean())) for group in groups}


def _summed(layout: Layout, group: str, by_norm: Arrays) -> np.ndarray:
    """What the BatchNorms of a group say of its channels, together."""
    norms = {axis.layer for axis in layout.axes if axis.groups == (group,) and axis.layer in by_norm}
    return np.sum([by_norm[name] for name in sorted(norms)], axis=0)


def taylor_scores(
    network: keras.Model,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    loss: Callable[[keras.KerasTensor, keras.KerasTensor], keras.KerasTensor],
) -> Arrays:
    """Mean over `batches` (images, labels) of (gamma dL/dgamma + beta dL/dbeta)^2 of every BatchNorm, by its name.

    `loss` is that of training, of labels and logits as the network gives them. Needs TensorFlow.
    """
    import tensorflow as tf

    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    values = [(layer.gamma.value, layer.beta.value) for layer in norms]
    sums = [np.zeros(layer.gamma.shape, np.float64) for layer in norms]
    count = 0
    for images, labels in batches:
        with tf.GradientTape() as tape:
            for gamma, beta in values:
                tape.watch([gamma, beta])
            value = loss(labels, network(images, training=False))
        slopes = tape.gradient(value, values)
        for total, (gamma, beta), (by_gamma, by_beta) in zip(sums, values, slopes, strict=True):
            total[...] += np.square((gamma * by_gamma + beta * by_beta).numpy())
        count += 1
    if not count:
        raise ValueError("no batch to estimate the importance of channels from")
    return {layer.name: total / count for layer, total in zip(norms, sums, strict=True)}


def choose(layout: Layout, worth: Arrays, fits: Callable[[Mapping[str, int]], bool]) -> dict[str, np.ndarray]:
    """Channels that stay, by group: those least worth their cost are dropped, MULTIPLE at a time, until the sizes fit.

    Raises OutOfReachError where that is not reached with the fewest channels that every group keeps.
    """
    order = {group: np.argsort(values, kind="stable") for group, values in worth.items()}  # least worth first
    sizes = dict(layout.sizes)
    dropped = dict.fromkeys(worth, 0)
    savings = {group: _saved_by_each(layout, group) for group in worth}
    while not fits(sizes):
        open_groups = [group for group in worth if sizes[group] - _step(sizes[group]) >= layout.fewest[group]]
        if not open_groups:
            raise OutOfReachError(
                f"with {SMALLEST_SHARE:.0%} of the channels in every layer the network is still beyond the budget",
                "give a larger one, or begin with a narrower network",
            )

        def price(group: str) -> float:
            step = order[group][dropped[group] : dropped[group] + _step(sizes[group])]
            return float(worth[group][step].sum()) / (savings[group] * len(step))

        cheapest = min(open_groups, key=price)
        step = _step(sizes[cheapest])
        dropped[cheapest] += step
        sizes[cheapest] -= step
    return {group: np.sort(order[group][count:]) for group, count in dropped.items() if count}


def _step(size: int) -> int:
    """How many to drop so that a multiple is left."""
    return size % MULTIPLE or MULTIPLE


def _saved_by_each(layout: Layout, group: str) -> float:
    """What a channel of a group costs in the unpruned network."""
    fewer = layout.sizes | {group: layout.sizes[group] - 1}
    return layout.cost_at(layout.sizes) - layout.cost_at(fewer)


def narrowed(
    network: keras.Model, spec: NetworkSpec, layout: Layout, kept: dict[str, np.ndarray]
) -> tuple[keras.Model, NetworkSpec]:
    """The network without the other channels: the same function as with them set to zero."""
    made = dict(spec.channels)
    for axis in layout.axes:
        group = axis.groups[0]
        if len(axis.groups) == 1 and group in kept and not axis.is_input and axis.key.endswith("/kernel"):
            made[axis.layer] = len(kept[group])
    smaller = with_channels(network, made)
    arrays = take_channels(layout.axes, arrays_of(network), kept)
    for layer in smaller.layers:
        layer.set_weights([arrays[f"{layer.name}/{weight.name}"] for weight in layer.weights])
    return smaller, spec._replace(channels=tuple(sorted(made.items())))


def to_share(layout: Layout, share: float) -> Callable[[Mapping[str, int]], bool]:
    """Whether sizes leave at most `share` of the cost."""
    limit = share * layout.cost_at(layout.sizes)
    return lambda sizes: layout.cost_at(sizes) <= limit


def groups_text(layout: Layout, kept: Mapping[str, Sequence[int] | np.ndarray]) -> str:
    """What was dropped, for people: a line for each group that lost channels."""
    lines = [f"  {group}: {layout.sizes[group]} -> {len(kept[group])}" for group in prunable(layout) if group in kept]
    return "\n".join(lines)
