"""Opening cameras and network streams: which way, with which options, and what to do when it fails."""

import glob
import os
import re
import sys
from typing import Any, Callable, Dict, Tuple

from edgeseg.errors import CameraError, EnvironmentFault, UsageError
from edgeseg.opencv import load_cv2
from edgeseg.quiet import quiet
from edgeseg.stream import gstreamer, pipelines
from edgeseg.stream.base import Source
from edgeseg.stream.files import MAX_FRAMES, VideoSource
from edgeseg.stream.live import LiveSource
from edgeseg.stream.uri import natural_key, positive_float, positive_int, redact, split_query

NETWORK_TIMEOUT_S = 10.0
_LABEL = "/sys/class/video4linux/video{}/name"


def _encoding(text: str) -> str:
    if text not in pipelines.ENCODINGS:
        raise UsageError(
            "gstreamer={} is not what a camera sends".format(text),
            "gstreamer={}; v4l2-ctl --list-formats-ext says what yours can".format(" or ".join(pipelines.ENCODINGS)),
        )
    return text


def _flip(text: str) -> int:
    if text not in tuple("01234567"):
        raise UsageError(
            "flip={} is not valid".format(text),
            "0 none, 1 turned left, 2 turned by 180 degrees, 3 turned right, 4 left and right swapped, 6 top and "
            "bottom swapped, 5 and 7 swapped across a diagonal",
        )
    return int(text)


def _size(text: str) -> Tuple[int, int]:
    match = re.match(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})$", text)
    if not match:
        raise UsageError("out={} is not a size".format(text), "write it like out=640x360")
    return int(match.group(1)), int(match.group(2))


_MODE: Dict[str, Callable[[str], Any]] = {"width": positive_int, "height": positive_int, "fps": positive_float}
OPTIONS = dict(_MODE, gstreamer=_encoding)
CSI_OPTIONS = dict(_MODE, flip=_flip, out=_size)
CSI_FIX = (
    "check the ribbon cable and the number (ls /dev/video*), end other programs that use the camera, then: "
    "sudo systemctl restart nvargus-daemon; in a container: -v /tmp/argus_socket:/tmp/argus_socket"
)


def open_csi(text: str) -> Source:
    """Open the CSI camera "0" of a Jetson, optionally with "?width=1280&height=720&fps=30&flip=0&out=640x360".

    Width, height and fps choose the mode of the sensor, `flip` (0 to 7) is nvvidconv's flip-method, `out` the size
    of the frames: scaled in hardware, so that the CPU converts fewer pixels. Raises EnvironmentFault without
    GStreamer or outside a Jetson, CameraError if the camera sends nothing, UsageError for a wrong option.
    """
    sensor, options = split_query(text, CSI_OPTIONS)
    if not re.match(r"[0-9]{1,2}$", sensor):
        raise UsageError("csi://{} is not a camera".format(sensor), "give its number: csi://0")
    size = options.get("width", 1280), options.get("height", 720)
    pipeline = pipelines.csi(int(sensor), size, options.get("fps", 30), options.get("flip", 0), options.get("out"))
    return gstreamer.open_pipeline(pipeline, "csi://{}".format(int(sensor)), CSI_FIX)


def open_gst(pipeline: str) -> Source:
    """Run the user's GStreamer pipeline as a live camera; it ends in an appsink, or the appsink is added.

    Raises as `open_csi`.
    """
    body = pipelines.custom(pipeline)
    # The name must not show a password that stands in the pipeline.
    name = "gst:{}".format(pipelines.elements(body)[0])
    return gstreamer.open_pipeline(body, name, "try it with gst-launch-1.0, and fakesink in place of appsink")


def open_camera(text: str) -> Source:
    """Open "0" or "/dev/video0", optionally with "?width=1280&height=720&fps=30".

    The camera may choose another size: see `size` of the source. With "gstreamer=mjpg" (or yuy2) GStreamer reads
    that format from the camera, in exactly this size; on a Jetson it is decoded in hardware. Raises CameraError if
    the camera is absent, busy or sends nothing, UsageError for a wrong option.
    """
    device, options = split_query(text, OPTIONS)
    index = _device_index(device)
    name = "camera:{}".format(index)
    path = "/dev/video{}".format(index)
    _check_present(path)
    if "gstreamer" in options:
        encoding = options.pop("gstreamer")
        pipeline = pipelines.usb(path, encoding, options or {"width": 640, "height": 480}, _is_jetson())
        fix = "what it can send: v4l2-ctl -d {0} --list-formats-ext; who uses it: fuser -v {0}".format(path)
        return gstreamer.open_pipeline(pipeline, name, fix)
    cv2 = load_cv2()
    with quiet():
        capture = cv2.VideoCapture(index, cv2.CAP_V4L2)
        if not capture.isOpened():
            capture = cv2.VideoCapture(index)
        if capture.isOpened():
            _configure(capture, options)
    if not capture.isOpened():
        raise CameraError(
            "{} cannot be opened: busy, or a device that sends no video".format(name),
            _csi_hint(index) or "see who uses it: fuser -v {}; {}".format(path, _others()),
        )
    return LiveSource(capture, name, _fps(capture))


