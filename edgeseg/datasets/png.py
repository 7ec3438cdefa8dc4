"""PNG files as bytes: checked before libpng sees them, and palette indices instead of colours.

Chunks, colour types and checksums: W3C PNG specification, sections 5 and 11.2, https://www.w3.org/TR/png/
"""

import struct
import zlib
from typing import List, NamedTuple, Optional, Tuple

from edgeseg.stream.png import SIGNATURE, png_chunk

_GREY, _PALETTE = 0, 3  # colour types
_LARGEST_SIDE, _LARGEST_AREA = 1000000, 1 << 30  # PNG_USER_WIDTH_MAX, CV_IO_MAX_IMAGE_PIXELS
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")

Color = Tuple[int, int, int]


class Png(NamedTuple):
    """The critical chunks of a PNG file, all whole: kind and data of each, in order."""

    chunks: List[Tuple[bytes, bytes]]

    @property
    def bit_depth(self) -> int:
        return self.chunks[0][1][8]

    @property
    def has_palette(self) -> bool:
        return self.chunks[0][1][9] == _PALETTE

    @property
    def palette(self) -> List[Color]:
        """RGB of each index; empty where the image has no palette."""
        data = dict(self.chunks).get(b"PLTE", b"") if self.has_palette else b""
        return [(data[i], data[i + 1], data[i + 2]) for i in range(0, len(data) - 2, 3)]

    def encoded(self) -> bytes:
        return SIGNATURE + b"".join(png_chunk(kind, data) for kind, data in self.chunks)

    def of_indices(self) -> "Png":
        """The same samples as a greyscale image: libpng then gives indices, times 255 / (2^bit depth - 1)."""
        header = self.chunks[0][1]
        grey = header[:9] + bytes([_GREY]) + header[10:]
        return Png([(b"IHDR", grey)] + [chunk for chunk in self.chunks[1:] if chunk[0] != b"PLTE"])


def parse_png(data: bytes) -> Optional[Png]:
    """Split a PNG file; None if it is cut short or damaged.

    Only critical chunks are kept. Of the others libpng may complain on stderr (colour profiles), and none of them
    changes a sample; transparency is of no use in labels and is dropped from images anyway.
    """
    chunks = []
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 12 + length
        if end > len(data):
            return None
        kind, body = data[position + 4 : position + 8], data[position + 8 : end - 4]
        if zlib.crc32(data[position + 4 : end - 4]) & 0xFFFFFFFF != struct.unpack_from(">I", data, end - 4)[0]:
            return None
        if kind in _CRITICAL:
            chunks.append((kind, body))
        if kind == b"IEND":
            return Png(chunks) if _is_header(*chunks[0]) else None
        position = end
    return None


def _is_header(kind: bytes, data: bytes) -> bool:
    """Whether a chunk is a header, of an image not larger than libpng and OpenCV allow."""
    if kind != b"IHDR" or len(data) != 13:
        return False
    width, height = struct.unpack(">II", data[:8])
    return max(width, height) <= _LARGEST_SIDE and width * height <= _LARGEST_AREA
