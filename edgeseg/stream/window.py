"""The window that shows results while they are made."""

import os
import sys
from typing import TYPE_CHECKING, Optional

from edgeseg.errors import EnvironmentFault
from edgeseg.opencv import load_cv2
from edgeseg.stream.base import Sink
from edgeseg.stream.frame import Array, Frame

if TYPE_CHECKING:
    from edgeseg.segmentation import Segmentation

_NO_WINDOW = "write a file instead (-o out.mp4)"


def has_display() -> bool:
    """Whether windows can be opened: there is a display, and OpenCV was built with windows."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    # Asked in words: opening a window only to see whether it works can end the process inside GTK or Qt.
    for line in load_cv2().getBuildInformation().splitlines():
        name, _, value = line.strip().partition(":")
        if name == "GUI" and value.strip():
            return value.strip() != "NONE"
        if name in ("GTK+", "GTK", "QT", "Win32 UI", "Cocoa", "Carbon") and value.strip().startswith("YES"):
            return True
    return False


class WindowSink(Sink):
    """Shows every picture; `stop` turns True when q or Esc is pressed or the window is closed.

    To be used in the main thread. Raises EnvironmentFault without display or with a headless OpenCV.
    """

    needs_drawing = True

    def __init__(self, title: str = "edgeseg") -> None:
        if not has_display():
            raise EnvironmentFault(
                "no window can be opened: no display, or an OpenCV without windows (opencv-python-headless)",
                _NO_WINDOW + ", or on a desktop: pip uninstall opencv-python-headless; pip install opencv-python",
            )
        self._cv2 = load_cv2()
        self._title = title
        self._cv2.namedWindow(title, self._cv2.WINDOW_AUTOSIZE)

    def write(self, frame: Frame, result: "Segmentation", drawn: Optional[Array]) -> None:
        cv2 = self._cv2
        cv2.imshow(self._title, drawn)
        key = cv2.waitKey(1) & 0xFF
        closed = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
        self.stop = self.stop or closed or key in (ord("q"), 27)

    def close(self) -> None:
        try:
            self._cv2.destroyWindow(self._title)
        except self._cv2.error:  # the user closed it first
            pass

    def discard(self) -> None:
        self.close()
