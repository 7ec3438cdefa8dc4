"""Opening cameras and network streams through OpenCV."""

import glob
import os
import re
import sys
from typing import Any, Callable, Dict, List, Optional

from edgeseg.errors import CameraError, UsageError
from edgeseg.opencv import load_cv2
from edgeseg.quiet import quiet
from edgeseg.stream.base import Source
from edgeseg.stream.files import MAX_FRAMES, VideoSource
from edgeseg.stream.live import LiveSource
from edgeseg.stream.uri import natural_key, positive_float, positive_int, redact, split_query

OPTIONS: Dict[str, Callable[[str], Any]] = {"width": positive_int, "height": positive_int, "fps": positive_float}
NETWORK_TIMEOUT_S = 10.0


def open_camera(text: str) -> Source:
    """Open "0" or "/dev/video0", optionally with "?width=1280&height=720&fps=30".

    The camera may choose another size: see `size` of the source. Raises CameraError if it is absent, busy or
    sends nothing, UsageError for a wrong option.
    """
    device, options = split_query(text, OPTIONS)
    index = _device_index(device)
    name = "camera:{}".format(index)
    _check_present("/dev/video{}".format(index))
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
            "see who uses it: fuser -v /dev/video{}; {}".format(index, _others()),
        )
    return LiveSource(capture, name, _fps(capture))


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

    Raises CameraError (with the password left out) if it cannot be opened within the time limit.
    """
    name = redact(url)
    capture = _open_url(url)
    if capture is None:
        raise CameraError(
            "{} cannot be opened: unreachable, wrong password, or this OpenCV has neither FFmpeg nor GStreamer".format(
                name
            ),
            "try it with: ffplay URL; see python3 -c 'import cv2; print(cv2.getBuildInformation())'",
        )
    if 0 < capture.get(load_cv2().CAP_PROP_FRAME_COUNT) < MAX_FRAMES:
        return VideoSource(url, name, capture)
    return LiveSource(capture, name, _fps(capture))


def _open_url(url: str) -> Optional[Any]:
    cv2 = load_cv2()
    tries: List[Any] = []
    if hasattr(cv2, "CAP_PROP_OPEN_TIMEOUT_MSEC"):  # OpenCV 4.5.2 and later
        limit = int(NETWORK_TIMEOUT_S * 1000)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
        tries.append((url, cv2.CAP_FFMPEG, limits))
    else:
        tries.append((url, cv2.CAP_FFMPEG))
    tries.append((url, cv2.CAP_GSTREAMER))
    for arguments in tries:
        try:
            with quiet():
                capture = cv2.VideoCapture(*arguments)
        except cv2.error:
            continue
        if capture.isOpened():
            return capture
    return None
