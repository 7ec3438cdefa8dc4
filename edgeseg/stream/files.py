"""Sources that read files: a video, an image, a list of images. They give every frame, in order."""

import os
import time
from collections import Counter
from typing import Any, List, Optional, Sequence

import numpy as np

from edgeseg.errors import UsageError
from edgeseg.opencv import load_cv2
from edgeseg.quiet import quiet
from edgeseg.stream.base import Source, frame_name
from edgeseg.stream.frame import Array, Frame

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
VIDEO_SUFFIXES = [
    ".mp4",
    ".m4v",
    ".mov",
    ".avi",
    ".mkv",
    ".webm",
    ".mpg",
    ".mpeg",
    ".ts",
    ".mts",
    ".m2ts",
    ".wmv",
    ".flv",
    ".ogv",
    ".3gp",
    ".h264",
    ".264",
    ".h265",
    ".265",
    ".hevc",
    ".mjpeg",
    ".mjpg",
]
MAX_FRAMES = 10**8  # a header may claim nonsense


class VideoSource(Source):
    """A video file, or any cv2.VideoCapture that has an end.

    Raises UsageError if `path` cannot be decoded. `capture` replaces opening `path`.
    """

    def __init__(self, path: str, name: str = "", capture: Optional[Any] = None) -> None:
        cv2 = load_cv2()
        self.name = name or os.path.basename(path)
        self.paths = () if capture is not None else (path,)
        with quiet():
            self._capture = cv2.VideoCapture(path) if capture is None else capture
            image = self._capture.read()[1] if self._capture.isOpened() else None
        if image is None:
            self._capture.release()
            raise UsageError(
                "{} cannot be read as a video".format(self.name),
                "is the file complete? Convert it with: ffmpeg -i FILE -pix_fmt yuv420p out.mp4",
            )
        self._first = image
        self._sequence = 0
        self.size = (image.shape[1], image.shape[0])
        fps, count = (float(self._capture.get(p)) for p in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
        self.fps = fps if 0 < fps < 1e4 else 0.0
        self.frames = int(count) if 0 < count < MAX_FRAMES else None

    def read(self) -> Optional[Frame]:
        image, self._first = self._first, None
        if image is None:
            if not self._capture.isOpened():
                return None
            # A new array each time: measured as fast as decoding into an old one, and nobody's frame changes.
            found, image = self._capture.read()
            if not found:
                self.close()
                return None
        sequence, self._sequence = self._sequence, self._sequence + 1
        return Frame(image, sequence, time.monotonic(), frame_name(sequence))

    def close(self) -> None:
        self._first = None
        self._capture.release()


class ImagesSource(Source):
    """Image files in the given order; they may differ in size.

    Raises UsageError if the first cannot be read; `read` raises it for the others.
    """

    def __init__(self, paths: Sequence[str], name: str) -> None:
        self.name = name
        self.paths = tuple(paths)
        self.frames = len(self.paths)
        self._names = _unique_stems(self.paths)
        self._sequence = 0
        with quiet():
            first = read_bgr(self.paths[0])
        self._first: Optional[Array] = first
        self.size = (first.shape[1], first.shape[0])

    def read(self) -> Optional[Frame]:
        sequence = self._sequence
        if sequence >= len(self.paths):
            return None
        image, self._first = self._first, None
        if image is None:
            image = read_bgr(self.paths[sequence])
        self._sequence += 1
        return Frame(image, sequence, time.monotonic(), self._names[sequence])

    def close(self) -> None:
        self._first = None
        self._sequence = len(self.paths)


def read_bgr(path: str) -> Array:
    """Read an image file as (H, W, 3) uint8 BGR.

    Raises UsageError if it cannot be read, is no image, or is cut short (OpenCV would fill the rest with grey).
    """
    cv2 = load_cv2()
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UsageError("image {} cannot be read: {}".format(path, error.strerror), "check path and permissions")
    image = None
    if data and not _is_cut_short(data):
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:  # e.g. a header that claims a gigantic size
            image = None
    if image is None:
        raise UsageError(
            "image {} is damaged, cut short or not an image".format(path),
            "copy it again or remove it; PNG, JPEG, BMP, TIFF and WebP can be read",
        )
    return image


def _is_cut_short(data: bytes) -> bool:
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data
    if data.startswith(b"\xff\xd8"):
        # The end marker after the last start of a scan. Both are unique: compressed data escapes 0xff.
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    return False


def _unique_stems(paths: Sequence[str]) -> List[str]:
    stems = [os.path.splitext(os.path.basename(path))[0] for path in paths]
    count = Counter(stems)
    return [s if count[s] == 1 else "{}_{:06d}".format(s, i) for i, s in enumerate(stems)]
