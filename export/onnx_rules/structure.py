"""Rules on the model as a whole and on single operators, with or without quantisation."""

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, TensorProto

from edgeseg.export.onnx_rules.graph import Node, OnnxGraph
from edgeseg.export.onnx_rules.operators import OPERATORS
from edgeseg.export.onnx_rules.rules import OPSET_CEILING, TENSORRT, Finding

_COORDINATES = ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners")

# Operators whose inputs from this one on hold sizes, axes and indices.
_SHAPE_INPUTS = {
    "ConstantOfShape": 0,
    "Expand": 1,
    "Gather": 1,
    "GatherElements": 1,
    "GatherND": 1,
    "Pad": 1,
    "Range": 0,
    "ReduceSum": 1,
    "Reshape": 1,
    "Resize": 1,
    "Slice": 1,
    "Split": 1,
    "Squeeze": 1,
    "Tile": 1,
    "TopK": 1,
    "Unsqueeze": 1,
}


def external_data(model: ModelProto) -> Iterator[Finding]:
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            yield Finding("external-data", tensor.name, "its values lie in another file, which a bundle lacks")


def opset(graph: OnnxGraph) -> Iterator[Finding]:
    over = tuple(version for version, ceiling in OPSET_CEILING.items() if graph.opset > ceiling)
    if over:
        ceilings = ", ".join(f"{version} up to {OPSET_CEILING[version]}" for version in over)
        yield Finding("opset", "", f"the model has opset {graph.opset}; TensorRT reads {ceilings}", over)


def unsupported_operator(graph: OnnxGraph) -> Iterator[Finding]:
    for node in graph.nodes:
        lacking = tuple(version for version in TENSORRT if node.op not in OPERATORS[version])
        if lacking:
            yield Finding("unsupported-operator", node.label, f"the parser has no {node.op}", lacking)


def static_shape(graph: OnnxGraph) -> Iterator[Finding]:
    for tensor in (*graph.inputs, *graph.outputs):
        if tensor.shape is None or None in tensor.shape:
            sizes = "of unknown rank" if tensor.shape is None else f"({', '.join(str(s or '?') for s in tensor.shape)})"
            yield Finding("static-shape", tensor.name, f"its shape is {sizes}; engines are built for fixed sizes")
    for tensor in graph.inputs:
        if tensor.shape and tensor.shape[0] not in (1, None):
            yield Finding("static-shape", tensor.name, f"its batch is {tensor.shape[0]}; one image is run at a time")


def uint8_input(graph: OnnxGraph) -> Iterator[Finding]:
    """DataType.UINT8 came with TensorRT 8.5."""
    for tensor in graph.inputs:
        if tensor.dtype == "uint8":
            yield Finding("uint8-input", tensor.name, "the input is uint8, a type that TensorRT 8.2 has not", ("8.2",))


def int64_tensor(graph: OnnxGraph) -> Iterator[Finding]:
    """Before 10 int64 becomes int32; from 10 on it stays, so that the type of a tensor depends on the version."""
    shapes = _shape_tensors(graph)
    names = [tensor.name for tensor in graph.inputs]
    names += [name for node in graph.nodes for name in (*node.inputs, *node.outputs)]
    for name in dict.fromkeys(names):
        tensor = graph.tensor(name)
        searched = graph.producer_op(name) in ("ArgMax", "ArgMin", "TopK")  # the rule "argmax" names it
        if tensor.dtype in ("int64", "float64") and name not in shapes and not searched:
            yield Finding("int64-tensor", name, f"{tensor.dtype} holds other values than a shape")


def _shape_tensors(graph: OnnxGraph) -> set[str]:
    """Tensors that hold sizes, axes or indices: those read as such, and what they are computed from."""
    found: set[str] = set()
    ahead = [name for node in graph.nodes if node.op in _SHAPE_INPUTS for name in node.inputs[_SHAPE_INPUTS[node.op] :]]
    while ahead:
        name = ahead.pop()
        node = graph.producer(name)
        if name not in found:
            found.add(name)
            ahead += node.inputs if node else ()
    return found


def batch_norm(graph: OnnxGraph) -> Iterator[Finding]:
    for node in graph.nodes:
        if node.op == "BatchNormalization":
            yield Finding("batch-norm", node.label, "between a convolution and its Q/DQ it keeps both from fusing")


def clip(graph: OnnxGraph) -> Iterator[Finding]:
    for node in graph.nodes:
        bounds = [name for name in node.inputs[1:3] if name]
        if node.op != "Clip" or not bounds:
            continue
        if not all(graph.is_constant(name) for name in bounds):
            yield Finding("clip-bounds", node.label, "computed bounds make two layers that no convolution absorbs")
        elif graph.tensor(bounds[0]).dtype == "float16":
            yield Finding(
                "float16-clip", node.label, "TensorRT before 8.6 may read the bytes of its float16 bounds as float32"
            )


def argmax(graph: OnnxGraph) -> Iterator[Finding]:
    """onnx-tensorrt#669, #671: ArgMax is a TopK, which takes longer than the network."""
    for node in graph.nodes:
        if node.op in ("ArgMax", "ArgMin", "TopK"):
            reason = f"{node.op} is slow, and its type is int32 before TensorRT 10 and int64 from then on"
            yield Finding("argmax", node.label, reason)


def bias_computed(graph: OnnxGraph) -> Iterator[Finding]:
    for node in graph.nodes:
        bias = node.input(2)
        quantised = graph.producer_op(bias) == "DequantizeLinear"  # the rule "bias-quantised" names it
        if node.op in ("Conv", "ConvTranspose") and bias and not graph.is_constant(bias) and not quantised:
            yield Finding("bias-computed", node.label, f"its bias {bias} is computed in the graph")


def resize(graph: OnnxGraph) -> Iterator[Finding]:
    for node in graph.nodes:
        if node.op == "Resize":
            yield from _resize_mode(graph, node)
            yield from _resize_scales(graph, node)


def _resize_mode(graph: OnnxGraph, node: Node) -> Iterator[Finding]:
    attributes = node.attributes
    coordinates = attributes.get("coordinate_transformation_mode", "half_pixel")
    axes = attributes.get("axes")
    if coordinates not in _COORDINATES:
        yield Finding("resize-mode", node.label, f"TensorRT has no coordinates {coordinates}")
    if attributes.get("mode") == "cubic":
        yield Finding("resize-mode", node.label, "TensorRT 8.2 has no mode cubic", ("8.2",))
    if attributes.get("antialias"):
        yield Finding("resize-mode", node.label, "TensorRT has no antialias")
    if attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        yield Finding("resize-mode", node.label, "TensorRT only stretches")
    if axes and axes != tuple(range(len(graph.tensor(node.input(0)).shape or axes))):
        yield Finding("resize-mode", node.label, f"its axes {list(axes)} are not all axes in order")


def _resize_scales(graph: OnnxGraph, node: Node) -> Iterator[Finding]:
    name = node.input(2)
    if not name or graph.opset < 11:
        return
    scales = graph.constant(name)
    if scales is None:
        yield Finding("resize-scales", node.label, f"its scales {name} are computed in the graph", ("8.2",))
    elif node.attributes.get("mode") == "linear" and np.any(scales.ravel()[:-3] != 1):
        yield Finding("resize-scales", node.label, "it resizes more than the last three dimensions")


MODEL_CHECKS = (opset, unsupported_operator, uint8_input)
TYPED_CHECKS = (static_shape, int64_tensor, batch_norm, clip, argmax, bias_computed, resize)
