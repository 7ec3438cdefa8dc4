"""The contracts of a source of frames and of an output of results."""

from typing import TYPE_CHECKING, Any, Iterator, Optional, Tuple

from edgeseg.errors import CameraError
from edgeseg.stream.frame import Array, Frame

if TYPE_CHECKING:
    from edgeseg.segmentation import Segmentation


class Source:
    """Gives frames one after another. A subclass sets the attributes and writes `read` and `close`.

    A file source gives every frame in order and decodes it in the calling thread. A live source has its
    own thread, gives the newest frame, and skips those for which the caller was too slow.
    """

    live = False  # frames come at their own pace and are skipped when the caller is slow
    name = ""  # for people: "camera:0", "drive.mp4"; holds no password
    size: Tuple[int, int] = (0, 0)  # width, height in pixels; images of a folder may differ
    fps = 0.0  # frames a second as the source states them; 0: unknown
    frames: Optional[int] = None  # how many there are; None: unknown or without end
    paths: Tuple[str, ...] = ()  # files that are read: outputs must not replace them

    def read(self) -> Optional[Frame]:
        """The next frame; None at the end, or when the source was closed.

        Raises CameraError when a live source stopped sending, UsageError for a file that is broken.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Free the device or file. Closing twice does no harm."""

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        while True:
            frame = self.read()
            if frame is None:
                return
            yield frame


class Sink:
    """The contract of an output. Used by one thread at a time.

    `close` makes what was written final; `discard` takes back what is not final yet. Leaving a `with` block
    closes; with an exception it discards, except for an interruption or a lost camera: what was recorded so
    far is then wanted, and cannot be recorded again.
    """

    needs_drawing = False  # `write` wants `drawn`
    stop = False  # the user closed this output: end the run

    def write(self, frame: Frame, result: "Segmentation", drawn: Optional[Array]) -> None:
        """Take one result; `drawn` is a BGR picture that is only valid during the call.

        Raises EnvironmentFault (after discarding) if it cannot be written, e.g. when the disk is full.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Finish the output. Raises EnvironmentFault if it could not be completed. Twice does no harm."""

    def discard(self) -> None:
        """Leave what was there before, as far as the output is one file."""

    def __enter__(self) -> "Sink":
        return self

    def __exit__(self, kind: Optional[type], *_: Any) -> None:
        if kind is None or issubclass(kind, (KeyboardInterrupt, SystemExit, CameraError)):
            self.close()
        else:
            self.discard()


def frame_name(sequence: int) -> str:
    return "frame{:06d}".format(sequence)
