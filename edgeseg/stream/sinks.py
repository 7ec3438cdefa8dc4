"""Where results go: pictures, videos, masks, JSON lines. `open_output` chooses by the name of the file."""

import contextlib
import json
import os
import stat
import sys
from typing import TYPE_CHECKING, Optional, Sequence, TextIO, Tuple

from edgeseg.errors import EnvironmentFault, UsageError
from edgeseg.opencv import load_cv2
from edgeseg.palette import SegClass
from edgeseg.stream import atomic
from edgeseg.stream.base import Sink
from edgeseg.stream.frame import Array, Frame
from edgeseg.stream.png import write_palette_png
from edgeseg.stream.video_sink import SUFFIXES as VIDEO_SUFFIXES
from edgeseg.stream.video_sink import VideoSink
from edgeseg.stream.window import WindowSink

if TYPE_CHECKING:
    from edgeseg.segmentation import Segmentation

__all__ = [
    "FramesSink",
    "ImageSink",
    "JsonLinesSink",
    "MaskSink",
    "Sink",
    "VideoSink",
    "WindowSink",
    "open_output",
]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


def open_output(path: str, size: Tuple[int, int], fps: float) -> Sink:
    """Open a video (.mp4 .avi .mkv), one image (.png .jpg) or a folder of PNG frames (exists, or ends with /).

    Args:
        path: where to; an existing file is replaced when the new one is complete.
        size: width and height of the drawn pictures, in pixels.
        fps: frames a second of a video; 0 (unknown) is taken as 30.

    Raises UsageError for another kind of name or a missing folder, EnvironmentFault for a disk that is full or
    read-only, or an OpenCV without the codec.
    """
    suffix = os.path.splitext(path)[1].lower()
    if path.endswith(os.sep) or os.path.isdir(path):
        return FramesSink(path)
    if suffix in VIDEO_SUFFIXES:
        return VideoSink(path, size, fps)
    if suffix in IMAGE_SUFFIXES:
        return ImageSink(path)
    raise UsageError(
        "output {} is neither a video, an image nor a folder by its name".format(path),
        "end it with {}, or with / for a folder of frames".format(" ".join(VIDEO_SUFFIXES + IMAGE_SUFFIXES)),
    )


def encode_image(drawn: Array, suffix: str) -> bytes:
    """The bytes of a PNG (fast, not small) or JPEG file of a BGR picture."""
    cv2 = load_cv2()
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1] if suffix == ".png" else []
    done, data = cv2.imencode(suffix, drawn, options)
    if not done:
        raise EnvironmentFault("this OpenCV cannot write {} files".format(suffix), "use another kind of output")
    return data.tobytes()


class ImageSink(Sink):
    """One PNG or JPEG file, written at `close`. A second frame is a UsageError."""

    needs_drawing = True

    def __init__(self, path: str) -> None:
        atomic.check_folder_of(path)
        self._path = path
        self._suffix = os.path.splitext(path)[1].lower()
        self._data: Optional[bytes] = None

    def write(self, frame: Frame, result: "Segmentation", drawn: Optional[Array]) -> None:
        if self._data is not None:
            self.discard()
            raise UsageError(
                "{} holds one picture, and the source has more than one frame".format(self._path),
                "give a video (.mp4) or a folder (ending with /), or ask for one frame",
            )
        self._data = encode_image(drawn, self._suffix)

    def close(self) -> None:
        data, self._data = self._data, None
        if data is not None:
            atomic.write_atomic(self._path, data)

    def discard(self) -> None:
        self._data = None


class FramesSink(Sink):
    """A folder with one PNG per frame, named as the frame."""

    needs_drawing = True

    def __init__(self, folder: str) -> None:
        self._folder = atomic.make_folder(folder)

    def write(self, frame: Frame, result: "Segmentation", drawn: Optional[Array]) -> None:
        atomic.write_atomic(os.path.join(self._folder, frame.name + ".png"), encode_image(drawn, ".png"))


class MaskSink(Sink):
    """A folder with one indexed PNG per frame: pixel values are class ids, 255 is unlabelled."""

    def __init__(self, folder: str, classes: Sequence[SegClass]) -> None:
        self._folder = atomic.make_folder(folder)
        self._classes = tuple(classes)

    def write(self, frame: Frame, result: "Segmentation", drawn: Optional[Array] = None) -> None:
        write_palette_png(os.path.join(self._folder, frame.name + ".png"), result.mask, self._classes)


class JsonLinesSink(Sink):
    """One JSON object per frame and line, flushed line by line: `Segmentation.to_dict` and the frame's name.

    "-" is stdout, kept for the lines alone: until the sink is closed, what native code prints there (NVIDIA's camera
    library does) goes to stderr. A pipe or device is written straight; a file appears when it is complete.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._temporary = ""
        self._file: Optional[TextIO] = None
        if path == "-":
            sys.stdout.flush()
            self._file = os.fdopen(os.dup(1), "w", encoding="utf-8")
            with contextlib.suppress(OSError):  # a service without stderr
                os.dup2(2, 1)
            return
        special = os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode)
        if not special or os.path.isdir(path):
            atomic.check_folder_of(path)
            self._temporary = atomic.temporary_name(path)
        try:
            self._file = open(self._temporary or path, "w", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise atomic.write_fault(path, error)

    def write(self, frame: Frame, result: "Segmentation", drawn: Optional[Array] = None) -> None:
        if self._file is None:
            return
        try:
            record = dict(result.to_dict(), name=frame.name, dropped=frame.dropped)
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        except BrokenPipeError:  # the reader, say `head`, has seen enough
            self.stop = True
            self.discard()
        except OSError as error:
            self.discard()
            raise atomic.write_fault(self._path, error)

    def close(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            self._give_stdout_back(file)
            file.close()
            if self._temporary:
                os.replace(self._temporary, self._path)
        except OSError as error:
            atomic.remove(self._temporary)
            raise atomic.write_fault(self._path, error)

    def discard(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        self._give_stdout_back(file)
        try:
            file.close()
        except OSError:
            pass
        if self._temporary:
            atomic.remove(self._temporary)

    def _give_stdout_back(self, file: TextIO) -> None:
        if self._path == "-":
            os.dup2(file.fileno(), 1)
