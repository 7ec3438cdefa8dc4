"""Indexed PNG files of every kind: bit depths 1 to 8, with and without Adam7 interlacing, with a tRNS chunk."""

import struct
import zlib

import numpy as np

from edgeseg.stream.png import SIGNATURE, png_chunk

# W3C PNG specification, 8.2: first column and row, and the steps, of each pass
_ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def indexed_png(pixels, palette, bits=8, interlaced=False):
    """The bytes of an indexed PNG of pixels (H, W); palette is a list of RGB colours."""
    passes = [pixels[y::dy, x::dx] for x, y, dx, dy in _ADAM7] if interlaced else [pixels]
    rows = b"".join(b"\0" + _packed(row, bits) for part in passes if part.size for row in part)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], bits, 3, 0, 0, interlaced)
    chunks = [
        (b"IHDR", header),
        (b"iCCP", b"broken profile"),  # libpng warns of it
        (b"PLTE", bytes(bytearray(np.array(palette, np.uint8).ravel()))),
        (b"tRNS", b"\0\x80"),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    return SIGNATURE + b"".join(png_chunk(*chunk) for chunk in chunks)


def _packed(row, bits):
    """A row of samples with the first one in the high bits, as PNG packs them."""
    ones = np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - bits :]
    return np.packbits(ones.ravel()).tobytes()
