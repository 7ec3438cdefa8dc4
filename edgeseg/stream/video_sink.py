"""Video files through cv2.VideoWriter, which reports no error when the disk is full: so it is looked for."""

import os
from typing import TYPE_CHECKING, Optional, Tuple

from edgeseg.errors import EnvironmentFault, UsageError
from edgeseg.opencv import load_cv2
from edgeseg.quiet import quiet
from edgeseg.stream import atomic
from edgeseg.stream.base import Sink
from edgeseg.stream.frame import Array, Frame

if TYPE_CHECKING:
    from edgeseg.segmentation import Segmentation

DEFAULT_FPS = 30.0
MIN_FREE = 1 << 20  # bytes; more than FFmpeg buffers between two frames and needs for the index at the end
_CODECS = {".mp4": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
SUFFIXES = tuple(_CODECS)


class VideoSink(Sink):
    """A video that plays however the run ends: `close` finishes the temporary file, checks it, renames it.

    Frames that a live source dropped are filled with the picture after them, so that the video keeps the
    source's pace. Width and height are rounded down to even numbers, which the codecs ask for.

    Args: as `open_output`.
    """

    needs_drawing = True

    def __init__(self, path: str, size: Tuple[int, int], fps: float) -> None:
        cv2 = load_cv2()
        atomic.check_folder_of(path)
        self._path = path
        self._temporary = atomic.temporary_name(path)
        self._size = size
        self._even = (size[0] // 2 * 2, size[1] // 2 * 2)
        self._written = 0
        self._last: Optional[int] = None
        self._check_space()
        codec = cv2.VideoWriter_fourcc(*_CODECS[os.path.splitext(path)[1].lower()])
        with quiet():
            self._writer = cv2.VideoWriter(self._temporary, codec, fps if 0 < fps < 1e4 else DEFAULT_FPS, self._even)
        if not self._writer.isOpened():
            self.discard()
            raise EnvironmentFault(
                "{}: this OpenCV cannot write such a video of {}x{}".format(path, size[0], size[1]),
                "try .avi, or write frames: -o folder/",
            )

    def write(self, frame: Frame, result: "Segmentation", drawn: Optional[Array]) -> None:
        if self._writer is None or drawn is None:
            return
        if (drawn.shape[1], drawn.shape[0]) != self._size:
            self.discard()
            raise UsageError(
                "frame {} makes a picture of {}x{}, but the video is {}x{}".format(
                    frame.name, drawn.shape[1], drawn.shape[0], self._size[0], self._size[1]
                ),
                "write images of different sizes to a folder: -o folder/",
            )
        self._check_space()
        picture = drawn[: self._even[1], : self._even[0]]
        gap = 1 if self._last is None else max(1, frame.sequence - self._last)
        for _ in range(gap):
            self._writer.write(picture)
        self._written += gap
        self._last = frame.sequence

    def close(self) -> None:
        if self._writer is None:
            return
        if not self._written:
            self.discard()
            return
        self._writer.release()
        self._writer = None
        try:
            if not self._is_complete():
                raise atomic.disk_full(self._path)
            os.replace(self._temporary, self._path)
        except OSError as error:
            raise atomic.write_fault(self._path, error)
        finally:
            atomic.remove(self._temporary)

    def discard(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.release()
        atomic.remove(self._temporary)

    def _check_space(self) -> None:
        free = os.statvfs(os.path.dirname(os.path.abspath(self._path)))
        if free.f_bavail * free.f_frsize < MIN_FREE:
            if self._written:
                self.discard()
            raise atomic.disk_full(self._path)

    def _is_complete(self) -> bool:
        """Whether the file can be opened and its last frame is there."""
        cv2 = load_cv2()
        with quiet():
            capture = cv2.VideoCapture(self._temporary)
            try:
                found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
                capture.set(cv2.CAP_PROP_POS_FRAMES, self._written - 1)
                return abs(found - self._written) <= 1 and capture.read()[0]
            finally:
                capture.release()
