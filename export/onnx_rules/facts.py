"""What an ONNX file is, for people: its borders, operators, size, cost and precision."""

from collections import Counter
from typing import NamedTuple

from onnx import ModelProto, shape_inference

from edgeseg.export.onnx_rules.graph import Node, OnnxGraph, Tensor, elements
from edgeseg.export.onnx_rules.quantisation import CONVOLUTIONS, WEIGHTED, pair_before


class OnnxFacts(NamedTuple):
    """`operators` are counted in the order of first use; `macs` is None where a shape is unknown."""

    opset: int
    ir_version: int
    producer: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: tuple[tuple[str, int], ...]
    parameters: int  # weights and biases
    macs: int | None  # multiply-accumulates of one run
    precision: str


def facts_of(model: ModelProto) -> OnnxFacts:
    """Read the facts of a model that `read_onnx` has read."""
    try:
        graph = OnnxGraph(shape_inference.infer_shapes(model))
    except Exception:  # a file with faults has facts too; `check_onnx` names the faults
        graph = OnnxGraph(model)
    layers = [node for node in graph.nodes if node.op in WEIGHTED and graph.is_constant(_weight(graph, node))]
    costs = [_macs(graph, node) for node in layers]
    return OnnxFacts(
        opset=graph.opset,
        ir_version=model.ir_version,
        producer=f"{model.producer_name} {model.producer_version}".strip() or "unknown",
        inputs=tuple(graph.inputs),
        outputs=tuple(graph.outputs),
        operators=tuple(Counter(node.op for node in graph.nodes).items()),
        parameters=_parameters(graph, layers),
        macs=None if None in costs else sum(cost for cost in costs if cost is not None),
        precision=_precision(graph, layers),
    )


def _weight(graph: OnnxGraph, node: Node) -> str:
    pair = pair_before(graph, node.input(1))
    return pair.source if pair else node.input(1)


def _parameters(graph: OnnxGraph, layers: list[Node]) -> int:
    names = {name for node in layers for name in (_weight(graph, node), node.input(2)) if name}
    return sum(elements(graph.tensor(name).shape) or 0 for name in names)


def _macs(graph: OnnxGraph, node: Node) -> int | None:
    """Each weight of a kernel is used once per output pixel; of a transposed one, once per input pixel."""
    weights = elements(graph.tensor(_weight(graph, node)).shape)
    shape = graph.tensor(node.input(0) if node.op == "ConvTranspose" else node.output).shape
    if shape is not None:
        shape = shape[:1] + shape[2:] if node.op in CONVOLUTIONS else shape[:-1]
    pixels = elements(shape)
    return None if weights is None or pixels is None else weights * pixels


def _precision(graph: OnnxGraph, layers: list[Node]) -> str:
    types = sorted({graph.tensor(_weight(graph, node)).dtype for node in layers})
    text = " and ".join(types) or "no weights"
    quantised = sum(all(pair_before(graph, node.input(slot)) for slot in (0, 1)) for node in layers)
    return f"int8 (Q/DQ) in {quantised} of {len(layers)} layers, else {text}" if quantised else text
