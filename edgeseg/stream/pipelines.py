"""GStreamer pipelines as text, each ending in BGR frames. Nothing is opened here.

The parts with nv... are NVIDIA's and exist on a Jetson only: nvarguscamerasrc (CSI sensor and its ISP), nvv4l2decoder
(video decoder), nvvidconv (colour, size and rotation on the VIC, which costs neither CPU nor GPU). Their pixels lie in
NVMM memory, from which nvvidconv copies them as BGRx; the last step to BGR is on the CPU. Sources: NVIDIA's
"Accelerated GStreamer" guide; gstCamera.cpp and gstDecoder.cpp of dusty-nv/jetson-utils.
"""

import re
from fractions import Fraction
from typing import Dict, List, Optional, Tuple, Union

from edgeseg.errors import UsageError

SINK = "opencvsink"  # the name by which OpenCV finds it
ENCODINGS = {"yuy2": "video/x-raw,format=YUY2", "mjpg": "image/jpeg"}
Number = Union[int, float]

# One frame waits, the newest; `sync` would hold each back until its time stamp.
_TO_BGR = "videoconvert ! video/x-raw,format=BGR ! appsink name={} drop=true max-buffers=1 sync=false".format(SINK)
_FROM_NVMM = "nvvidconv ! video/x-raw,format=BGRx"
# Over TCP, as OpenCV has it of FFmpeg: nothing is lost, so the jitter buffer does not wait, whatever its latency.
_RTSP = 'rtspsrc location="{}" protocols=tcp latency=100 ! application/x-rtp,media=video ! decodebin'


def csi(sensor: int, size: Tuple[int, int], fps: float, flip: int, out: Optional[Tuple[int, int]]) -> str:
    """A CSI camera of a Jetson.

    Args:
        sensor: number of the camera, 0 for the first.
        size: width and height in pixels that the sensor is asked for; Argus takes the sensor mode nearest to it.
        fps: frames a second.
        flip: flip-method of nvvidconv, 0 to 7; the odd ones exchange width and height.
        out: width and height of the frames after flipping; None: those of the sensor.
    """
    scaled = ",width={},height={}".format(*out) if out else ""
    return _join(
        "nvarguscamerasrc sensor-id={}".format(sensor),
        "video/x-raw(memory:NVMM),width={},height={},format=NV12,framerate={}".format(size[0], size[1], _rate(fps)),
        "nvvidconv flip-method={}".format(flip),
        "video/x-raw{},format=BGRx".format(scaled),
        _TO_BGR,
    )


def usb(device: str, encoding: str, options: Dict[str, Number], jetson: bool) -> str:
    """A USB camera that sends `encoding` ("yuy2" or "mjpg"); `options` are those of width, height, fps that matter."""
    caps = ENCODINGS[encoding]
    caps += "".join(",{}={}".format(key, options[key]) for key in ("width", "height") if key in options)
    if "fps" in options:
        caps += ",framerate={}".format(_rate(options["fps"]))
    source = "v4l2src device={} do-timestamp=true".format(device)
    if encoding == "mjpg":
        decoder = "nvv4l2decoder mjpeg=1 ! " + _FROM_NVMM if jetson else "jpegdec"
        return _join(source, caps, decoder, _TO_BGR)
    if jetson:  # nvvidconv works in NVMM: in with the first, out with the second
        caps += " ! nvvidconv ! video/x-raw(memory:NVMM),format=NV12 ! " + _FROM_NVMM
    return _join(source, caps, _TO_BGR)


def rtsp(url: str, jetson: bool) -> str:
    """A network camera, H.264, H.265 or MJPEG.

    decodebin takes the decoder with the highest rank: on a Jetson that is NVIDIA's (nvv4l2decoder, on JetPack 4 also
    omxh264dec), elsewhere avdec_h264 and its like.
    """
    quoted = url.replace("\\", "\\\\").replace('"', '\\"')
    return _join(_RTSP.format(quoted), *([_FROM_NVMM] if jetson else []), _TO_BGR)


def custom(text: str) -> str:
    """The user's pipeline; its appsink, which has to come last, is replaced by ours: newest frame, BGR.

    Raises UsageError for a pipeline that is empty or has an appsink elsewhere.
    """
    body = re.sub(r"!\s*appsink\b[^!]*$", "", text).strip().rstrip("!").strip()
    if not body or "appsink" in elements(body):
        raise UsageError(
            "the pipeline of gst: {}".format("has an appsink that is not its end" if body else "is empty"),
            "write it like 'gst: v4l2src device=/dev/video0 ! videoconvert ! appsink'",
        )
    return _join(body, _TO_BGR)


def elements(pipeline: str) -> List[str]:
    """The names of the elements of a pipeline, in order."""
    unquoted = re.sub(r'"(\\.|[^"\\])*"', "", pipeline)
    words = [part.split() for part in unquoted.split("!")]
    return [word[0] for word in words if word and re.match(r"[A-Za-z][\w-]*$", word[0])]


def _rate(fps: float) -> str:
    fraction = Fraction(fps).limit_denominator(1001)
    return "{}/{}".format(fraction.numerator, fraction.denominator)


def _join(*parts: str) -> str:
    return " ! ".join(parts)
