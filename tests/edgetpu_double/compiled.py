"""What the Edge TPU compiler makes of a .tflite file, as far as a runtime can tell: a double of its output.

The format is that of google-coral/test_data's deeplabv3_mnv2_pascal_quant_edgetpu.tflite: one `edgetpu-custom-op`,
whose options are a FlexBuffer map that holds a DWN1 package (libedgetpu: executable/executable.fbs,
tflite/custom_op_data.cc). The instructions in it mean nothing; libedgetpu.c beside this file runs the uncompiled file,
which the package carries in the field `serialized_model`.
"""

import hashlib
import struct
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from flatbuffer_writer import Blob, Options, Scalar, Vector, write_flatbuffer

from edgeseg.tflite.flatbuffer import Table, root_table
from edgeseg.tflite.model import Operator, Tensor, TfliteModel, read_tflite

PAGE = 4096
CACHE_BYTES = 8000000  # compiler 16.0 leaves 7.6 to 7.9 MiB for parameters
_PARAMETER_CACHING, _EXECUTION_ONLY = 1, 2
_CUSTOM = 32
_BEAGLE = 18  # the Edge TPU among chips (libedgetpu: api/chip.h)
_WITH_VECTOR = (17, 30)  # options of schema.fbs whose field 0 is a vector: ReshapeOptions, SqueezeOptions


def compiled_file(data: bytes, keep_on_cpu: int = 0, min_runtime: int = 14, cache_bytes: int = CACHE_BYTES) -> bytes:
    """The compiled form of an uncompiled full-integer .tflite file.

    Its last `keep_on_cpu` operators stay what they are. Parameters beyond `cache_bytes` are streamed at each inference.
    """
    model = read_tflite(data)
    count = len(model.operators) - keep_on_cpu
    if count < 1:
        raise ValueError("{} operators cannot leave {} to the CPU".format(len(model.operators), keep_on_cpu))
    mapped, tail = model.operators[:count], model.operators[count:]
    inputs, outputs = _border(model, mapped, tail)
    carried = _write(data, model, slice(count), outputs) if tail else data
    package = _package(carried, model, mapped, (inputs, outputs), min_runtime, cache_bytes)
    custom = {1: tuple(inputs), 2: tuple(outputs), 5: Blob(_custom_options(package), 16)}
    return _write(data, model, slice(count, None), model.outputs, custom)


def cut(data: bytes, names: Sequence[str]) -> bytes:
    """The part of an uncompiled .tflite that computes the tensors of these names, which become its outputs."""
    model = read_tflite(data)
    outputs = [next(i for i, tensor in enumerate(model.tensors) if tensor.name == name) for name in names]
    last = max(n for n, operator in enumerate(model.operators) if set(operator.outputs) & set(outputs))
    return _write(data, model, slice(last + 1), outputs)


def _border(model: TfliteModel, mapped: Sequence[Operator], tail: Sequence[Operator]) -> Tuple[List[int], List[int]]:
    """Tensors that enter and leave the mapped operators; the compiler sorts the latter by name."""
    made = {i for operator in mapped for i in operator.outputs}
    read = {i for operator in mapped for i in operator.inputs}
    wanted = {i for operator in tail for i in operator.inputs} | set(model.outputs)
    return [i for i in model.inputs if i in read], sorted(made & wanted, key=lambda i: model.tensors[i].name)


def _package(
    carried: bytes,
    model: TfliteModel,
    mapped: Sequence[Operator],
    border: Tuple[Sequence[int], Sequence[int]],
    min_runtime: int,
    cache_bytes: int,
) -> bytes:
    constants = sorted({i for operator in mapped for i in operator.inputs if i >= 0 and model.tensors[i].data})
    parameters = b"".join(model.tensors[i].data for i in constants)
    digest = hashlib.sha256(carried).digest()
    token = struct.unpack("<Q", digest[:8])[0]
    layers = [[_layer(model.tensors[i], kind) for i in part] for kind, part in zip((2, 1), border)]
    execution = _executable("model", _EXECUTION_ONLY, token, parameters[cache_bytes:], digest * 32 * len(mapped))
    execution.update({2: Blob(carried), 8: layers[0], 9: layers[1], 12: Scalar("i", PAGE)})
    caching = _executable("Unknown", _PARAMETER_CACHING, token, parameters[:cache_bytes], digest * 32)
    executables = [Blob(_pages(write_flatbuffer(e, b"\0\0\0\0")), PAGE) for e in (execution, caching)]
    package = {
        0: Scalar("i", min_runtime),
        1: Blob(_pages(write_flatbuffer({0: executables}, b"\0\0\0\0")), PAGE),
        2: Blob(b""),  # signature
        3: Scalar("i", 0),
        4: "cl/",
        5: Scalar("i", 0),
        7: "",
    }
    return _pages(write_flatbuffer(package, b"DWN1"))


def _executable(name: str, kind: int, token: int, parameters: bytes, instructions: bytes) -> Dict[int, Any]:
    return {
        1: name,
        3: Scalar("i", 1),  # batch size
        5: [{0: Blob(instructions)}],
        6: Blob(parameters, PAGE),
        10: "beagle",
        13: Scalar("h", kind),
        14: Scalar("Q", token),
    }


