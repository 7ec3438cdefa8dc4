"""Which layers of a network run on a deep-learning accelerator (DLA) of a Jetson, and which fall back to its GPU.

Limits from NVIDIA's "DLA Supported Layers and Restrictions" as of TensorRT 8.5 and 8.6
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/dla-layer-restrictions.html) and from the table
of operators in https://github.com/NVIDIA/Deep-Learning-Accelerator-SW (operators/README.md). An estimate on the safe
side, made without TensorRT: the builder's log on the board has the last word. Equal ranges around concatenations and
poolings, which int8 needs, are not looked at: the export makes them (`edgeseg.export.onnx.tensor_ranges`).
"""

from collections.abc import Callable
from typing import NamedTuple

from onnx import ModelProto, shape_inference

from edgeseg.export.onnx_rules.graph import Node, OnnxGraph

GENERATIONS = {1: "Xavier", 2: "Orin"}
MAX_LOADABLES = 16  # pieces of networks that a core holds at once
MAX_BATCH, MAX_SIZE = 4096, 8192  # product of what is not channels, height, width; each of these three


class LayerPlacement(NamedTuple):
    """Where one node runs; `reason` is why it falls back, empty on the DLA."""

    node: str
    op: str
    on_dla: bool
    reason: str


class DlaReport(NamedTuple):
    """`loadables` is the number of pieces that the GPU's layers cut the DLA's part into."""

    generation: int
    layers: tuple[LayerPlacement, ...]
    loadables: int


class _Layer(NamedTuple):
    graph: OnnxGraph
    node: Node
    generation: int

    def shape(self, name: str) -> tuple[int | None, ...]:
        return self.graph.tensor(name).shape or ()

    def numbers(self, name: str, default: int) -> tuple[int, ...]:
        """An attribute of a whole number for each of the two spatial dimensions (two for each: pads)."""
        found: tuple[int, ...] = self.node.attributes.get(name, (default,) * 4 if name == "pads" else (default,) * 2)
        return found


def dla_report(model: ModelProto, generation: int) -> DlaReport:
    """Place each layer of a float ONNX model (`read_onnx`) of static shape. `generation`: 1 Xavier, 2 Orin."""
    graph = OnnxGraph(shape_inference.infer_shapes(model))
    nodes = [node for node in graph.nodes if node.op != "Constant"]
    reasons = [_obstacle(_Layer(graph, node, generation)) for node in nodes]
    layers = tuple(
        LayerPlacement(node.label, node.op, not reason, reason) for node, reason in zip(nodes, reasons, strict=True)
    )
    on_dla = {node.output for node, layer in zip(nodes, layers, strict=True) if layer.on_dla}
    return DlaReport(generation, layers, _count_loadables(graph, nodes, on_dla))


def dla_summary(report: DlaReport, core: int) -> str:
    """The report in a line, and one for each reason to fall back."""
    fallen: dict[tuple[str, str], list[str]] = {}
    for layer in report.layers:
        if not layer.on_dla:
            fallen.setdefault((layer.op, layer.reason), []).append(layer.node)
    count = sum(layer.on_dla for layer in report.layers)
    pieces = f"{report.loadables} piece{'s' if report.loadables != 1 else ''}"
    lines = [f"DLA core {core} of {GENERATIONS[report.generation]}: {count} of {len(report.layers)} layers in {pieces}"]
    if report.loadables > MAX_LOADABLES:
        lines[0] += f" (a core holds {MAX_LOADABLES})"
    if fallen:
        lines[0] += f"; {len(report.layers) - count} fall back to the GPU:"
    for (op, reason), names in fallen.items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        lines.append(f"  {op} {shown}: {reason}")
    return "\n".join(lines)


def _count_loadables(graph: OnnxGraph, nodes: list[Node], on_dla: set[str]) -> int:
    """Connected parts of the DLA's layers, where no part may enclose a layer of the GPU.

    The level of a node is how often the device changes on the way to it, at most. Two layers of one
    level have no other device between them.
    """
    level: dict[str, int] = {}
    part: dict[str, str] = {}  # an output of a DLA layer -> another of its part, or itself

    def root(name: str) -> str:
        while part[name] != name:
            name = part[name]
        return name

    for node in nodes:
        sources = [p.output for name in node.inputs if (p := graph.producer(name)) and p.output in level]
        here = node.output in on_dla
        level[node.output] = max((level[s] + ((s in on_dla) != here) for s in sources), default=0)
        if here:
            part[node.output] = node.output
            for source in sources:
                if source in on_dla and level[source] == level[node.output]:
                    part[root(source)] = node.output
    return sum(part[name] == name for name in part)


