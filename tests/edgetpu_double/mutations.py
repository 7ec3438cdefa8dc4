"""Damaged .tflite files, one for each seed: cut, flipped, swapped, spliced, and with senseless numbers in fields."""

import random
import struct
from typing import Dict, Iterator, List, NamedTuple, Sequence

from edgeseg.tflite.flatbuffer import Table, root_table

_END = 4096  # the head and the tail of a file, where its tables are
_NUMBERS = (0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 32, 64, 127, 128, 255, 256, 1000, 32767, 65535, 65536, 1 << 20, 1 << 28)
_LIMITS = (0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE)
_SCALES = (0.0, -1.0, 1e-45, 1e-30, 1e30, float("inf"), float("nan"))
_WAYS = ("cut", "head", "tail", "flip", "word", "swap", "splice") + 4 * ("field",) + 2 * ("fields",)
_MOST = 64  # entries of a vector that are counted as fields


class Field(NamedTuple):
    kind: str
    position: int
    bytes: int


class Damaged(NamedTuple):
    how: str
    data: bytes


def damage(seed: int, corpus: Sequence[bytes]) -> Damaged:
    """A file of `corpus`, damaged in a way that the seed decides."""
    rng = random.Random(seed)
    data = bytearray(rng.choice(corpus))
    how = rng.choice(_WAYS)
    size = len(data)
    if how == "cut":
        del data[rng.randrange(size) :]
    elif how in ("head", "tail", "flip"):
        first, last = {"head": (0, min(size, _END)), "tail": (max(0, size - _END), size)}.get(how, (0, size))
        for _ in range(rng.choice((1, 1, 2, 4, 16))):
            data[rng.randrange(first, last)] ^= 1 << rng.randrange(8)
    elif how == "word":
        width = rng.choice((1, 2, 4))
        _put(data, rng.randrange(size - 4), width, rng.choice(_NUMBERS + _LIMITS))
    elif how == "swap":
        one, other = (4 * rng.randrange(size // 4) for _ in range(2))
        data[one : one + 4], data[other : other + 4] = data[other : other + 4], data[one : one + 4]
    elif how == "splice":
        at = rng.randrange(size)
        data[at:] = rng.choice(corpus)[at:]
    else:
        how = _damage_fields(rng, data, 1 if how == "field" else rng.choice((2, 3, 5)))
    return Damaged(how, bytes(data))


def _damage_fields(rng: random.Random, data: bytearray, count: int) -> str:
    kinds: Dict[str, List[Field]] = {}
    for field in find_fields(bytes(data)):
        kinds.setdefault(field.kind, []).append(field)
    chosen = [rng.choice(kinds[rng.choice(sorted(kinds))]) for _ in range(count)]
    for kind, position, width in chosen:
        old = int.from_bytes(data[position : position + width], "little")
        new = rng.choice((old + 1, old - 1, 2 * old, old // 2, rng.randrange(32), rng.choice(_NUMBERS + _LIMITS)))
        if kind == "scale" and rng.random() < 0.5:
            (new,) = struct.unpack("<I", struct.pack("<f", rng.choice(_SCALES)))
        _put(data, position, width, new)
    return " ".join(field.kind for field in chosen)


def _put(data: bytearray, position: int, width: int, number: int) -> None:
    data[position : position + width] = (number % (1 << 8 * width)).to_bytes(width, "little")


# Field numbers below are the order of fields in schema.fbs.


def find_fields(data: bytes) -> Iterator[Field]:
    """Where the numbers of a .tflite file are that mean something."""
    root = root_table(data)
    for code in root.tables(1):
        yield from _scalars(code, "code", {0: 1, 2: 4, 3: 4})
    for buffer in root.tables(4):
        start = buffer._target(0)
        if start is not None:
            yield Field("buffer length", start, 4)
            if struct.unpack_from("<I", data, start)[0] <= _MOST:  # shapes and the like
                yield from _vector(buffer, "constant", 0, 1)
    for graph in root.tables(2):
        for number in (1, 2):
            yield from _vector(graph, "graph", number, 4)
        for tensor in graph.tables(0):
            yield from _vector(tensor, "shape", 0, 4)
            yield from _scalars(tensor, "tensor", {1: 1, 2: 4})
            yield from _vector(tensor, "signature", 7, 4)
            quantization = tensor.table(4)
            if quantization is not None:
                yield from _vector(quantization, "scale", 2, 4)
                yield from _vector(quantization, "zero point", 3, 8)
                yield from _scalars(quantization, "axis", {6: 4})
        for operator in graph.tables(3):
            yield from _operator(operator)


def _operator(operator: Table) -> Iterator[Field]:
    yield from _scalars(operator, "operator", {0: 4, 3: 1})
    yield from _vector(operator, "inputs", 1, 4)
    yield from _vector(operator, "outputs", 2, 4)
    options = operator.table(4)
    if options is not None:
        for number in range(options._fields):
            yield from _scalars(options, "option", {number: 1})


def _scalars(table: Table, kind: str, numbers: Dict[int, int]) -> Iterator[Field]:
    for number, width in numbers.items():
        position = table._field(number)
        if position is not None:
            yield Field(kind, position, width)


def _vector(table: Table, kind: str, number: int, width: int) -> Iterator[Field]:
    start = table._target(number)
    if start is not None:
        yield Field(kind + " length", start, 4)
        for i in range(min(_MOST, struct.unpack_from("<I", table._data, start)[0])):
            yield Field(kind, start + 4 + width * i, width)
