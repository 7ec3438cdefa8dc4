"""Rules on where Q/DQ pairs belong: what keeps layers out of int8, or adds requantisation."""

from collections.abc import Iterator

from edgeseg.export.onnx_rules.graph import Node, OnnxGraph
from edgeseg.export.onnx_rules.quantisation import CONVOLUTIONS, WEIGHTED, pair_before
from edgeseg.export.onnx_rules.rules import Finding

_ACTIVATIONS = ("Clip", "Relu", "LeakyRelu", "PRelu", "HardSwish", "Sigmoid")
# These only move or choose values, or average them: int8 in, int8 out, the same scale.
_SAME_SCALE = ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Resize", "Concat")


def half_quantised(graph: OnnxGraph) -> Iterator[Finding]:
    for node in graph.nodes:
        if node.op in WEIGHTED:
            quantised = [pair_before(graph, node.input(slot)) is not None for slot in (0, 1)]
            if quantised[0] != quantised[1]:
                side = "input" if quantised[0] else "weights"
                yield Finding("half-quantised", node.label, f"only its {side} went through Q/DQ, so it runs in float")


def residual_add(graph: OnnxGraph) -> Iterator[Finding]:
    """NVIDIA/TensorRT#1992: the branch that no convolution makes must be int8 for the sum to fuse."""
    for node in graph.nodes:
        if node.op != "Add" or any(graph.is_constant(name) for name in node.inputs):
            continue
        bare = not any(pair_before(graph, name) for name in node.inputs)
        if bare and any(_is_quantised_convolution(graph, name) for name in node.inputs):
            yield Finding("residual-add", node.label, "none of its branches went through Q/DQ, so it runs in float")


def _is_quantised_convolution(graph: OnnxGraph, name: str) -> bool:
    """Whether `name` comes out of an int8 convolution, with or without an activation."""
    node = graph.producer(name)
    if node is not None and node.op in _ACTIVATIONS:
        node = graph.producer(node.input(0))
    return node is not None and node.op in CONVOLUTIONS and pair_before(graph, node.input(0)) is not None


def concat_scales(graph: OnnxGraph) -> Iterator[Finding]:
    for node in graph.nodes:
        if node.op == "Concat":
            scales = _input_scales(graph, node)
            if len(set(scales)) > 1:
                found = ", ".join("none" if scale is None else f"{scale:.6g}" for scale in scales)
                yield Finding("concat-scales", node.label, f"its inputs have the scales {found}")


def same_scale(graph: OnnxGraph) -> Iterator[Finding]:
    for node in graph.nodes:
        if node.op not in _SAME_SCALE:
            continue
        before = set(_input_scales(graph, node) if node.op == "Concat" else _input_scales(graph, node)[:1])
        after = {_scale_of(graph, reader) for reader in graph.readers(node.output) if reader.op == "QuantizeLinear"}
        scale = before.pop() if len(before) == 1 else None
        other = next((s for s in after if s is not None and s != scale), None)
        if scale is not None and other is not None:
            yield Finding("same-scale", node.label, f"its scale is {scale:.6g} before it and {other:.6g} after it")


def _input_scales(graph: OnnxGraph, node: Node) -> list[float | None]:
    pairs = [pair_before(graph, name) for name in node.inputs]
    return [_scale_of(graph, pair.dequantise) if pair else None for pair in pairs]


def _scale_of(graph: OnnxGraph, node: Node) -> float | None:
    values = graph.constant(node.input(1))
    return float(values.ravel()[0]) if values is not None and values.size == 1 else None


CHECKS = (half_quantised, residual_add, concat_scales, same_scale)
