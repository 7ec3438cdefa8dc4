"""A Keras network as the steps of an inference engine: BatchNorm, padding and ReLU belong to their convolution."""

from collections import Counter
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from edgeseg.errors import UsageError

Pads = tuple[int, int, int, int]  # top, left, bottom, right: the order of ONNX
Pair = tuple[int, int]

NO_PADS: Pads = (0, 0, 0, 0)


class Step(NamedTuple):
    """One operation. `name` is that of its last Keras layer, and of the tensor that it makes."""

    kind: str  # conv | deconv | add | concat | resize | pool
    name: str
    inputs: tuple[str, ...]
    shape: tuple[int, int, int]  # of the output: channels, height, width
    weight: np.ndarray | None = None  # float32; conv (O, I / groups, h, w), deconv (I, O, h, w)
    bias: np.ndarray | None = None  # (O,) float32
    strides: Pair = (1, 1)
    pads: Pads = NO_PADS
    dilations: Pair = (1, 1)
    groups: int = 1
    clip: float | None = None  # the ceiling of a ReLU; infinity for a plain one; None for no ReLU
    method: str = ""  # resize: linear | nearest; pool: average | max


def fold(network: keras.Model) -> list[Step]:
    """The steps of a functional Keras network of one input and one output, in order of execution.

    Channels come first in every shape and weight. A step reads tensors of earlier steps or the network's
    input, which has the name of its layer. Raises UsageError for a layer that cannot be expressed.
    """
    return _Folder(network).steps()


class _Folder:
    def __init__(self, network: keras.Model) -> None:
        self._made: dict[str, Step] = {}  # by the layer whose output it is, while later layers may still join it
        self._pads: dict[str, tuple[str, Pads]] = {}
        idle = (layers.InputLayer, layers.Dropout, layers.SpatialDropout2D)
        self._layers = [op for op in network.operations if not isinstance(op, idle)]
        self._sources = {layer.name: tuple(_source(t) for t in _arguments(layer)) for layer in self._layers}
        self._readers = Counter(name for names in self._sources.values() for name in names)

    def steps(self) -> list[Step]:
        for layer in self._layers:
            self._add(layer)
        return list(self._made.values())

    def _add(self, layer: Any) -> None:
        sources = self._sources[layer.name]
        if isinstance(layer, layers.ZeroPadding2D):
            (top, bottom), (left, right) = layer.padding
            self._pads[layer.name] = (sources[0], (top, left, bottom, right))
        elif isinstance(layer, layers.BatchNormalization | layers.ReLU):
            self._join(layer, sources[0])
        else:
            step = self._step(layer, sources)
            self._made[layer.name] = step

    def _join(self, layer: Any, source: str) -> None:
        """Fold a BatchNorm or a ReLU into the convolution before it, which has no other reader."""
        step = self._made.get(source)
        if step is None or step.kind not in ("conv", "deconv") or step.clip is not None or self._readers[source] != 1:
            raise _unsupported(layer, f"it follows {source}, which it cannot be folded into")
        if isinstance(layer, layers.BatchNormalization):
            joined = _with_batch_norm(step, layer)
        else:
            joined = step._replace(clip=_ceiling(layer))
        del self._made[source]
        self._made[layer.name] = joined._replace(name=layer.name)

    def _step(self, layer: Any, sources: tuple[str, ...]) -> Step:
        shape = _channels_first(layer.output.shape)
        step = Step("", layer.name, sources, shape)
        if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
            source, padding = self._pads.get(sources[0], (sources[0], NO_PADS))
            return _conv(layer, step._replace(inputs=(source,)), padding)
        if any(source in self._pads for source in sources):
            raise _unsupported(layer, "padding is for convolutions only")
        if isinstance(layer, layers.Conv2DTranspose):
            return _deconv(layer, step)
        if isinstance(layer, layers.Add):
            return step._replace(kind="add")
        if isinstance(layer, layers.Concatenate) and layer.axis in (-1, 3):
            return step._replace(kind="concat")
        if isinstance(layer, layers.UpSampling2D):
            method = {"bilinear": "linear", "nearest": "nearest"}.get(layer.interpolation)
            if method:
                return step._replace(kind="resize", strides=tuple(layer.size), method=method)
        if isinstance(layer, layers.AveragePooling2D | layers.MaxPooling2D):
            return _pool(layer, step)
        raise _unsupported(layer, "this export knows no such operation")


def _arguments(layer: Any) -> list[Any]:
    """The Keras tensors that a layer reads where its network was built."""
    return layer._inbound_nodes[0].input_tensors


def _source(tensor: Any) -> str:
    """The layer that makes a tensor; dropout does nothing at inference."""
    history = tensor._keras_history
    if history.node_index:
        raise _unsupported(history.operation, "it is used more than once")
    if isinstance(history.operation, layers.Dropout | layers.SpatialDropout2D):
        return _source(_arguments(history.operation)[0])
    return str(history.operation.name)