def _is_jetson() -> bool:
    return gstreamer.has_element("nvvidconv")


def _csi_hint(index: int) -> str:
    """On a Jetson, CSI sensors are /dev/video0 too, but send raw Bayer data there."""
    try:
        with open(_LABEL.format(index)) as file:
            label = file.read().strip()
    except OSError:
        return ""
    return "it is a CSI sensor ({}): use csi://0".format(label) if label.startswith("vi-output") else ""


def _device_index(device: str) -> int:
    path = os.path.realpath(device) if device.startswith("/") else "/dev/video" + device
    match = re.match(r"/dev/video([0-9]{1,4})$", path)
    if match:
        return int(match.group(1))
    if device.startswith("/") and not os.path.exists(device):
        raise CameraError("camera {} does not exist".format(device), _others())
    raise UsageError("{!r} is not a camera".format(device), "give camera:0 or /dev/video0; {}".format(_others()))


def _check_present(path: str) -> None:
    if not sys.platform.startswith("linux"):
        return
    if not os.path.exists(path):
        raise CameraError("camera {} does not exist".format(path), _others())
    if not os.access(path, os.R_OK | os.W_OK):
        raise CameraError(
            "camera {} may not be opened by this user".format(path),
            "sudo usermod -aG video $USER, then log in again; in a container: --device {}".format(path),
        )


def _others() -> str:
    found = sorted(glob.glob("/dev/video*"), key=natural_key)
    if found:
        return "cameras here: {}".format(", ".join(found))
    return "there is no /dev/video* here: plug a camera in (in a container: --device /dev/video0), or try pattern:"


def _configure(capture: Any, options: Dict[str, Any]) -> None:
    """Settings are wishes: a driver that has not got one ignores it."""
    cv2 = load_cv2()
    # The format goes first: uncompressed, USB carries 640x480 at 30 FPS and hardly more.
    capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*"MJPG"))
    for key in ("width", "height", "fps"):
        if key in options:
            names = {"width": "FRAME_WIDTH", "height": "FRAME_HEIGHT", "fps": "FPS"}
            capture.set(getattr(cv2, "CAP_PROP_" + names[key]), options[key])
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)


def _fps(capture: Any) -> float:
    fps = float(capture.get(load_cv2().CAP_PROP_FPS))
    return fps if 0 < fps < 1e4 else 0.0


def open_network(url: str) -> Source:
    """Open rtsp://, rtmp://, udp:// or http(s)://. A video file behind http has an end and is not live.

    FFmpeg decodes; on a Jetson, GStreamer decodes RTSP in hardware. Raises CameraError (with the password left out)
    if the stream cannot be opened within the time limit, EnvironmentFault if OpenCV has no FFmpeg.
    """
    name = redact(url)
    fix = "check address, user and password (write @ : / in them as %40 %3A %2F)"
    if url.lower().startswith("rtsp") and _is_jetson() and gstreamer.is_usable():
        return gstreamer.open_pipeline(pipelines.rtsp(url, jetson=True), name, fix)
    if not gstreamer.opencv_has("FFMPEG"):
        raise EnvironmentFault(
            "{} needs an OpenCV with FFmpeg, and this one was built without it".format(name),
            "pip install 'edgeseg[camera]', or write a GStreamer pipeline: 'gst: rtspsrc location=... ! appsink'",
        )
    capture = _open_url(url)
    if not capture.isOpened():
        raise CameraError(
            "{} cannot be opened: unreachable, wrong password, or no video".format(name),
            fix + "; try it with: ffplay URL",
        )
    if 0 < capture.get(load_cv2().CAP_PROP_FRAME_COUNT) < MAX_FRAMES:
        return VideoSource(url, name, capture)
    return LiveSource(capture, name, _fps(capture))


def _open_url(url: str) -> Any:
    # Never with OpenCV's GStreamer: before 4.7 it waits for ever for a server that does not answer.
    cv2 = load_cv2()
    with quiet():
        if not hasattr(cv2, "CAP_PROP_OPEN_TIMEOUT_MSEC"):  # before OpenCV 4.5.2
            return cv2.VideoCapture(url, cv2.CAP_FFMPEG)
        limit = int(NETWORK_TIMEOUT_S * 1000)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
        return cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)
