"""Which type each tensor has, and which precision and device TensorRT would choose for each layer."""

from typing import Any, Dict, List

from . import _plan

FROM_RUNTIME = {
    "tensor(float)": "FLOAT",
    "tensor(float16)": "HALF",
    "tensor(uint8)": "UINT8",
    "tensor(int8)": "INT8",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(bool)": "BOOL",
}
_FROM_ONNX = {1: "FLOAT", 2: "UINT8", 3: "INT8", 6: "INT32", 7: "INT64", 9: "BOOL", 10: "HALF"}
_LAYER_TYPES = {
    "Conv": "CONVOLUTION",
    "ConvTranspose": "DECONVOLUTION",
    "AveragePool": "POOLING",
    "MaxPool": "POOLING",
    "GlobalAveragePool": "REDUCE",
    "Add": "ELEMENTWISE",
    "Sub": "ELEMENTWISE",
    "Mul": "ELEMENTWISE",
    "Div": "ELEMENTWISE",
    "Relu": "ACTIVATION",
    "Clip": "ACTIVATION",
    "Concat": "CONCATENATION",
    "Resize": "RESIZE",
    "Pad": "SLICE",
    "Transpose": "SHUFFLE",
    "Reshape": "SHUFFLE",
    "Cast": "CAST",
    "QuantizeLinear": "QUANTIZE",
    "DequantizeLinear": "DEQUANTIZE",
}
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
_ON_DLA = ("Conv", "ConvTranspose", "AveragePool", "MaxPool", "Add", "Sub", "Mul", "Relu", "Clip", "Concat", "Resize")


def layer_type(op: str, known: Any) -> str:
    """The name in LayerType; before 8.6 there was no CAST."""
    name = _LAYER_TYPES.get(op, "PLUGIN_V2")
    return name if name in known else "IDENTITY"


def runs_on_dla(op: str) -> bool:
    """The double's DLA takes these; Q/DQ, casts and transposes not (facts: no Q/DQ on DLA)."""
    return op in _ON_DLA


def has_quantizers(graph: Any) -> bool:
    return any(node.op in _QUANTIZERS for node in graph.nodes)


def tensor_types(graph: Any, session: Any) -> Dict[str, str]:
    """{tensor: name in DataType} of each input and each node's outputs, in the graph's order."""
    types = {info.name: FROM_RUNTIME[info.type] for info in session.get_inputs()}
    constants = {name: _FROM_ONNX.get(number, "FLOAT") for name, number in graph.constants.items()}
    for node in graph.nodes:
        known = [types.get(name, constants.get(name)) for name in node.inputs]
        dtype = next((t for t in known if t), "FLOAT")
        if node.op == "Cast":
            dtype = _FROM_ONNX.get(node.cast_to, "FLOAT")
        elif node.op == "QuantizeLinear":
            dtype = "INT8"
        elif node.op == "DequantizeLinear":
            dtype = known[1] or "FLOAT"
        for name in node.outputs:
            types[name] = dtype
    types.update((info.name, FROM_RUNTIME[info.type]) for info in session.get_outputs())
    return types


def engine_layers(net: Any, how: Any) -> List[Dict[str, Any]]:
    """Layers of the engine: Q/DQ are fused away, each other node has a precision and a device."""
    makers = {name: node for node in net.graph.nodes for name in node.outputs}
    layers = []
    for layer in net.layers:
        node = layer.node
        if node.op in _QUANTIZERS:
            continue
        data_inputs = [name for name in node.inputs if name in net.tensors and not _is_weight(name, makers, net)]
        on_dla = how.default_device_type.name == "DLA" or how.device_types.get(layer.name) == "DLA"
        precision = _precision(node, data_inputs, makers, net, how)
        if layer.precision_is_set and (
            how.has("PREFER_PRECISION_CONSTRAINTS") or how.has("OBEY_PRECISION_CONSTRAINTS")
        ):
            precision = layer.precision.name
        layers.append(
            {
                "name": layer.name,
                "type": layer.type.name,
                "inputs": data_inputs,
                "outputs": list(node.outputs),
                "types": {name: _type_in_engine(net, name, precision) for name in data_inputs + node.outputs},
                "precision": precision,
                "precision_is_set": layer.precision_is_set,
                "device": "DLA" if on_dla and runs_on_dla(node.op) else "GPU",
            }
        )
    return layers


def _type_in_engine(net: Any, name: str, precision: str) -> str:
    """Between layers that of the layer; as declared for inputs and outputs of the network, and for whole numbers."""
    tensor = net.tensors[name]
    is_fixed = tensor.is_network_input or tensor.is_network_output or tensor.dtype.name not in ("FLOAT", "HALF", "INT8")
    return str(tensor.dtype.name) if is_fixed else precision


def _is_weight(name: str, makers: Dict[str, Any], net: Any) -> bool:
    """Is the tensor computed from initializers only (a quantised weight)?"""
    while name in makers and makers[name].inputs:
        name = makers[name].inputs[0]
    return name in net.graph.constants


def _precision(node: Any, inputs: List[str], makers: Dict[str, Any], net: Any, how: Any) -> str:
    """A name in DataType. "fp32-engine" is the fault that builds fp32 whatever was asked for."""
    declared = net.tensors[node.outputs[0]].dtype.name
    if "fp32-engine" in _plan.faults():
        return "FLOAT"
    sources = [makers[name].op for name in inputs if name in makers]
    if "DequantizeLinear" in sources and node.op in _ON_DLA:
        return "INT8"
    if net.is_strongly_typed or declared not in ("FLOAT", "HALF"):
        return declared
    ends = [net.tensors[name] for name in inputs + list(node.outputs)]
    if how.has("INT8") and node.op in _ON_DLA and all(t.dynamic_range for t in ends):
        return "INT8"
    return "HALF" if how.has("FP16") else declared
