"""PNG files with a palette, which OpenCV cannot write: pixel values are class ids, colours are in the file."""

import struct
import zlib
from typing import Any, Sequence

import numpy as np

from edgeseg.draw import color_table
from edgeseg.palette import SegClass
from edgeseg.stream.atomic import write_atomic

Array = Any

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def write_palette_png(path: str, mask: Array, classes: Sequence[SegClass]) -> None:
    """Write mask (H, W) uint8 as an indexed PNG. Raises EnvironmentFault if the disk is full; atomic."""
    write_atomic(path, encode_palette_png(mask, classes))


def encode_palette_png(mask: Array, classes: Sequence[SegClass]) -> bytes:
    """The bytes of an indexed PNG (W3C PNG specification: colour type 3, 8 bits) of mask (H, W) uint8."""
    height, width = mask.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each row starts with its filter: 0, none
    rows[:, 1:] = mask
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return b"".join(
        (
            SIGNATURE,
            png_chunk(b"IHDR", header),
            png_chunk(b"PLTE", color_table(classes).tobytes()),
            png_chunk(b"IDAT", zlib.compress(rows.tobytes(), 1)),
            png_chunk(b"IEND", b""),
        )
    )


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file: length, kind, data, checksum (W3C PNG specification, 5.3)."""
    checksum = zlib.crc32(kind + data) & 0xFFFFFFFF
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
