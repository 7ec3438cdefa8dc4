"""Image files of datasets: read whole or refused, and paired with their labels."""

import codecs
import os
from typing import Any, Dict, List, NamedTuple, Optional

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


def pair_files(images: str, labels: str) -> Optional[List[Pair]]:
    """Pair the files of two folders by base name; None if one of the folders is absent.

    Raises UsageError naming images without labels and labels without images.
    """
    if not (os.path.isdir(images) and os.path.isdir(labels)):
        return None
    by_name = [_by_base_name(folder) for folder in (images, labels)]
    unpaired = sorted(set(by_name[0]) ^ set(by_name[1]))
    if unpaired:
        raise UsageError(
            "{} file(s) of {} and {} have no partner: {}".format(
                len(unpaired), images, labels, ", ".join(unpaired[:5])
            ),
            "an image and its label have the same base name",
        )
    return [Pair(path, by_name[1][name]) for name, path in by_name[0].items()]


_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def _by_base_name(folder: str) -> Dict[str, str]:
    """Image files of a folder by name without extension, sorted."""
    paths: Dict[str, str] = {}
    for file in sorted(os.listdir(folder)):
        name = os.path.splitext(file)[0]
        if not is_image(file):
            continue
        if name in paths:
            raise UsageError(
                "{} and {} have the same base name".format(paths[name], file), "keep one image of each name"
            )
        paths[name] = os.path.join(folder, file)
    return paths


def is_image(name: str) -> bool:
    """Whether a file is an image by its name."""
    # macOS leaves "._NAME.png" beside NAME.png on foreign disks
    return not name.startswith(".") and name.lower().endswith(_IMAGES)
