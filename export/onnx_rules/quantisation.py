"""Rules on Q/DQ nodes, and on the weights and biases that they quantise.

Source: QuantDequantLinearHelper of the parser, in every branch named in rules.py.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from edgeseg.export.onnx_rules.graph import Node, OnnxGraph, elements
from edgeseg.export.onnx_rules.rules import Finding

QDQ = ("QuantizeLinear", "DequantizeLinear")
CONVOLUTIONS = ("Conv", "ConvTranspose")
WEIGHTED = (*CONVOLUTIONS, "Gemm", "MatMul")  # input 1 is the weights


class Pair(NamedTuple):
    """A tensor that went through int8. `quantise` is None where an int8 constant is only dequantised."""

    quantise: Node | None
    dequantise: Node

    @property
    def source(self) -> str:
        return (self.quantise or self.dequantise).input(0)

    @property
    def scale(self) -> str:
        return self.dequantise.input(1)


def pair_before(graph: OnnxGraph, name: str) -> Pair | None:
    """The Q/DQ pair that tensor `name` comes out of."""
    dequantise = graph.producer(name)
    if dequantise is None or dequantise.op != "DequantizeLinear":
        return None
    quantise = graph.producer(dequantise.input(0))
    return Pair(quantise if quantise and quantise.op == "QuantizeLinear" else None, dequantise)


def qdq_nodes(graph: OnnxGraph) -> Iterator[Finding]:
    """What holds for each Q and each DQ by itself. Those of a bias must not be at all (`biases`)."""
    of_bias = _bias_nodes(graph)
    for node in graph.nodes:
        if node.op in QDQ and node.output not in of_bias:
            yield from _scale(graph, node)
            yield from _zero_point(graph, node)
            if (elements(graph.tensor(node.input(1)).shape) or 1) > 1:
                yield from _channels(graph, node)


def _scale(graph: OnnxGraph, node: Node) -> Iterator[Finding]:
    name = node.input(1)
    values = graph.constant(name)
    if values is None:
        yield Finding("scale", node.label, f"its scale {name} is computed in the graph")
    elif values.size == 0 or not np.all(np.isfinite(values.astype(np.float64)) & (values > 0)):
        yield Finding("scale", node.label, f"its scale {name} is not above 0 everywhere")
    if graph.tensor(name).dtype in ("float16", "bfloat16"):
        reason = f"its scale {name} is {graph.tensor(name).dtype}, whose bytes TensorRT 8 reads as float32"
        yield Finding("float16-scale", node.label, reason)


def _zero_point(graph: OnnxGraph, node: Node) -> Iterator[Finding]:
    name = node.input(2)
    if not name:
        reason = "it has no zero point: TensorRT 8 refuses it, later ones take int8 where ONNX means uint8"
        yield Finding("qdq-inputs", node.label, reason)
        return
    dtype = graph.tensor(name).dtype
    values = graph.constant(name)
    if dtype != "int8":
        reason = f"it quantises to {dtype}; TensorRT takes int8, and reads uint8 as int8 or refuses it"
        yield Finding("zero-point-type", node.label, reason)
    if values is None:
        yield Finding("zero-point", node.label, f"its zero point {name} is computed in the graph")
    elif np.any(values != 0):
        worst = values.ravel()[np.argmax(values.ravel() != 0)]
        yield Finding("zero-point", node.label, f"its zero point is {worst}; TensorRT quantises symmetrically")
    sizes = [elements(graph.tensor(tensor).shape) for tensor in node.inputs[1:3]]
    if None not in sizes and sizes[0] != sizes[1]:
        reason = f"it has {sizes[0]} scales and {sizes[1]} zero points"
        yield Finding("zero-point-size", node.label, reason)


def _channels(graph: OnnxGraph, node: Node) -> Iterator[Finding]:
    """What holds where there is more than one scale."""
    source, scale = graph.tensor(node.input(0)), graph.tensor(node.input(1))
    if not _is_weight(graph, node):
        yield Finding("activation-per-channel", node.label, "it quantises an activation with a scale for each channel")
        return
    if "axis" not in node.attributes:
        reason = "without the attribute `axis` ONNX means axis 1, and TensorRT takes axis 0"
        yield Finding("axis-implicit", node.label, reason)
        return
    axis = node.attributes["axis"]
    if source.shape is not None and -len(source.shape) <= axis < len(source.shape):
        channels = source.shape[axis]
        if scale.shape is None or len(scale.shape) != 1 or scale.shape[0] != channels:
            shape = list(scale.shape or ())
            yield Finding("scale-length", node.label, f"it has scales {shape} for {channels} channels on axis {axis}")


def _is_weight(graph: OnnxGraph, node: Node) -> bool:
    source = node.input(0)
    quantise = graph.producer(source)
    if node.op == "DequantizeLinear" and quantise is not None and quantise.op == "QuantizeLinear":
        source = quantise.input(0)
    return graph.is_constant(source)


def qdq_pairs(graph: OnnxGraph) -> Iterator[Finding]:
    of_bias = _bias_nodes(graph)
    outputs = {tensor.name for tensor in graph.outputs}
    for node in graph.nodes:
        if node.op == "QuantizeLinear":
            others = sorted({reader.op for reader in graph.readers(node.output)} - {"DequantizeLinear"})
            if others or node.output in outputs:
                reason = f"its int8 output is read by {', '.join(others) or 'the host'}"
                yield Finding("qdq-pair", node.label, reason)
        elif node.op == "DequantizeLinear" and node.output not in of_bias:
            source = node.input(0)
            if graph.is_constant(source):
                reason = f"it reads the integers {source}: TensorRT 8 takes no such weights"
                yield Finding("int8-weights", node.label, reason)
            elif graph.producer_op(source) != "QuantizeLinear":
                yield Finding("qdq-pair", node.label, "it reads what no QuantizeLinear made")


def biases(graph: OnnxGraph) -> Iterator[Finding]:
    for node in graph.nodes:
        if node.op in (*CONVOLUTIONS, "Gemm") and pair_before(graph, node.input(2)):
            yield Finding("bias-quantised", node.label, "its bias is dequantised; TensorRT takes a float initializer")


def _bias_nodes(graph: OnnxGraph) -> set[str]:
    """Outputs of the Q/DQ nodes that stand before a bias."""
    found: set[str] = set()
    for node in graph.nodes:
        pair = pair_before(graph, node.input(2)) if node.op in (*CONVOLUTIONS, "Gemm") else None
        if pair:
            found.update(part.output for part in pair if part)
    return found


def weights(graph: OnnxGraph) -> Iterator[Finding]:
    """Along which axis, in which groups, and how far weights are quantised."""
    for node in graph.nodes:
        pair = pair_before(graph, node.input(1)) if node.op in WEIGHTED else None
        if pair is None or not graph.is_constant(pair.source):
            continue
        yield from _weight_axis(graph, node, pair)
        if _lowest(graph, pair) == -128:
            reason = "some of its weights become -128, which has no positive counterpart"
            yield Finding("weights-128", node.label, reason)
        group = node.attributes.get("group", 1)
        shape = graph.tensor(pair.source).shape
        if node.op == "ConvTranspose" and group > 1 and shape and None not in shape[:2]:
            # NvInfer.h, IDeconvolutionLayer::setNbGroups
            inputs, outputs = (shape[0] or 0) // group, shape[1] or 0
            if inputs % 4 or outputs % 4:
                reason = f"its groups have {inputs} channels in and {outputs} out; in int8 both are multiples of 4"
                yield Finding("deconv-groups", node.label, reason)


def _weight_axis(graph: OnnxGraph, node: Node, pair: Pair) -> Iterator[Finding]:
    """TensorRT's kernels take axis 0 to be the output channels: NVIDIA/TensorRT#1519, #1699, #2380."""
    rank = len(graph.tensor(pair.source).shape or ())
    if (elements(graph.tensor(pair.scale).shape) or 1) == 1 or "axis" not in pair.dequantise.attributes or not rank:
        return
    axis = pair.dequantise.attributes["axis"] % rank
    if node.op == "Conv" and axis != 0:
        yield Finding("conv-axis", node.label, f"its weights are quantised along axis {axis}")
    elif node.op == "ConvTranspose":
        yield Finding("deconv-per-channel", node.label, "its weights have a scale for each channel")


def _lowest(graph: OnnxGraph, pair: Pair) -> int:
    """The lowest of quantised weights: QuantizeLinear's nearest even integer in -128..127. 0 if it is unknown."""
    values, scale = graph.constant(pair.source), graph.constant(pair.scale)
    if values is None or scale is None or values.size == 0:
        return 0
    if pair.quantise is None:
        return int(values.min())
    axis = pair.quantise.attributes.get("axis", 1)
    if scale.size > 1:
        if not -values.ndim <= axis < values.ndim or values.shape[axis] != scale.size:
            return 0
        scale = scale.reshape([-1 if i == axis % values.ndim else 1 for i in range(values.ndim)])
    with np.errstate(all="ignore"):  # scales that are not above 0 are another rule's
        lowest = np.nanmin(np.rint(values.astype(np.float32) / scale.astype(np.float32)))
    return int(max(-128, min(lowest, 127)))


CHECKS = (qdq_nodes, qdq_pairs, biases, weights)
