"""Live sources: a thread keeps the newest frame, and an old one is never given."""

import threading
import time
from typing import Any, Optional

from edgeseg.errors import CameraError
from edgeseg.stream.base import Source, frame_name
from edgeseg.stream.frame import Array, Frame

RECONNECT = "check cable, power and network, then start again"


class LiveSource(Source):
    """The newest frame of a device that sends frames at its own pace.

    A thread empties the device as fast as it sends, so nothing queues up in drivers, and leaves the newest
    frame in one slot. Every frame owns its image (a new array per frame was measured to cost no more than
    decoding into a reused one), so several threads may hold frames for as long as they like.

    Args:
        capture: an opened cv2.VideoCapture, or an object with its grab, retrieve, release.
        name: for messages.
        fps: as the device states it, 0 if unknown.
        timeout_s: `read` raises CameraError after this many seconds without a new frame.

    Raises CameraError if no first frame comes in time.
    """

    live = True

    def __init__(self, capture: Any, name: str, fps: float = 0.0, timeout_s: float = 5.0) -> None:
        self.name = name
        self.fps = fps
        self._timeout_s = timeout_s
        self._capture = capture
        self._changed = threading.Condition()
        self._newest: Optional[Frame] = None
        self._fault = ""
        self._closed = False
        self._delivered = 0
        self._thread = threading.Thread(target=self._run, name="edgeseg-capture", daemon=True)
        self._thread.start()
        try:
            first = self._wait()
        except BaseException:
            self.close()
            raise
        if first is not None:
            self.size = (first.image.shape[1], first.image.shape[0])

    def read(self) -> Optional[Frame]:
        """The newest frame that was not yet given; waits for one if there is none.

        Raises CameraError if the device failed or sent nothing for `timeout_s`, even if an older frame is at hand.
        """
        with self._changed:
            frame = self._wait()
            if frame is None:
                return None
            self._newest = None
            frame = frame._replace(dropped=frame.sequence - self._delivered)
            self._delivered += 1
            return frame

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        # A driver that hangs keeps its thread; the thread releases the device when it comes back.
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=2.0)

    def _wait(self) -> Optional[Frame]:
        """Wait for a fresh frame in the slot and return it; None if closed. Raises CameraError."""
        deadline = time.monotonic() + self._timeout_s
        with self._changed:
            while True:
                if self._closed:
                    return None
                if self._fault:
                    raise CameraError("{} {}".format(self.name, self._fault), RECONNECT)
                now = time.monotonic()
                frame = self._newest
                if frame is not None and now - frame.captured < self._timeout_s:
                    return frame
                if now >= deadline:
                    raise CameraError("{} sent no frame for {:g} s".format(self.name, self._timeout_s), RECONNECT)
                self._changed.wait(deadline - now)

    def _run(self) -> None:
        fault = "stopped sending frames"
        try:
            sequence = 0
            while not self._closed and self._capture.grab():
                captured = time.monotonic()
                found, image = self._capture.retrieve()
                if found:  # a frame that arrived damaged counts as dropped
                    self._put(image, sequence, captured)
                sequence += 1
        except Exception as error:  # whatever the driver raises ends the stream; the reader must learn of it
            fault = "failed: {}".format(error)
        finally:
            with self._changed:
                self._fault = "" if self._closed else fault
                self._changed.notify_all()
            self._capture.release()

    def _put(self, image: Array, sequence: int, captured: float) -> None:
        with self._changed:
            self._newest = Frame(image, sequence, captured, frame_name(sequence))
            self._changed.notify_all()
