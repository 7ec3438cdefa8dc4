"""Running GStreamer pipelines: through PyGObject, or through an OpenCV that was built with GStreamer.

PyGObject goes first. It says why a pipeline fails, and every wait in it has a limit: OpenCV before 4.7, so that of
JetPack 4 and 5, waits for ever for a camera that sends nothing (opencv/opencv#22973).
"""

import ctypes
import platform
import threading
import time
from typing import Any, List, Optional, Tuple

import numpy as np

from edgeseg.errors import CameraError, EnvironmentFault
from edgeseg.opencv import load_cv2, opencv_features
from edgeseg.quiet import quiet
from edgeseg.stream.base import Source
from edgeseg.stream.frame import Array
from edgeseg.stream.live import LiveSource
from edgeseg.stream.pipelines import SINK, elements
from edgeseg.stream.uri import redact

OPEN_TIMEOUT_S = 10.0
STALL_S = 5.0
_POLL_NS = 100 * 10**6
_BINDING = "sudo apt install python3-gi gir1.2-gst-plugins-base-1.0"


def open_pipeline(pipeline: str, name: str, fix: str) -> Source:
    """Run a pipeline of edgeseg.stream.pipelines.

    Args:
        pipeline: ends in an appsink called SINK that gives BGR.
        name: of the source, for messages.
        fix: what the user can do if the camera gives no frame.

    Raises EnvironmentFault if an element or the way to GStreamer is missing, CameraError if no frame comes.
    """
    _check_elements(pipeline, name)
    try:
        with quiet():
            if _pygobject_fault() is None:
                capture: Any = AppsinkCapture(pipeline)
                fps = capture.fps
            elif opencv_has("GStreamer"):
                capture, fps = _open_with_opencv(pipeline)
            else:
                raise _no_binding(name)
        return LiveSource(capture, name, fps)
    except RuntimeError as error:
        raise CameraError("{} cannot be opened: {}".format(name, error), fix)
    except CameraError as error:
        raise CameraError(error.message, fix)


def is_usable() -> bool:
    """Whether there is a way from this Python to GStreamer."""
    return _pygobject_fault() is None or opencv_has("GStreamer")


def opencv_has(feature: str) -> bool:
    """Whether this OpenCV was built with "FFMPEG" or "GStreamer" (JetPack's and Debian's are, pip's is not)."""
    return feature in opencv_features(load_cv2().getBuildInformation())


def has_element(name: str) -> bool:
    """Whether GStreamer is installed and can make this element. Needs neither PyGObject nor OpenCV."""
    try:
        library = ctypes.CDLL("libgstreamer-1.0.so.0")
    except OSError:
        return False
    library.gst_element_factory_make.restype = ctypes.c_void_p
    library.gst_element_factory_make.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    library.gst_object_unref.argtypes = [ctypes.c_void_p]
    with quiet():  # a plugin that cannot be loaded is reported on stderr
        if not library.gst_init_check(None, None, None):
            return False
        # Made, not only looked up: a plugin in the registry may still fail to load.
        element = library.gst_element_factory_make(name.encode("ascii"), None)
    if element:
        library.gst_object_unref(element)
    return bool(element)


def _check_elements(pipeline: str, name: str) -> None:
    """Name what is missing before anything is opened: OpenCV waits for ever for a pipeline with a hole."""
    for element in elements(pipeline):
        if not has_element(element):
            raise EnvironmentFault(
                "{} needs {}, which GStreamer on this machine has not got".format(name, element), _provider(element)
            )


def _provider(element: str) -> str:
    if not element.startswith(("nv", "omx")):
        return (
            "sudo apt install gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad "
            "gstreamer1.0-libav; see gst-inspect-1.0 {}".format(element)
        )
    if platform.machine() != "aarch64":
        return "it exists on an NVIDIA Jetson only: use camera:0 here"
    return (
        "sudo apt install nvidia-l4t-gstreamer nvidia-l4t-camera (a container needs --runtime nvidia); if "
        "gst-inspect-1.0 {} finds it: rm -r ~/.cache/gstreamer-1.0; "
        "export LD_PRELOAD=/usr/lib/aarch64-linux-gnu/libGLdispatch.so.0".format(element)
    )


def _no_binding(name: str) -> EnvironmentFault:
    cv2 = load_cv2()
    return EnvironmentFault(
        "{} needs GStreamer, and this Python has no way to it: OpenCV {} ({}) is built without it, and {}".format(
            name, cv2.__version__, cv2.__file__, _pygobject_fault()
        ),
        "{} (a virtual environment needs --system-site-packages); or, where pip's OpenCV hides that of JetPack: "
        "pip uninstall -y opencv-python opencv-python-headless".format(_BINDING),
    )


