"""The pixels of label images: ids of greyscale and indexed images, colours of all.

Every function raises UsageError for a file that cannot be read, and for a JPEG.
"""

from typing import Any, List

import numpy as np

from edgeseg.datasets.files import decode, read_bytes
from edgeseg.datasets.png import parse_png
from edgeseg.errors import UsageError
from edgeseg.opencv import load_cv2
from edgeseg.palette import Color

Array = Any  # numpy.ndarray; numpy of Python 3.6 has no type stubs


def read_ids(path: str) -> Array:
    """Values (H, W) uint8 of a greyscale image, or the palette indices of an indexed PNG.

    A grey image that was saved with three equal channels is read too. Raises UsageError for any other image.
    """
    cv2 = load_cv2()
    data = _label_bytes(path)
    png = parse_png(data)
    if png is not None and png.has_palette:
        image = _decoded(path, png.of_indices().encoded(), cv2.IMREAD_UNCHANGED)
        # libpng spreads values of fewer bits over 0..255
        return image if png.bit_depth == 8 else image // (255 // ((1 << png.bit_depth) - 1))
    image = _decoded(path, data, cv2.IMREAD_UNCHANGED)
    _require_8_bits(path, image)
    if image.ndim == 3 and np.all(image[..., :1] == image[..., 1:3]):
        return np.ascontiguousarray(image[..., 0])
    if image.ndim == 2:
        return image
    raise UsageError(
        "label {} is in colours, not of class ids".format(path), "save labels as greyscale PNG, one value per class"
    )


def read_colours(path: str) -> Array:
    """Colours (H, W) uint32 of an image, as red * 65536 + green * 256 + blue."""
    cv2 = load_cv2()
    # Not IMREAD_COLOR, which makes 8 bits of 16; ANYDEPTH leaves them as they are
    image = _decoded(path, _label_bytes(path), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    _require_8_bits(path, image)
    codes = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA).view("<u4")[..., 0]
    codes &= 0xFFFFFF  # without alpha
    return codes


def read_first_channel(path: str) -> Array:
    """The red channel (H, W) of an image, uint8 or uint16 as it is stored."""
    image = _decoded(path, _label_bytes(path), load_cv2().IMREAD_UNCHANGED)
    if image.ndim != 3:
        raise UsageError(
            "label {} is not an image of several channels".format(path), "take the label files as they were published"
        )
    return np.ascontiguousarray(image[..., 2])


def read_palette(path: str) -> List[Color]:
    """The palette of an indexed PNG, without decoding its pixels; empty for other images."""
    png = parse_png(_label_bytes(path))
    return png.palette if png is not None else []


def packed(color: Color) -> int:
    """The value of a colour in `read_colours`."""
    red, green, blue = color
    return red << 16 | green << 8 | blue


def unpacked(code: Any) -> Color:
    """The RGB colour of a value of `read_colours`."""
    return int(code) >> 16, int(code) >> 8 & 255, int(code) & 255


def _decoded(path: str, data: bytes, flags: int) -> Array:
    image = decode(data, flags)
    if image is None:
        raise UsageError(
            "label {} cannot be read as an image".format(path), "save labels as PNG; is the file complete?"
        )
    return image


def _require_8_bits(path: str, image: Array) -> None:
    if image.dtype != np.uint8:
        raise UsageError(
            "label {} has {} bits per channel".format(path, 8 * image.dtype.itemsize),
            "save labels as PNG of 8 bits: greyscale with one value per class, or in the colours of the classes",
        )


def _label_bytes(path: str) -> bytes:
    data = read_bytes(path)
    if data.startswith(b"\xff\xd8"):
        raise UsageError(
            "label {} is a JPEG, whose compression changes class ids and colours".format(path),
            "export the labels again, as PNG; a JPEG that is converted to PNG stays wrong",
        )
    return data