def _obstacle(layer: _Layer) -> str:
    """Why a layer cannot run on the DLA; empty if it can."""
    op = layer.node.op
    if op not in _CHECKS:
        return _GPU_ONLY.get(op, "edgeseg knows no DLA layer for it")
    names = [name for name in (*layer.node.inputs, layer.node.output) if name and not layer.graph.is_constant(name)]
    for name in names:
        shape, dtype = layer.shape(name), layer.graph.tensor(name).dtype
        if len(shape) != 4 or None in shape:
            return f"{name} is not of four fixed dimensions"
        batch, *sizes = (size or 0 for size in shape)
        if batch > MAX_BATCH or max(sizes) > MAX_SIZE:
            return f"{name} has the shape {list(shape)}; a batch of {MAX_BATCH} and sizes of {MAX_SIZE} are the limit"
        if dtype not in ("float32", "float16"):
            return f"{name} is {dtype}, not float"
    return _CHECKS[op](layer)


def _outside(what: str, values: tuple[int, ...], low: int, high: int) -> str:
    wrong = [value for value in values if not low <= value <= high]
    return f"{what} {wrong[0]} is outside {low} to {high}" if wrong else ""


def _kernel(layer: _Layer) -> tuple[int, int]:
    shape = layer.shape(layer.node.input(1))
    return (shape[2] or 0, shape[3] or 0) if len(shape) == 4 else (0, 0)


def _has_weights(layer: _Layer) -> bool:
    return all(layer.graph.is_constant(name) for name in layer.node.inputs[1:] if name)


def _auto_pad(layer: _Layer) -> str:
    mode = layer.node.attributes.get("auto_pad", "NOTSET")
    return "" if mode in ("NOTSET", "VALID") else f"its padding is {mode}; written out it could be checked"


def _conv(layer: _Layer) -> str:
    """The limit of 8192 groups is that of channels."""
    kernel, pads = _kernel(layer), layer.numbers("pads", 0)
    too_wide = any(pad >= kernel[i % 2] for i, pad in enumerate(pads))
    return (
        ("" if _has_weights(layer) else "its weights are not constant")
        or _auto_pad(layer)
        or _outside("kernel size", kernel, 1, 32)
        or _outside("padding", pads, 0, 31)
        or ("its padding is as wide as its kernel" if too_wide else "")
        or _outside("stride", layer.numbers("strides", 1), 1, 8)
        or _outside("dilation", layer.numbers("dilations", 1), 1, 32)
    )


def _deconv(layer: _Layer) -> str:
    kernel, strides = _kernel(layer), layer.numbers("strides", 1)
    slow = "kernels and strides of 23 to 32 are switched off in TensorRT"
    return (
        ("" if _has_weights(layer) else "its weights are not constant")
        or _auto_pad(layer)
        or ("a transposed convolution must have padding 0" if any(layer.numbers("pads", 0)) else "")
        or ("its output is padded" if any(layer.numbers("output_padding", 0)) else "")
        or ("a transposed convolution must have one group" if layer.node.attributes.get("group", 1) != 1 else "")
        or ("" if kernel in _LONG_KERNELS else _outside("kernel size", kernel, 1, 32))
        or _outside("dilation of a transposed convolution", layer.numbers("dilations", 1), 1, 1)
        or (slow if _is_slow(kernel) or _is_slow(strides) else "")
    )


_LONG_KERNELS = {pair for size in (64, 96, 128) for pair in ((1, size), (size, 1))}


def _is_slow(sides: tuple[int, ...]) -> bool:
    return len(set(sides)) == 1 and 23 <= sides[0] <= 32


def _pool(layer: _Layer) -> str:
    """One divisor for all windows of an average: D_RECIP_KERNEL_WIDTH and _HEIGHT among the registers of NVDLA."""
    inside_only = layer.node.op == "AveragePool" and not layer.node.attributes.get("count_include_pad", 0)
    return (
        _auto_pad(layer)
        or ("its average leaves out the padding" if inside_only and any(layer.numbers("pads", 0)) else "")
        or _outside("pooling window", layer.numbers("kernel_shape", 1), 1, 8)
        or _outside("padding", layer.numbers("pads", 0), 0, 7)
        or _outside("stride", layer.numbers("strides", 1), 1, 16)
    )