def _layer(tensor: Tensor, kind: int) -> Dict[int, Any]:
    y, x, z = ((1, 1, 1) + tensor.shape)[-3:]
    signed = tensor.type == "int8"
    # The hardware counts in uint8. Inputs are padded to 8 bytes, pixels of outputs to 4.
    size = -(-(y * x * z) // 8) * 8 if kind == 2 else y * x * (-(-z // 4) * 4)
    zero = (tensor.zero_point or (0,))[0] + (128 if signed else 0)
    numerics = {0: Scalar("i", zero), 1: Scalar("f", (tensor.scale or (1.0,))[0])}
    layer: Dict[int, Any] = {0: tensor.name, 1: Scalar("i", size)}
    layer.update({2: Scalar("i", y), 3: Scalar("i", x), 4: Scalar("i", z), 5: numerics})
    layer.update({7: Scalar("B", kind), 8: {}})
    if signed:
        layer[6] = Scalar("h", 8)  # SIGNED_FIXED_POINT8
    return layer


def _pages(data: bytes) -> bytes:
    return data + bytes(-len(data) % PAGE)


def _custom_options(package: bytes) -> bytes:
    """FlexBuffer map {"1": version 0, "4": package, "5": preference -1, "6": [chip], "7": []}, laid out as Google's."""
    form, size_bits = ("H", 1) if len(package) < 0xFF00 else ("I", 2)
    width = 1 << size_bits
    data = bytearray(b"1\x004\x00") + struct.pack("<" + form, len(package))
    string = len(data)
    data += package + b"\0"
    keys = [0, 2, len(data), len(data) + 2]
    data += b"5\x006\x00\x01"
    chips = len(data)
    data += bytes([_BEAGLE, 1 << 2])
    keys.append(len(data))
    data += b"7\x00\x00"
    rest = len(data)

    data += bytes(-len(data) % width) + struct.pack("<" + form, len(keys))
    names = len(data)
    for key in keys:
        data += struct.pack("<" + form, len(data) - key)
    data += struct.pack("<" + 3 * form, len(data) - names, width, len(keys))
    values = len(data)
    data += bytes(width)
    data += struct.pack("<" + form, len(data) - string)
    data += b"\xff" * width
    data += struct.pack("<" + form, len(data) - chips)
    data += struct.pack("<" + form, len(data) - rest)
    integer, text, vector = 1 << 2 | size_bits, 5 << 2 | size_bits, 10 << 2
    data += bytes([integer, text, integer, vector, vector])
    return bytes(data + bytes([len(data) - values, 9 << 2 | size_bits, 1]))


def _write(
    data: bytes, model: TfliteModel, part: slice, outputs: Sequence[int], custom: Optional[Dict[int, Any]] = None
) -> bytes:
    """A .tflite with the operators `part` of `data`, after a custom one if it is given, and new outputs.

    Beside a custom operator the versions become 1 and metadata are dropped, as by the compiler.
    """
    operators: List[Dict[int, Any]] = [dict(custom)] if custom else []
    codes = [(_CUSTOM, 1)] if custom else []
    root = root_table(data)
    (graph,) = root.tables(2)
    kinds = [max(table.scalar(0, "<b", 0), table.scalar(3, "<i", 0)) for table in root.tables(1)]
    for table, operator in zip(graph.tables(3)[part], model.operators[part]):
        code = (kinds[table.scalar(0, "<I", 0)], 1 if custom else operator.version)
        if code not in codes:
            codes.append(code)
        copy: Dict[int, Any] = {0: Scalar("I", codes.index(code)), 1: operator.inputs, 2: operator.outputs}
        found = table.table(4)
        if found is not None:
            form = table.scalar(3, "<B", 0)
            copy.update({3: Scalar("B", form), 4: Options(found, (0,) if form in _WITH_VECTOR else ())})
        operators.append(copy)

    used = sorted({i for operator in operators for i in operator[1] + operator[2] if i >= 0})
    place = {-1: -1}
    place.update((old, new) for new, old in enumerate(used))

    def moved(indices: Iterable[int]) -> Vector:
        return Vector("i", tuple(place[i] for i in indices))

    for copy in operators:
        copy.update({1: moved(copy[1]), 2: moved(copy[2])})
    buffers: List[Dict[int, Any]] = [{}]
    tensors = [_tensor(old, model.tensors[i], buffers) for i, old in enumerate(graph.tables(0)) if i in place]
    new_graph = {0: tensors, 1: moved(model.inputs), 2: moved(outputs), 3: operators, 4: "main"}
    new_root = {0: Scalar("I", 3), 1: [_code(*code) for code in codes], 2: [new_graph]}
    new_root.update({3: "Exported from Subgraph.", 4: buffers})
    return write_flatbuffer(new_root, b"TFL3")


def _code(kind: int, version: int) -> Dict[int, Any]:
    code: Dict[int, Any] = {0: Scalar("b", min(kind, 127)), 2: Scalar("i", version), 3: Scalar("i", kind)}
    if kind == _CUSTOM:
        code[1] = "edgetpu-custom-op"
    return code


def _tensor(table: Table, tensor: Tensor, buffers: List[Dict[int, Any]]) -> Dict[int, Any]:
    if tensor.data:
        buffers.append({0: Blob(tensor.data, 16)})
    buffer = len(buffers) - 1 if tensor.data else 0
    kind = Scalar("b", table.scalar(1, "<b", 0))
    copy: Dict[int, Any] = {0: Vector("i", tensor.shape), 1: kind, 2: Scalar("I", buffer), 3: tensor.name}
    if tensor.scale:
        axis = Scalar("i", tensor.channel_axis)
        copy[4] = {2: Vector("f", tensor.scale), 3: Vector("q", tensor.zero_point), 6: axis}
    return copy


def carried_model(options: bytes) -> bytes:
    """The uncompiled model in the options of an `edgetpu-custom-op`; b"" where it carries none."""
    start = options.index(b"DWN1") - 4
    package = root_table(options[start:])
    for executable in map(root_table, root_table(package.bytes(1)).byte_strings(0)):
        if executable.scalar(13, "<h", 0) == _EXECUTION_ONLY:
            return executable.bytes(2)
    return b""
