"""The plan of the double (an engine's bytes), the little of ONNX that it must know, and the faults asked for."""

import hashlib
import json
import os
import struct
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

MAGIC = b"edgeseg double\0\0"
ONNX_FLOAT, ONNX_UINT8, ONNX_INT8, ONNX_HALF = 1, 2, 3, 10
_VERSION = [""]


def set_version(version: str) -> None:
    _VERSION[0] = version


def version() -> str:
    return _VERSION[0]


def major() -> int:
    return int(version().split(".")[0])


def capability() -> Tuple[int, int]:
    """Of the GPU: (7, 2)."""
    number = int(os.environ.get("STUB_CUDA_CAPABILITY") or 72)
    return number // 10, number % 10


def cuda_error() -> int:
    return int(os.environ.get("STUB_CUDA_ERROR") or 0)


def faults() -> Dict[str, str]:
    """{"slow-build": "2", "nan-output": ""} of $EDGESEG_DOUBLE_FAULTS."""
    words = os.environ.get("EDGESEG_DOUBLE_FAULTS", "").split()
    return {word.partition("=")[0]: word.partition("=")[2] for word in words}


def has_fast_fp16() -> bool:
    return "slow-fp16" not in faults() and capability() not in ((5, 0), (5, 2), (6, 1))


def has_fast_int8() -> bool:
    return "slow-int8" not in faults() and (capability() == (6, 1) or capability() >= (7, 0))


def dla_cores() -> int:
    return int(faults().get("dla", 2 if capability() in ((7, 2), (8, 7)) else 0))


class BadPlan(Exception):
    """Why a plan is refused, in the words of TensorRT."""


def write_plan(about: Dict[str, Any], model: bytes) -> bytes:
    header = json.dumps(dict(about, version=version(), capability="{}.{}".format(*capability()))).encode("utf-8")
    body = struct.pack("<II", len(header), len(model)) + header + model
    return MAGIC + struct.pack("<Q", len(body)) + hashlib.sha256(body).digest() + body


def read_plan(data: bytes) -> Tuple[Dict[str, Any], bytes]:
    """What an engine was built with (flags, layers with precision, workspace, ...), and its ONNX graph."""
    data = bytes(data)
    if data[: len(MAGIC)] != MAGIC:
        raise BadPlan(_serialization("magicTagRead == kMAGIC_TAG", "Magic tag does not match"))
    start = len(MAGIC) + 8 + 32
    if len(data) < start or len(data) - start != struct.unpack_from("<Q", data, len(MAGIC))[0]:
        assertion = "sizeRead == static_cast<uint64_t>(mEnd - mCurrent)"
        raise BadPlan(_serialization(assertion, "Size specified in header does not match archive size"))
    body = data[start:]
    if hashlib.sha256(body).digest() != data[start - 32 : start]:
        raise BadPlan(_serialization("crcRead == crcComputed", "CRC does not match"))
    header_size, model_size = struct.unpack_from("<II", body)
    return json.loads(body[8 : 8 + header_size].decode("utf-8")), body[8 + header_size : 8 + header_size + model_size]


def check_plan(about: Dict[str, Any]) -> None:
    """Refuse a plan of another version or GPU."""
    if about["version"] != version():
        tags = [int(hashlib.sha256(v.encode()).hexdigest()[:2], 16) + 100 for v in (version(), about["version"])]
        note = "Version tag does not match. Note: Current Version: {}, Serialized Engine Version: {}".format(*tags)
        raise BadPlan(_serialization("stdVersionRead == serializationVersion", note))
    here = "{}.{}".format(*capability())
    if about["capability"] != here:
        raise BadPlan(
            "Error Code 6: API Usage Error (The engine plan file is generated on an incompatible device, expecting "
            "compute {} got compute {}, please rebuild.)".format(here, about["capability"])
        )


def _serialization(assertion: str, text: str) -> str:
    return "Error Code 1: Serialization (Serialization assertion {} failed.{})".format(assertion, text)


class Node(NamedTuple):
    """One node of an ONNX graph."""

    name: str
    op: str
    domain: str
    inputs: List[str]
    outputs: List[str]
    cast_to: int  # the `to` of a Cast, else 0


class Graph(NamedTuple):
    """An ONNX graph as far as the double needs it."""

    nodes: List[Node]
    constants: Dict[str, int]  # initializers: name -> ONNX data type


def walk_model(data: bytes) -> Graph:
    """Nodes and initializers of a serialised ModelProto (onnx.proto). ValueError if it is not one."""
    try:
        graphs = [value for number, value in _fields(data) if number == 7]
        if len(graphs) != 1 or not isinstance(graphs[0], bytes):
            raise ValueError("no graph")
        nodes: List[Node] = []
        constants: Dict[str, int] = {}
        for number, value in _fields(graphs[0]):
            if number == 1:
                nodes.append(_node(value, len(nodes)))
            elif number == 5:
                tensor = dict(_fields(value))
                constants[tensor[8].decode("utf-8")] = tensor.get(2, 0)
        return Graph(nodes, constants)
    except (IndexError, KeyError, TypeError, AttributeError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(str(error))


def _node(data: bytes, index: int) -> Node:
    fields = list(_fields(data))
    texts = {n: [v.decode("utf-8") for number, v in fields if number == n] for n in (1, 2, 3, 4, 7)}
    attributes = [dict(_fields(value)) for number, value in fields if number == 5]
    cast_to = sum(a.get(3, 0) for a in attributes if a.get(1) == b"to")
    op = texts[4][0]
    name = (texts[3] or [""])[0] or "{}_{}".format(op, index)
    return Node(name, op, (texts[7] or [""])[0], texts[1], texts[2], cast_to)


def _fields(data: bytes) -> Iterator[Tuple[int, Any]]:
    """(field number, value) of a protobuf message; groups are not in use since proto2."""
    at = 0
    while at < len(data):
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
            raise ValueError("truncated")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> Tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