def _clip(layer: _Layer) -> str:
    bounds = [layer.graph.constant(layer.node.input(slot)) for slot in (1, 2)]
    low, high = (float(value.ravel()[0]) if value is not None and value.size else None for value in bounds)
    if low == 0 and high is not None and 1 <= high <= 127:
        return ""
    return f"its bounds are {low} and {high}; the lower must be 0, the upper in 1 to 127"


def _leaky(layer: _Layer) -> str:
    return "its slope is negative" if layer.node.attributes.get("alpha", 0.01) < 0 else ""


def _elementwise(layer: _Layer) -> str:
    """Constants: https://github.com/NVIDIA-AI-IOT/jetson_dla_tutorial logs such a Mul and Add as layers of the GPU."""
    if any(layer.graph.is_constant(name) for name in layer.node.inputs):
        return "one operand is a constant, with which TensorRT keeps it on the GPU"
    shapes = {layer.shape(name) for name in layer.node.inputs}
    return "" if len(shapes) == 1 else "its operands differ in shape"


def _batch_norm(layer: _Layer) -> str:
    return "" if _has_weights(layer) else "its statistics are not constant"


def _concat(layer: _Layer) -> str:
    axis = layer.node.attributes.get("axis")
    if axis not in (1, -3):
        return f"it joins along axis {axis}; the DLA joins channels only"
    return "" if len(layer.node.inputs) > 1 else "it has one input only"


def _resize(layer: _Layer) -> str:
    """Forum thread 219158 (forums.developer.nvidia.com): half_pixel, with the selector that pytorch_half_pixel sets."""
    attributes = layer.node.attributes
    mode = attributes.get("mode", "nearest")
    coordinates = attributes.get("coordinate_transformation_mode", "half_pixel")
    scales = layer.graph.constant(layer.node.input(2))
    highest = {"nearest": 32, "linear": 4}.get(mode)
    if highest is None:
        return f"the DLA has no mode {mode}"
    if scales is None or scales.size != 4:
        return "it has no four constant scales"
    values = [float(scale) for scale in scales.ravel()]
    if values[:2] != [1, 1] or any(v not in range(1, highest + 1) for v in values[2:]):
        return f"its scales are {[round(v, 4) for v in values]}; {mode} takes 1, 1 and whole numbers of 1 to {highest}"
    if mode == "linear" and coordinates not in ("half_pixel", "pytorch_half_pixel"):
        return f"its coordinates are {coordinates}; bilinear takes half_pixel only"
    return ""


def _softmax(layer: _Layer) -> str:
    if layer.generation < 2:
        return "only the DLA of Orin has Softmax"
    shape = layer.shape(layer.node.input(0))
    axis = layer.node.attributes.get("axis", -1) % 4
    others = [size for i, size in enumerate(shape) if i not in (0, axis)]
    return _outside("its axis of length", (shape[axis] or 0,), 1, 1024) if max(s or 0 for s in others) > 1 else ""


def _prelu(layer: _Layer) -> str:
    slope = layer.node.input(1)
    return "" if layer.graph.is_constant(slope) and len(layer.shape(slope)) == 4 else "its slopes are not of rank 4"


def _free(layer: _Layer) -> str:
    """No limit but those of every layer."""
    return ""


_CHECKS: dict[str, Callable[[_Layer], str]] = {
    "Abs": _free,
    "Add": _elementwise,
    "AveragePool": _pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _deconv,
    "LeakyRelu": _leaky,
    "Max": _elementwise,
    "MaxPool": _pool,
    "Min": _elementwise,
    "Mul": _elementwise,
    "PRelu": _prelu,
    "Relu": _free,
    "Resize": _resize,
    "Sigmoid": _free,
    "Softmax": _softmax,
    "Sub": _elementwise,
    "Sum": _elementwise,
    "Tanh": _free,
}

_QDQ = "the DLA takes no Q/DQ: it is built from the float graph and the ranges of its activations"
_GLOBAL = "pooling of the whole map is a reduction, which the DLA has not"
_GPU_ONLY = {
    "ArgMax": "the DLA has no TopK",
    "Cast": "types are converted on the GPU",
    "DequantizeLinear": _QDQ,
    "GlobalAveragePool": _GLOBAL,
    "GlobalMaxPool": _GLOBAL,
    "Pad": "the DLA pads in convolutions and poolings only",
    "QuantizeLinear": _QDQ,
    "TopK": "the DLA has no TopK",
    "Transpose": "dimensions are reordered on the GPU",
}
