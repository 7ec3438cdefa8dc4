"""What a network costs: parameters, multiply-accumulates and memory, read from its Keras graph.

BatchNorm, ReLU, padding and dropout are no operations of their own: every inference engine joins them with a
convolution beside them.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import keras
from keras import layers

from edgeseg.models.network import build
from edgeseg.models.spec import NetworkSpec

_JOINED = (
    layers.BatchNormalization,
    layers.ReLU,
    layers.ZeroPadding2D,
    layers.Dropout,
    layers.SpatialDropout2D,
)


class Operation(NamedTuple):
    """One step of an inference, or the input image: it has no `inputs`. Sizes are numbers of elements of one image."""

    name: str  # and of the tensor that it writes
    inputs: tuple[str, ...]
    read: int
    written: int
    weights: int = 0  # kernel and bias
    macs: int = 0
    depthwise: bool = False


class Cost(NamedTuple):
    """`parameters` counts all weights; `macs` is the multiply-accumulates of one image (no additions, no resizes).

    `peak_activations` is the most elements that are needed at the same time, bytes in int8: while an operation runs,
    what it reads, what it writes, and every earlier tensor that a later operation still reads.
    """

    parameters: int
    macs: int
    peak_activations: int


def cost_of(network: keras.Model) -> Cost:
    """Count the cost of a functional network of one input and static size, (None, H, W, 3)."""
    steps = operations(network)
    return Cost(network.count_params(), sum(step.macs for step in steps), peak_activations(steps))


def outline(spec: NetworkSpec) -> keras.Model:
    """The network of `spec` without values in its weights: enough to count, and built in a third of the time."""
    with keras.StatelessScope(initialize_variables=False):
        return build(spec)


def operations(network: keras.Model) -> list[Operation]:
    """The operations of a functional network in order of execution, the input first."""
    made: dict[str, Operation] = {}  # by the name of each layer whose output it is
    steps = []
    for layer in network.operations:
        sources = [made[tensor._keras_history.operation.name] for tensor in layer._inbound_nodes[0].input_tensors]
        if isinstance(layer, _JOINED):
            made[layer.name] = sources[0]
            continue
        made[layer.name] = _operation(layer, sources)
        steps.append(made[layer.name])
    return steps


def scaled(steps: Sequence[Operation], ratio: Fraction) -> list[Operation]:
    """The operations for an image of `ratio` times as many pixels.

    Exact for the FCNs, whose every tensor grows with the image; the bins of SPP do not, 0.2 % of its cost.
    """
    return [
        step._replace(read=int(step.read * ratio), written=int(step.written * ratio), macs=int(step.macs * ratio))
        for step in steps
    ]


def peak_activations(steps: Sequence[Operation]) -> int:
    """The most elements alive at once (see Cost), by the last reader of each tensor; the last output stays."""
    last_reader = {name: number for number, step in enumerate(steps) for name in step.inputs}
    alive: dict[str, int] = {}
    peak = 0
    for number, step in enumerate(steps):
        alive[step.name] = step.written
        peak = max(peak, sum(alive.values()))
        alive = {name: size for name, size in alive.items() if last_reader.get(name, len(steps)) > number}
    return peak


def _operation(layer: Any, sources: list[Operation]) -> Operation:
    return Operation(
        layer.name,
        tuple(source.name for source in sources),
        sum(source.written for source in sources),
        math.prod(layer.output.shape[1:]),
        layer.count_params() if isinstance(layer, layers.Layer) else 0,
        _macs(layer),
        isinstance(layer, layers.DepthwiseConv2D),
    )


def _macs(layer: Any) -> int:
    """Each weight of a kernel is used once per output pixel; of a transposed one, once per input pixel."""
    if isinstance(layer, layers.Conv2DTranspose):
        pixels = layer.input.shape[1:3]
    elif isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
        pixels = layer.output.shape[1:3]
    elif isinstance(layer, layers.Dense):
        pixels = layer.output.shape[1:-1]
    else:
        return 0
    return math.prod(pixels) * math.prod(layer.kernel.shape)
