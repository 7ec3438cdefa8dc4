"""Kernels of few values, as weight sharing leaves them: two weights to a byte, in front of LZMA.

LZMA codes a byte in eight decisions, whatever it can be, and takes 26 % more than the entropy of such kernels; of pairs
it takes 2 % more. Measured on fcn8-camvid with 65 % zeros and 16 values, 1.25 million weights: Shannon's bound 365 kB,
Huffman 381, LZMA 462, LZMA of pairs 374.

A packed payload is as long as the payload, with the pairs at the beginning of each kernel and zeros behind them, and
then a table: for each kernel its offset and number of weights, how many values it has, and these.
"""

import struct
from typing import List, Tuple

import numpy as np

from edgeseg.errors import BundleError

SUFFIX = ".packed"  # of a payload's path in the archive
MAX_TABLE_BYTES = 1 << 20
_VALUES = 16  # four bits
_WORTH_IT = 256  # weights
_ROW = struct.Struct("<IIB")  # offset, weights, values

Run = Tuple[int, int]  # offset, weights


def packable(role: str, data: bytes) -> List[Run]:
    """Where in a payload int8 kernels of few values lie, ascending."""
    from edgeseg.kernels import kernels_of

    try:
        kernels = kernels_of({role: data})
    except BundleError:  # no file of a network
        return []
    found = set()
    for kernel in kernels:
        if kernel.array.dtype == np.int8 and kernel.weights >= _WORTH_IT and len(kernel.values or ()) <= _VALUES:
            offset = data.find(kernel.array.tobytes())
            if offset >= 0:
                found.add((offset, kernel.weights))
    runs: List[Run] = []
    for offset, weights in sorted(found):
        if not runs or offset >= sum(runs[-1]):
            runs.append((offset, weights))
    return runs


def pack(data: bytes, runs: List[Run]) -> bytes:
    """The payload with these kernels packed. `unpack` gives it back."""
    body = np.frombuffer(data, np.uint8).copy()
    table = b""
    for offset, weights in runs:
        kernel = body[offset : offset + weights]
        values, indices = np.unique(kernel, return_inverse=True)
        half = (weights + 1) // 2
        pairs = np.zeros(2 * half, np.uint8)
        pairs[:weights] = indices
        kernel[:half] = pairs[0::2] | pairs[1::2] << 4
        kernel[half:] = 0
        table += _ROW.pack(offset, weights, len(values)) + values.tobytes()
    return body.tobytes() + table


def unpack(packed: bytes, size: int) -> bytes:
    """The payload, of `size` bytes. Raises BundleError if `packed` is damaged."""
    body = np.frombuffer(packed[:size], np.uint8).copy()
    at, end = size, 0
    while at < len(packed):
        try:
            offset, weights, count = _ROW.unpack_from(packed, at)
        except struct.error:
            raise _damaged("ends in the middle of a row")
        values = np.frombuffer(packed[at + _ROW.size : at + _ROW.size + count], np.uint8)
        at += _ROW.size + count
        if not 0 < len(values) == count <= _VALUES or not end <= offset <= offset + weights <= len(body):
            raise _damaged("has {} weights of {} values at {}".format(weights, count, offset))
        end = offset + weights
        kernel = body[offset : offset + weights]
        half = (weights + 1) // 2
        indices = np.empty(2 * half, np.uint8)
        indices[0::2], indices[1::2] = kernel[:half] & 15, kernel[:half] >> 4
        if weights and int(indices[:weights].max()) >= count:
            raise _damaged("has more than {} values at {}".format(count, offset))
        kernel[:] = values[indices[:weights]]
    return body.tobytes()


def _damaged(what: str) -> BundleError:
    return BundleError(
        "the table of packed kernels {}".format(what), "copy or download the file again, or export the network again"
    )