def _pygobject_fault() -> Optional[str]:
    """Why PyGObject cannot be used; None if it can."""
    try:
        _load_gst()
    except (ImportError, ValueError) as error:  # ValueError: PyGObject is there, GStreamer's description is not
        return "PyGObject cannot be used ({})".format(error)
    return None


def _load_gst() -> Any:
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstApp", "1.0")
    from gi.repository import Gst, GstApp  # noqa: F401  GstApp: gives the appsink its methods

    Gst.init_check(None)
    return Gst


class AppsinkCapture:
    """A running pipeline with the grab, retrieve and release of cv2.VideoCapture, for LiveSource.

    Raises RuntimeError with GStreamer's own words if no first frame comes in time; `grab` raises it likewise.
    """

    def __init__(self, pipeline: str) -> None:
        self._gst = _load_gst()
        try:
            self._pipeline = self._gst.parse_launch(pipeline)
        except Exception as error:  # GLib.Error: wrong syntax, property or link
            raise RuntimeError(redact(str(getattr(error, "message", error))))
        self._sink = self._pipeline.get_by_name(SINK)
        self._bus = self._pipeline.get_bus()
        self._sample: Any = None
        self._first: Any = None
        try:
            self._pipeline.set_state(self._gst.State.PLAYING)
            self._first = self._pull(OPEN_TIMEOUT_S)
            if self._first is None:
                raise RuntimeError("it ended before the first frame")
        except BaseException:
            self.release()
            raise
        found, numerator, denominator = self._first.get_caps().get_structure(0).get_fraction("framerate")
        self.fps = numerator / denominator if found and denominator else 0.0

    def grab(self) -> bool:
        """Wait for a frame; False at the end of the stream."""
        first, self._first = self._first, None
        self._sample = self._pull(STALL_S) if first is None else first
        return self._sample is not None

    def retrieve(self) -> Tuple[bool, Optional[Array]]:
        """The grabbed frame, (H, W, 3) uint8 BGR, in memory of its own."""
        caps = self._sample.get_caps().get_structure(0)
        buffer = self._sample.get_buffer()
        found, view = buffer.map(self._gst.MapFlags.READ)
        if not found:
            return False, None
        try:
            return True, copy_bgr(view.data, caps.get_value("width"), caps.get_value("height"))
        finally:
            buffer.unmap(view)

    def release(self) -> None:
        """Stop, and free the camera. Twice does no harm."""
        self._pipeline.set_state(self._gst.State.NULL)
        self._sample = self._first = None

    def _pull(self, limit_s: float) -> Any:
        """The next sample; None at the end of the stream."""
        deadline = time.monotonic() + limit_s
        while True:
            sample = self._sink.try_pull_sample(_POLL_NS)
            if sample is not None:
                return sample
            message = self._bus.pop_filtered(self._gst.MessageType.ERROR)
            if message is not None:
                raise RuntimeError(_describe(*message.parse_error()))
            if self._sink.get_property("eos"):
                return None
            if time.monotonic() >= deadline:
                raise RuntimeError("no frame for {:g} s".format(limit_s))


def _describe(error: Any, debug: Optional[str]) -> str:
    """The text of an error message; what the system said about it stands in the last line of `debug`."""
    detail = (debug or "").partition("\n")[2].strip()
    return redact("{} ({})".format(error.message, detail) if detail else str(error.message))


def copy_bgr(data: Any, width: int, height: int) -> Array:
    """GStreamer's BGR buffer as a new array (height, width, 3). Its rows are padded to multiples of 4 bytes.

    The layout is that of gst_video_info_set_format; an appsink that does not ask for GstVideoMeta gets no other.
    """
    stride = (3 * width + 3) // 4 * 4
    rows = np.frombuffer(data, np.uint8, stride * height).reshape(height, stride)
    return np.array(rows[:, : 3 * width]).reshape(height, width, 3)


def _open_with_opencv(pipeline: str) -> Tuple[Any, float]:
    """Open a pipeline in a thread, which is left behind if OpenCV does not come back from it."""
    cv2 = load_cv2()
    opened: List[Any] = []
    thread = threading.Thread(
        target=lambda: opened.append(cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)), name="edgeseg-open", daemon=True
    )
    thread.start()
    thread.join(OPEN_TIMEOUT_S)
    if not opened:
        raise RuntimeError("no answer for {:g} s".format(OPEN_TIMEOUT_S))
    capture = opened[0]
    if not capture.isOpened():
        raise RuntimeError("GStreamer did not start ({} lets edgeseg say why)".format(_BINDING))
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    return capture, fps if 0 < fps < 1e4 else 0.0
