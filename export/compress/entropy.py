"""What the values of a payload would take with an ideal code, and with Huffman's (Deep Compression, section 4)."""

import heapq
import math
from collections.abc import Iterable

import numpy as np


def shannon_bits(counts: Iterable[int]) -> float:
    """Bits of a sequence of independent symbols that occur so often; no code that treats them alone takes less."""
    used = [count for count in counts if count]
    total = sum(used)
    return sum(count * math.log2(total / count) for count in used)


def huffman_bits(counts: Iterable[int]) -> int:
    """Bits of the same sequence in Huffman's code, without its table. A single symbol takes one bit each time."""
    heap = [count for count in counts if count]
    if len(heap) == 1:
        return heap[0]
    heapq.heapify(heap)
    bits = 0
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        bits += joined
        heapq.heappush(heap, joined)
    return bits


def counts_of(values: np.ndarray) -> np.ndarray:
    """How often each different value occurs; floats by their bits."""
    flat = np.ascontiguousarray(values).ravel()
    if flat.dtype.kind == "f":
        flat = flat.view(f"u{flat.dtype.itemsize}")
    return np.asarray(np.unique(flat, return_counts=True)[1])
