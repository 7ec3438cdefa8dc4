"""ONNX for TensorRT: opset 13, batch 1, static, channels first inside; float, float16, or int8 with explicit Q/DQ.

The camera's frame goes in as it is, (1, H, W, 3), and is normalised in the graph; logits come out as
(1, classes, h, w) float32. Opset 13 is the highest that TensorRT 8.2 reads (JetPack 4.6), and the first with
per-channel Q/DQ (onnx-tensorrt, docs/operators.md).

int8 follows NVIDIA's rules for explicit quantisation (TensorRT developer guide, "Explicit Quantization"): symmetric,
zero points 0; float32 weights followed by a per-channel Q/DQ pair, per-tensor for transposed convolutions; float
biases; the input of a convolution and the branch of a sum that no convolution can absorb are quantised; the
inputs of a concatenation share a scale.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from edgeseg.errors import CheckFailed
from edgeseg.export.fold import Step
from edgeseg.export.ranges import INT8_MAX
from edgeseg.version import __version__

OPSET = 13
IR_VERSION = 7  # of ONNX 1.8, which came with opset 13
PIXEL_SCALE, PIXEL_OFFSET = 1 / 127.5, -1.0  # 0..255 to the -1..1 of the networks
NORMALISED = "normalised"  # the tensor (1, 3, H, W) of these values

InputType = Literal["uint8", "float32"]
Ranges = Mapping[str, float]  # largest magnitude of a tensor


class Graph(NamedTuple):
    """What goes into an ONNX file."""

    steps: list[Step]
    input_name: str
    imgsz: tuple[int, int]  # height, width
    input_type: InputType = "uint8"
    weights: Literal["float32", "float16"] = "float32"  # what they are rounded to
    float16: bool = False  # the type of weights and activations in the file; float32 if not
    ranges: Ranges | None = None  # int8 with these ranges; None: float
    keep_float: Collection[str] = ()  # convolutions that stay in float in an int8 graph


def to_onnx(graph: Graph, name: str) -> ModelProto:
    """Build the ONNX model; checked by onnx. Raises CheckFailed if a tensor to be quantised has no range."""
    return _Emitter(graph).model(name)


class _Emitter:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._type = np.dtype(np.float16 if graph.float16 else np.float32)
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self._quantised: dict[str, str] = {}  # a tensor -> what comes out of its Q/DQ pair
        self._producers = {step.name: step for step in graph.steps}
        self._readers = Counter(name for step in graph.steps for name in step.inputs)
        self._shared = _shared_ranges(graph)
        self._read_in_float = {name for step in graph.steps for name in step.inputs if not self._quantises(step, name)}

    def model(self, name: str) -> ModelProto:
        height, width = self._graph.imgsz
        last = self._graph.steps[-1]
        self._normalise()
        for step in self._graph.steps:
            getattr(self, "_" + step.kind)(step)
        if self._graph.float16:
            self._node("Cast", [last.name], "logits_float32", to=TensorProto.FLOAT)
        self._nodes[-1].output[0] = "logits"
        image_type = TensorProto.UINT8 if self._graph.input_type == "uint8" else TensorProto.FLOAT
        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info("image", image_type, [1, height, width, 3])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, *last.shape])],
            list(self._constants.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="edgeseg")
        model.producer_version = __version__
        model.ir_version = IR_VERSION
        checker.check_model(model, full_check=True)
        return model

    def _normalise(self) -> None:
        """Pixels to the network's range, in float32: a pixel times 1/127.5 would lose a bit in float16."""
        image = "image"
        if self._graph.input_type == "uint8":
            image = self._node("Cast", [image], "pixels", to=TensorProto.FLOAT)
        planes = self._node("Transpose", [image], "planes", perm=[0, 3, 1, 2])
        scale, offset = (
            self._constant(name, np.full((1, 1, 1, 1), value, np.float32))
            for name, value in (("pixel_scale", PIXEL_SCALE), ("pixel_offset", PIXEL_OFFSET))
        )
        scaled = self._node("Mul", [planes, scale], "scaled")
        self._normalised = self._node("Add", [scaled, offset], NORMALISED)
        if self._graph.float16:
            self._normalised = self._node("Cast", [NORMALISED], "normalised_float16", to=TensorProto.FLOAT16)

    def _conv(self, step: Step) -> None:
        self._convolution(step, "Conv", dilations=step.dilations)

    def _deconv(self, step: Step) -> None:
        self._convolution(step, "ConvTranspose")

    def _convolution(self, step: Step, operator: str, **attributes: object) -> None:
        assert step.weight is not None and step.bias is not None
        source = self._source(step.inputs[0])
        if self._graph.ranges is not None and step.name not in self._graph.keep_float:
            source = self._quantise(step.inputs[0])
            weight = self._quantise_weight(step, 0 if operator == "Conv" else None)
        else:
            rounded = step.weight.astype(self._graph.weights).astype(self._type)
            weight = self._constant(f"{step.name}/weight", rounded)
        bias = self._constant(f"{step.name}/bias", step.bias.astype(self._type))
        self._node(
            operator,
            [source, weight, bias],
            step.name if step.clip is None else f"{step.name}/linear",
            kernel_shape=step.weight.shape[2:],
            strides=step.strides,
            pads=step.pads,
            group=step.groups,
            **attributes,
        )
        if step.clip is None:
            return
        if np.isinf(step.clip) or self._saturates(step):
            self._node("Relu", [f"{step.name}/linear"], step.name)
        else:
            limits = [self._constant(f"clip_{value:g}", np.array(value, self._type)) for value in (0, step.clip)]
            self._node("Clip", [f"{step.name}/linear", *limits], step.name)

    def _saturates(self, step: Step) -> bool:
        """Whether int8 cuts off at the ceiling of a ReLU6, or below: then a plain ReLU gives the same.

        TensorRT has kernels for a depthwise convolution with ReLU and int8 output, and not for every other
        activation (NVIDIA/TensorRT#3385).
        """
        last = step is self._graph.steps[-1]
        if self._graph.ranges is None or step.clip is None or last or step.name in self._read_in_float:
            return False
        return self._shared[step.name] <= step.clip * (1 + 1e-6)

    def _quantises(self, step: Step, name: str) -> bool:
        """Whether a step reads a tensor in int8."""
        if self._graph.ranges is None or step.kind == "resize" or step.name in self._graph.keep_float:
            return False
        return step.kind != "add" or name != self._absorber(step)

    def _add(self, step: Step) -> None:
        """A sum is absorbed by one convolution before it; its other branch is read in int8."""
        absorber = self._absorber(step)
        inputs = [self._source(name) if name == absorber else self._quantise(name) for name in step.inputs]
        self._node("Add", inputs, step.name)

    def _absorber(self, step: Step) -> str | None:
        """The branch of a sum whose convolution computes the sum too: one without a ReLU, as in a residual block."""
        return next((name for name in reversed(step.inputs) if self._absorbs(name)), None)

    def _absorbs(self, name: str) -> bool:
        step = self._producers.get(name)
        if step is None or step.kind != "conv" or self._readers[name] != 1:
            return False
        return step.clip is None and name not in self._graph.keep_float

    def _concat(self, step: Step) -> None:
        self._node("Concat", [self._quantise(name) for name in step.inputs], step.name, axis=1)

    def _pool(self, step: Step) -> None:
        assert step.weight is not None
        operator = "AveragePool" if step.method == "average" else "MaxPool"
        self._node(
            operator,
            [self._quantise(step.inputs[0])],
            step.name,
            kernel_shape=step.weight.shape[2:],
            strides=step.strides,
            pads=step.pads,
        )

    def _resize(self, step: Step) -> None:
        """In float: bilinear weights in int8 cost accuracy, and the layer is small."""
        scales = self._constant(f"{step.name}/scales", np.array([1, 1, *step.strides], np.float32))
        linear = step.method == "linear"
        self._node(
            "Resize",
            [self._source(step.inputs[0]), "", scales],
            step.name,
            mode=step.method,
            coordinate_transformation_mode="half_pixel" if linear else "asymmetric",
            nearest_mode="round_prefer_floor" if linear else "floor",
        )

    def _source(self, name: str) -> str:
        return self._normalised if name == self._graph.input_name else name

    def _quantise(self, name: str) -> str:
        """A tensor as int8 and back, once for all of its readers; the tensor itself in a float graph."""
        source = self._source(name)
        if self._graph.ranges is None:
            return source
        if name not in self._quantised:
            if name not in self._shared:
                raise CheckFailed(f"there is no activation range for tensor {name}", "calibrate again: --data DIR")
            scale = np.float32(max(self._shared[name], 1e-6) / INT8_MAX)
            self._quantised[name] = self._pair(source, np.array(scale), {})
        return self._quantised[name]

    def _quantise_weight(self, step: Step, axis: int | None) -> str:
        """Float32 weights that lie on the int8 grid already: the Q/DQ pair changes nothing, and they pack well."""
        assert step.weight is not None
        others = tuple(i for i in range(step.weight.ndim) if i != axis)
        largest = np.abs(step.weight).max(axis=others, keepdims=True)
        scale = (np.maximum(largest, 1e-12) / INT8_MAX).astype(np.float32)
        name = self._constant(f"{step.name}/weight", np.rint(step.weight / scale) * scale)
        return self._pair(name, scale.reshape(-1 if axis is not None else ()), {} if axis is None else {"axis": axis})

    def _pair(self, source: str, scale: np.ndarray, attributes: dict[str, int]) -> str:
        scale_name = self._constant(f"{source}/scale", scale)
        zero = self._constant(f"{source}/zero_point", np.zeros(scale.shape, np.int8))
        integer = self._node("QuantizeLinear", [source, scale_name, zero], f"{source}/int8", **attributes)
        return self._node("DequantizeLinear", [integer, scale_name, zero], f"{source}/dequantised", **attributes)

    def _constant(self, name: str, value: np.ndarray) -> str:
        if name not in self._constants:
            plain = value + np.zeros((), value.dtype)  # -0 becomes 0: a sign at random costs LZMA a bit
            self._constants[name] = numpy_helper.from_array(plain, name)
        return name

    def _node(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        self._nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output


def _shared_ranges(graph: Graph) -> dict[str, float]:
    """Ranges by tensor. A concatenation and its inputs have one, as have a pooling and its input."""
    if graph.ranges is None:
        return {}
    ranges = dict(graph.ranges)
    sharing = [(step.name, *step.inputs) for step in graph.steps if step.kind in ("concat", "pool")]
    groups = [[name for name in names if name in ranges] for names in sharing]
    for _ in groups:  # groups that have a tensor in common raise each other
        for group in groups:
            ranges.update(dict.fromkeys(group, max((ranges[name] for name in group), default=0.0)))
    return ranges


def tensor_ranges(graph: Graph) -> dict[str, float | None]:
    """The largest magnitude of every tensor of the graph without Q/DQ, for builders that take ranges (DLA).

    From the network's input on: with ranges on the pixels before it, they might be rounded to 7 bits.
    None: what makes this tensor stays in float. What a convolution makes before its ReLU has the range after it,
    since the engine runs both as one.
    """
    assert graph.ranges is not None
    found: dict[str, float | None] = {NORMALISED: 1.0}
    for step in graph.steps:
        name = step.name if step is not graph.steps[-1] else "logits"
        found[name] = float(graph.ranges[step.name])
        made = name if step.clip is None else f"{step.name}/linear"
        found[made] = None if step.name in graph.keep_float else found[name]
    return found
