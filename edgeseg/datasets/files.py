"""Files of datasets: read whole or refused."""

import codecs
import os
from typing import Any, NamedTuple, Optional

import numpy as np

from edgeseg.datasets.png import parse_png
from edgeseg.errors import UsageError
from edgeseg.opencv import load_cv2
from edgeseg.stream.png import SIGNATURE

Array = Any  # numpy.ndarray; numpy of Python 3.6 has no type stubs


class Pair(NamedTuple):
    """Paths of an image and of its label map."""

    image: str
    label: str

    @property
    def name(self) -> str:
        return os.path.splitext(os.path.basename(self.image))[0]


def read_rgb(path: str) -> Array:
    """Read an image file as (H, W, 3) uint8 RGB. Raises UsageError if it is absent or no whole image."""
    cv2 = load_cv2()
    image = decode(read_bytes(path), cv2.IMREAD_COLOR)
    if image is None:
        raise UsageError("{} cannot be read as an image".format(path), "is the file complete, and a PNG or JPEG?")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def read_bytes(path: str) -> bytes:
    """The contents of a file. Raises UsageError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError("file {} cannot be read: {}".format(path, error.strerror), "check the data folder")


def read_text(path: str) -> str:
    """The text of a file in UTF-8, or UTF-16 as Windows writes it. Raises UsageError for anything else."""
    data = read_bytes(path)
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError("{} is not a text file in UTF-8".format(path), "save it as text, in UTF-8")


def decode(data: bytes, flags: int) -> Optional[Array]:
    """The image in the bytes of a file, None if there is no whole one."""
    # OpenCV fills the missing part of a truncated JPEG with grey; the end marker tells.
    is_cut_jpeg = data.startswith(b"\xff\xd8") and b"\xff\xd9" not in data
    if is_cut_jpeg or not data:
        return None
    if data.startswith(SIGNATURE):
        png = parse_png(data)
        if png is None:
            return None
        data = png.encoded()
    cv2 = load_cv2()
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # a header with an impossible size
        return None
