"""Sources of frames (`open_source`) and what becomes of results (edgeseg.stream.sinks)."""

import glob
import os
from typing import List, Tuple, Union

from edgeseg.errors import UsageError
from edgeseg.stream.base import Source
from edgeseg.stream.frame import Frame
from edgeseg.stream.uri import natural_key, redact

__all__ = ["Frame", "Source", "open_source"]

FORMS = (
    "a source is camera:0, /dev/video0, csi://0, rtsp://..., http://..., a video, an image, a folder of images, "
    "a pattern like 'img/*.png', pattern: (a generated street), or gst: and a GStreamer pipeline"
)
_NETWORK = ("rtsp", "rtsps", "rtmp", "http", "https", "udp", "tcp")


def open_source(uri: Union[str, int]) -> Source:
    """Open a source of frames.

    Args:
        uri: "camera:0" (also 0, "camera:0?width=1280&height=720&fps=30"), "/dev/video0", "csi://0" (a Jetson's
            CSI camera, "csi://0?width=1280&height=720&fps=30&flip=0"), "rtsp://...", "http://...", a video file,
            an image file, a folder of images, a glob of images, "pattern:"
            ("pattern:480x360@30?seed=3&frames=100": a generated street with ground truth), or a GStreamer
            pipeline ("gst: videotestsrc ! appsink").

    Raises CameraError if a camera or stream is absent, busy or silent; EnvironmentFault if GStreamer is needed and
    missing; UsageError for any other URI that does not lead to frames.
    """
    text = str(uri).strip()
    scheme, separator, rest = text.partition(":")
    scheme = scheme.lower()
    if text.isdigit() or text.startswith("/dev/"):
        return _camera(text)
    if separator and scheme == "camera":
        return _camera(rest)
    if separator and scheme == "gst":
        from edgeseg.stream.camera import open_gst

        return open_gst(rest)
    if separator and scheme == "pattern":
        from edgeseg.stream.pattern import PatternSource

        return PatternSource.from_uri(rest)
    if rest.startswith("//"):
        return _url(scheme, text)
    return _path(os.path.expanduser(text))


def _camera(device: str) -> Source:
    from edgeseg.stream.camera import open_camera

    return open_camera(device)


def _url(scheme: str, text: str) -> Source:
    if scheme == "file":
        return _path(text[len("file://") :])
    if scheme == "csi":
        from edgeseg.stream.camera import open_csi

        return open_csi(text[len("csi://") :])
    if scheme not in _NETWORK:
        raise UsageError("unknown scheme in source {}".format(redact(text)), FORMS)
    from edgeseg.stream.camera import open_network

    return open_network(text)


def _path(path: str) -> Source:
    from edgeseg.stream.files import IMAGE_SUFFIXES, ImagesSource

    if os.path.isdir(path):
        files = [os.path.join(path, name) for name in os.listdir(path)]
        images = _with_suffix(files, IMAGE_SUFFIXES)
        if not images:
            raise UsageError(
                "folder {} holds no image ({} other entries)".format(path, len(files)),
                "images end in {}".format(" ".join(IMAGE_SUFFIXES)),
            )
        return ImagesSource(images, os.path.basename(os.path.abspath(path)))
    if os.path.exists(path):
        return _file(path)
    if glob.has_magic(path):
        matches = sorted(glob.glob(path, recursive=True), key=natural_key)
        images = _with_suffix(matches, IMAGE_SUFFIXES)
        if not images:
            raise UsageError("{} matches no image ({} other files)".format(path, len(matches)), "check the pattern")
        return ImagesSource(images, path)
    raise UsageError("source {!r} does not exist".format(redact(path)), FORMS)


def _file(path: str) -> Source:
    from edgeseg.stream.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, ImagesSource, VideoSource

    suffix = os.path.splitext(path)[1].lower()
    if suffix in IMAGE_SUFFIXES:
        return ImagesSource([path], os.path.basename(path))
    if suffix in VIDEO_SUFFIXES:
        return VideoSource(path)
    # By name, because FFmpeg plays even text files (its decoder for terminal art).
    raise UsageError(
        "{} is neither an image nor a video by its name".format(path),
        "images: {}; videos: {}".format(" ".join(IMAGE_SUFFIXES), " ".join(VIDEO_SUFFIXES)),
    )


def _with_suffix(paths: List[str], suffixes: Tuple[str, ...]) -> List[str]:
    return sorted((p for p in paths if p.lower().endswith(suffixes) and os.path.isfile(p)), key=natural_key)
