"""The kernels of the convolutions in an ONNX file, read without the package onnx, which devices lack.

The file is a protobuf message (protobuf.dev/programming-guides/encoding). Field numbers are those of onnx/onnx.proto in
https://github.com/onnx/onnx. Every length is checked against the file, so a damaged file is an error, never a crash.
"""

import struct
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

from edgeseg.errors import BundleError

_MAX_FIELDS = 1 << 17  # of one message; networks have thousands
_CONVOLUTIONS = ("Conv", "ConvTranspose")
_QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
_FLOAT, _FLOAT16 = 1, 10  # onnx.proto, enum TensorProto.DataType


class OnnxKernel(NamedTuple):
    """The kernel of a Conv, (O, I / groups, h, w), or a ConvTranspose, (I, O / groups, h, w)."""

    name: str
    operator: str
    weights: np.ndarray  # float32 or float16, as in the file
    integers: Optional[np.ndarray]  # int8, what QuantizeLinear makes of them; None where they are used as floats


class _Node(NamedTuple):
    operator: str
    inputs: List[str]
    outputs: List[str]
    axis: int


def read_onnx_kernels(data: bytes) -> List[OnnxKernel]:
    """The kernels in order of execution, one that several nodes read once; computed ones are left out.

    Raises BundleError if the file is damaged.
    """
    try:
        return _kernels(memoryview(data))
    except (struct.error, IndexError, ValueError, TypeError) as error:
        raise BundleError(
            "the .onnx file is truncated or damaged ({})".format(error), "copy the file again, or export it again"
        )


def _kernels(data: memoryview) -> List[OnnxKernel]:
    graph = memoryview(b"")
    for number, value in _fields(data):
        if number == 7:
            graph = value
    nodes, constants = [], {}
    for number, value in _fields(graph):
        if number == 1:
            nodes.append(_node(value))
        elif number == 5:
            constants[_name(value, 8)] = value
    makers = {name: node for node in nodes if node.operator in _QUANTISERS for name in node.outputs}
    found: Dict[str, OnnxKernel] = {}
    for node in nodes:
        if node.operator in _CONVOLUTIONS:
            name, quantiser = _source(node.inputs[1], makers)
            if name in constants and name not in found:
                weights = _array(constants[name])
                if weights.ndim < 2:
                    raise ValueError("a kernel of {} dimensions".format(weights.ndim))
                integers = None if quantiser is None else _quantised(weights, quantiser, constants)
                found[name] = OnnxKernel(name, node.operator, weights, integers)
    return list(found.values())


def _source(name: str, makers: Dict[str, _Node]) -> Tuple[str, Optional[_Node]]:
    """The tensor that goes through QuantizeLinear and DequantizeLinear to become `name`, and the former."""
    back = makers.get(name)
    quantiser = makers.get(back.inputs[0]) if back is not None else None
    return (name, None) if quantiser is None else (quantiser.inputs[0], quantiser)


def _quantised(weights: np.ndarray, quantiser: _Node, constants: Dict[str, memoryview]) -> np.ndarray:
    """Integers as QuantizeLinear makes them (onnx/docs/Operators.md), counted from its zero point."""
    scale = _array(constants.get(quantiser.inputs[1], memoryview(b"")))
    if scale.size > 1:
        shape = [1] * weights.ndim
        shape[quantiser.axis] = scale.size
        scale = scale.reshape(shape)
    if not np.isfinite(scale).all() or not (scale > 0).all():
        raise ValueError("a scale that is not above 0")
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.rint(weights / scale)
    if not np.isfinite(steps).all():
        raise ValueError("weights that are not finite")
    return np.clip(steps, -128, 127).astype(np.int8)


def _node(data: memoryview) -> _Node:
    """A NodeProto; `axis` is its attribute of that name, by default 1, as for QuantizeLinear."""
    operator, axis = "", 1
    ends: Dict[int, List[str]] = {1: [], 2: []}
    for number, value in _fields(data):
        if number in ends:
            ends[number].append(_text(value))
        elif number == 4:
            operator = _text(value)
        elif number == 5 and _name(value, 1) == "axis":
            axis = dict(_fields(value)).get(3, 0)
    return _Node(operator, ends[1], ends[2], axis - (1 << 64) if axis >> 63 else axis)


def _array(data: memoryview) -> np.ndarray:
    """The float32 or float16 values of a TensorProto."""
    shape: List[int] = []
    kind, raw = 0, b""
    numbers: List[int] = []
    for number, value in _fields(data):
        if number == 1:
            shape += _integers(value)
        elif number == 2:
            kind = value
        elif number in (4, 9):  # float_data, raw_data: the same bytes
            raw += bytes(value)
        elif number == 5:  # int32_data: the bits of a float16 each
            numbers += _integers(value)
    if kind not in (_FLOAT, _FLOAT16):
        raise ValueError("weights of data type {}".format(kind))
    if numbers:
        raw = struct.pack("<{}H".format(len(numbers)), *numbers)
    return np.frombuffer(raw, "<f4" if kind == _FLOAT else "<f2").reshape(shape)


def _integers(value: Any) -> List[int]:
    """A repeated integer, packed or not."""
    if isinstance(value, int):
        return [value]
    found, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        found.append(number)
    return found


def _name(data: memoryview, field: int) -> str:
    return "".join(_text(value) for number, value in _fields(data) if number == field)


def _text(value: memoryview) -> str:
    return bytes(value).decode("utf-8")


def _fields(data: memoryview) -> Iterator[Tuple[int, Any]]:
    """(field number, value) of a message: an int, or the bytes of anything longer."""
    at = 0
    for _ in range(_MAX_FIELDS):
        if at == len(data):
            return
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError("wire type {}".format(kind))
        if at + size > len(data):
            raise ValueError("bytes from {} to {} of {}".format(at, at + size, len(data)))
        yield key >> 3, data[at : at + size]
        at += size
    raise ValueError("more than {} fields".format(_MAX_FIELDS))


def _varint(data: memoryview, at: int) -> Tuple[int, int]:
    """An integer of at most 64 bits, and where it ends."""
    value = 0
    for shift in range(0, 64, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("an integer of more than 64 bits")
