"""An ONNX model, read without trust and indexed by the names of its tensors."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from edgeseg.bundle import MAX_PAYLOAD_BYTES
from edgeseg.errors import UsageError

_NOT_ONNX = "give an ONNX file, whole and undamaged"


class Node(NamedTuple):
    """A node; an optional input that is left out is an empty name, or missing at the end."""

    label: str  # its name, or its operator and position
    op: str  # with its domain in front, unless that is ONNX's own
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def input(self, slot: int) -> str:
        return self.inputs[slot] if slot < len(self.inputs) else ""

    @property
    def output(self) -> str:
        return self.outputs[0] if self.outputs else ""


class Tensor(NamedTuple):
    """What is known of a tensor: `shape` has None for an unknown size and is None for an unknown rank."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


def read_onnx(data: bytes) -> ModelProto:
    """Read an ONNX file. Raises UsageError for bytes that are not one, whole and small enough for a bundle."""
    if len(data) > MAX_PAYLOAD_BYTES:
        raise UsageError(f"the ONNX file has more than {MAX_PAYLOAD_BYTES} bytes", "export a smaller network")
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError, which has no type stubs
        raise UsageError(f"this is not an ONNX file, or it is damaged: {error}", _NOT_ONNX) from error
    try:
        OnnxGraph(model)
    except ValueError as error:  # a name that is not UTF-8
        raise UsageError(f"the ONNX file is damaged: {error}", _NOT_ONNX) from error
    if not model.graph.node:
        raise UsageError("this is not an ONNX file: it has no nodes", _NOT_ONNX)
    return model


class OnnxGraph:
    """The main graph of `model`; shapes and types are those written in it."""

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self.opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
        self.nodes = [_node(i, node) for i, node in enumerate(graph.node)]
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._tensors = _tensors(graph)
        self.inputs = [self.tensor(value.name) for value in graph.input if value.name not in self._initializers]
        self.outputs = [self.tensor(value.name) for value in graph.output]
        self._producers = {name: node for node in self.nodes for name in node.outputs if name}
        self._readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                self._readers.setdefault(name, []).append(node)

    def tensor(self, name: str) -> Tensor:
        return self._tensors.get(name, Tensor(name, "", None))

    def producer(self, name: str) -> Node | None:
        return self._producers.get(name)

    def producer_op(self, name: str) -> str:
        """The operator that makes a tensor; empty for inputs and initializers."""
        node = self._producers.get(name)
        return node.op if node else ""

    def readers(self, name: str) -> list[Node]:
        return self._readers.get(name, [])

    def is_constant(self, name: str) -> bool:
        return name in self._initializers or self.producer_op(name) == "Constant"

    def constant(self, name: str) -> np.ndarray | None:
        """The values of an initializer or Constant; None for another tensor. Raises UsageError if it is damaged."""
        try:
            if name in self._initializers:
                return numpy_helper.to_array(self._initializers[name])
            node = self._producers.get(name)
            return _constant(node) if node and node.op == "Constant" else None
        except (KeyError, ValueError, TypeError) as error:
            raise UsageError(f"the values of {name} are damaged: {error}", "export the model again") from error


def elements(shape: tuple[int | None, ...] | None) -> int | None:
    """How many elements a tensor of that shape has; None if that is unknown."""
    known = None if shape is None else [size for size in shape if size is not None]
    return math.prod(known) if known is not None and shape is not None and len(known) == len(shape) else None


def _constant(node: Node) -> np.ndarray | None:
    for key, dtype in (("value_float", "f4"), ("value_floats", "f4"), ("value_int", "i8"), ("value_ints", "i8")):
        if key in node.attributes:
            return np.array(node.attributes[key], dtype)
    value = node.attributes.get("value")
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else None


def _node(index: int, node: NodeProto) -> Node:
    own = node.domain in ("", "ai.onnx")
    return Node(
        label=node.name or f"{node.op_type} {index}",
        op=node.op_type if own else f"{node.domain}.{node.op_type}",
        inputs=tuple(node.input),
        outputs=tuple(node.output),
        attributes={a.name: _READ[a.type](a) for a in node.attribute if a.type in _READ},
    )


# The kinds of attribute that rules look at; others (subgraphs, sparse tensors) are left out.
_READ: dict[int, Callable[[AttributeProto], Any]] = {
    AttributeProto.FLOAT: lambda a: a.f,
    AttributeProto.INT: lambda a: a.i,
    AttributeProto.STRING: lambda a: a.s.decode("utf-8", "replace"),
    AttributeProto.TENSOR: lambda a: a.t,
    AttributeProto.FLOATS: lambda a: tuple(a.floats),
    AttributeProto.INTS: lambda a: tuple(a.ints),
}


def _tensors(graph: GraphProto) -> dict[str, Tensor]:
    found = {value.name: _declared(value) for value in (*graph.value_info, *graph.output, *graph.input)}
    for tensor in graph.initializer:
        found[tensor.name] = Tensor(tensor.name, _dtype(tensor.data_type), tuple(tensor.dims))
    return found


def _declared(value: ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    shape = None
    if kind.HasField("shape"):
        shape = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None for d in kind.shape.dim)
    return Tensor(value.name, _dtype(kind.elem_type), shape)


def _dtype(kind: int) -> str:
    """The name that NumPy has for a type, where it has one: "float32", "uint8"."""
    try:
        return str(helper.tensor_dtype_to_np_dtype(kind))
    except (KeyError, ValueError, TypeError):
        return f"type {kind}"
