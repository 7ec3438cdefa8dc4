"""Write a FlatBuffer without its schema compiler (flatbuffers.dev/internals), front to back.

A table is a dict from field number to value. A value is a Scalar, a Vector, a str, a Blob (a vector of bytes), a dict
(a table), a list (a vector of these), or Options (a table copied from another buffer).
"""

import struct
from typing import Any, Dict, List, NamedTuple, Tuple, Union

from edgeseg.tflite.flatbuffer import Table


class Scalar(NamedTuple):
    form: str  # of struct, without byte order
    value: Union[int, float]


class Vector(NamedTuple):
    form: str
    values: Tuple[Any, ...]


class Blob(NamedTuple):
    """Bytes whose first lies at a multiple of `align` in the buffer."""

    data: bytes
    align: int = 4


class Options(NamedTuple):
    """A copy of a table whose fields are scalars, but for vectors of int32 in the fields `vectors`."""

    table: Table
    vectors: Tuple[int, ...] = ()


def write_flatbuffer(root: Dict[int, Any], identifier: bytes) -> bytes:
    """The buffer of a root table, with the four bytes of its file identifier."""
    data = bytearray(4) + identifier
    waiting: List[Tuple[int, Any]] = [(0, root)]  # where an offset is to be written, and what it leads to
    while waiting:
        at, value = waiting.pop(0)
        struct.pack_into("<I", data, at, _place(data, value, waiting) - at)
    return bytes(data)


def _place(data: bytearray, value: Any, waiting: List[Tuple[int, Any]]) -> int:
    """Append `value`, note the offsets in it that are still to be written, and return its position."""
    if isinstance(value, dict):
        return _place_table(data, value, waiting)
    if isinstance(value, Options):
        return _place_options(data, value, waiting)
    if isinstance(value, list):
        start = _start_vector(data, len(value), 4)
        waiting.extend((start + 4 + 4 * i, entry) for i, entry in enumerate(value))
        data += bytes(4 * len(value))
    elif isinstance(value, Vector):
        start = _start_vector(data, len(value.values), struct.calcsize("<" + value.form))
        data += struct.pack("<{}{}".format(len(value.values), value.form), *value.values)
    else:
        blob = Blob(value.encode("utf-8"), 4) if isinstance(value, str) else value
        start = _start_vector(data, len(blob.data), blob.align)
        data += blob.data + b"\0"
    return start


def _place_table(data: bytearray, table: Dict[int, Any], waiting: List[Tuple[int, Any]]) -> int:
    fields = max(table) + 1 if table else 0
    _pad(data, 2)
    vtable = len(data)
    data += bytes(4 + 2 * fields)
    _pad(data, 8)
    start = len(data)
    data += struct.pack("<i", start - vtable)
    for number, value in sorted(table.items()):
        form = value.form if isinstance(value, Scalar) else "I"
        _pad(data, struct.calcsize("<" + form))
        struct.pack_into("<H", data, vtable + 4 + 2 * number, len(data) - start)
        if isinstance(value, Scalar):
            data += struct.pack("<" + form, value.value)
        else:
            waiting.append((len(data), value))
            data += bytes(4)
    struct.pack_into("<HH", data, vtable, 4 + 2 * fields, len(data) - start)
    return start


def _place_options(data: bytearray, options: Options, waiting: List[Tuple[int, Any]]) -> int:
    table = options.table
    source, at, vtable_at = table._data, table._position, table._vtable
    vtable_size, size = struct.unpack_from("<HH", source, vtable_at)
    _pad(data, 2)
    vtable = len(data)
    data += source[vtable_at : vtable_at + vtable_size]
    data += bytes((at - len(data)) % 8)  # its fields are aligned as they were
    start = len(data)
    data += struct.pack("<i", start - vtable) + source[at + 4 : at + size]
    for number in options.vectors:
        field = table._field(number)
        if field is not None:
            waiting.append((start + field - at, Vector("i", table.vector(number, "i"))))
    return start


def _start_vector(data: bytearray, length: int, align: int) -> int:
    _pad(data, 4)
    while (len(data) + 4) % align:
        data += bytes(4)
    data += struct.pack("<I", length)
    return len(data) - 4


def _pad(data: bytearray, align: int) -> None:
    data += bytes(-len(data) % align)