def _channels_first(shape: tuple[Any, ...]) -> tuple[int, int, int]:
    return (shape[3], shape[1], shape[2])


def _unsupported(layer: Any, why: str) -> UsageError:
    return UsageError(
        f"layer {layer.name} ({type(layer).__name__}) cannot be exported to ONNX: {why}",
        "export a network of `edgeseg train`",
    )


def _conv(layer: Any, step: Step, padding: Pads) -> Step:
    if not _is_linear(layer):
        raise _unsupported(layer, "its activation must be a layer of its own")
    kernel = np.asarray(layer.kernel)
    groups = getattr(layer, "groups", 1)
    weight = kernel.transpose(3, 2, 0, 1)
    if isinstance(layer, layers.DepthwiseConv2D):
        weight = kernel.transpose(2, 3, 0, 1).reshape(-1, 1, *kernel.shape[:2])
        groups = kernel.shape[2]
    if layer.padding == "same":
        top, left, bottom, right = padding
        same = _same_pads(layer, weight.shape[2:], layer.dilation_rate)  # after an explicit padding
        padding = (top + same[0], left + same[1], bottom + same[2], right + same[3])
    return step._replace(
        kind="conv",
        weight=np.ascontiguousarray(weight, np.float32),
        bias=_bias(layer, weight.shape[0]),
        strides=tuple(layer.strides),
        dilations=tuple(layer.dilation_rate),
        pads=padding,
        groups=groups,
    )


def _same_pads(layer: Any, kernel: Pair, dilations: Pair = (1, 1)) -> Pads:
    """What padding "same" adds to the input of a layer, by the rule of TensorFlow: the odd one goes after."""
    axes = zip(layer.input.shape[1:3], kernel, layer.strides, dilations, strict=True)
    rows, columns = (_same(*axis) for axis in axes)
    return rows[0], columns[0], rows[1], columns[1]


def _same(size: int, kernel: int, stride: int, dilation: int) -> Pair:
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _pool(layer: Any, step: Step) -> Step:
    """Padding is left out of the average, or of the maximum."""
    return step._replace(
        kind="pool",
        weight=np.empty((1, 1, *layer.pool_size)),  # the window takes the place of a kernel's size
        strides=tuple(layer.strides),
        pads=_same_pads(layer, layer.pool_size) if layer.padding == "same" else NO_PADS,
        method="average" if isinstance(layer, layers.AveragePooling2D) else "max",
    )


def _deconv(layer: Any, step: Step) -> Step:
    (kernel_h, kernel_w), (stride_h, stride_w) = layer.kernel_size, layer.strides
    extra = (kernel_h - stride_h, kernel_w - stride_w)
    if layer.padding != "same" or min(extra) < 0 or not _is_linear(layer):
        raise _unsupported(layer, "only padding 'same' with kernels of at least the stride is known")
    weight = np.asarray(layer.kernel).transpose(3, 2, 0, 1)
    return step._replace(
        kind="deconv",
        weight=np.ascontiguousarray(weight, np.float32),
        bias=_bias(layer, weight.shape[1]),
        strides=(stride_h, stride_w),
        pads=(extra[0] // 2, extra[1] // 2, extra[0] - extra[0] // 2, extra[1] - extra[1] // 2),
    )


def _is_linear(layer: Any) -> bool:
    return layer.activation is keras.activations.linear


def _bias(layer: Any, channels: int) -> np.ndarray:
    return np.array(layer.bias, np.float32) if layer.use_bias else np.zeros(channels, np.float32)


def _ceiling(layer: layers.ReLU) -> float:
    if layer.negative_slope or layer.threshold:
        raise _unsupported(layer, "only ReLU and ReLU6 are known")
    return float("inf") if layer.max_value is None else float(layer.max_value)


def _with_batch_norm(step: Step, layer: layers.BatchNormalization) -> Step:
    """The convolution with the scale and shift of BatchNorm at inference (Ioffe and Szegedy 2015, section 3.1)."""
    assert step.weight is not None and step.bias is not None
    mean, variance = (np.asarray(v, np.float64) for v in (layer.moving_mean, layer.moving_variance))
    scale = 1 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        scale = scale * np.asarray(layer.gamma, np.float64)
    shift = np.asarray(layer.beta, np.float64) if layer.center else 0.0
    axis = 0 if step.kind == "conv" else 1
    along = [1, 1, 1, 1]
    along[axis] = -1
    return step._replace(
        weight=(step.weight * scale.reshape(along)).astype(np.float32),
        bias=((step.bias - mean) * scale + shift).astype(np.float32),
    )
