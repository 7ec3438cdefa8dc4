"""What `edgeseg doctor` looks at. No network, no installs, nothing is changed."""

import glob
import os
import platform
import shutil
import sys
from typing import Callable, Iterator, List, NamedTuple, Tuple

from edgeseg.backends import BACKENDS, available_package
from edgeseg.bundle import read_bundle
from edgeseg.errors import EdgesegError
from edgeseg.version import __version__

# Every distribution that installs a module named cv2; two of them overwrite each other's files.
OPENCV_DISTRIBUTIONS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
LOW_SPACE_BYTES = 500 << 20


class Finding(NamedTuple):
    """One thing that was looked at. `level` is "ok", "note" (a limitation) or "fault" (edgeseg cannot run)."""

    level: str
    subject: str
    text: str
    fix: str = ""


def examine() -> List[Finding]:
    """Look at everything; a check that itself fails becomes a finding."""
    findings: List[Finding] = []
    for check in _CHECKS:
        try:
            findings.extend(check())
        except Exception as error:  # a broken library must not hide the other findings
            name = check.__name__.strip("_")
            findings.append(Finding("fault", name, "{}: {}".format(type(error).__name__, error), "reinstall it"))
    return findings


def _machine() -> Iterator[Finding]:
    model = ""
    if os.path.exists("/proc/device-tree/model"):
        with open("/proc/device-tree/model", "rb") as file:
            model = ", " + file.read().rstrip(b"\0\n").decode("utf-8", "replace")
    text = "{} cores, {}{}".format(len(os.sched_getaffinity(0)), platform.machine(), model)
    yield Finding("ok", "machine", text)
    yield Finding("ok", "python", "{} ({}), edgeseg {}".format(platform.python_version(), sys.executable, __version__))


def _opencv() -> Iterator[Finding]:
    from edgeseg.opencv import load_cv2

    try:
        cv2 = load_cv2()
    except EdgesegError as error:
        yield Finding("fault", "opencv", error.message, getattr(error, "fix", ""))
        return
    found = [name for name in OPENCV_DISTRIBUTIONS if _is_installed(name)]
    features = _opencv_features(cv2.getBuildInformation())
    yield Finding("ok", "opencv", "{} ({})".format(cv2.__version__, ", ".join(features) or "no video, no windows"))
    if len(found) > 1:
        yield Finding(
            "note",
            "opencv",
            "several OpenCV packages overwrite each other: " + ", ".join(found),
            "pip uninstall -y {} && pip install {}".format(" ".join(found), found[0]),
        )
    if "FFMPEG" not in features and "GStreamer" not in features:
        yield Finding(
            "note",
            "opencv",
            "built without FFMPEG and GStreamer: no video files",
            "pip install 'edgeseg[camera]', or the OpenCV of JetPack on a Jetson",
        )


def _opencv_features(build: str) -> List[str]:
    """The parts of OpenCV's build report that matter here and say YES."""
    features = []
    for name in ("FFMPEG", "GStreamer", "v4l/v4l2", "GTK+", "QT"):
        lines = [line for line in build.splitlines() if line.strip().upper().startswith(name.upper() + ":")]
        if any("YES" in line.upper() for line in lines):
            features.append(name)
    return features


def _is_installed(distribution: str) -> bool:
    folder_name = distribution.replace("-", "_")
    return any(
        glob.glob(os.path.join(glob.escape(path), folder_name + "-[0-9]*.dist-info")) for path in sys.path if path
    )


def _runtimes() -> Iterator[Finding]:
    usable = 0
    for entry in BACKENDS:
        if not entry.role:
            continue
        package = available_package(entry)
        if package:
            usable += 1
            version = getattr(__import__(package), "__version__", "")
            yield Finding("ok", entry.name, "{} {}".format(package, version))
        else:
            yield Finding("note", entry.name, "not installed ({})".format(" or ".join(entry.packages)), entry.install)
    if not usable:
        yield Finding("fault", "runtime", "no inference runtime is installed", BACKENDS[0].install)


def _network() -> Iterator[Finding]:
    from edgeseg.zoo import zoo_bundle

    try:
        bundle = read_bundle(str(zoo_bundle()))
    except EdgesegError as error:
        yield Finding("fault", "network", error.message, getattr(error, "fix", ""))
        return
    info = bundle.manifest
    height, width = info.network.imgsz
    text = "{} {}x{} {} in the package".format(info.network.architecture, width, height, info.target.precision)
    yield Finding("ok", "network", text)


def _cameras() -> Iterator[Finding]:
    devices = sorted(glob.glob("/dev/video*"))
    if not devices:
        yield Finding("note", "cameras", "there is no /dev/video*", "plug a camera in, or use --camera pattern:")
    for device in devices:
        if os.access(device, os.R_OK | os.W_OK):
            yield Finding("ok", "cameras", device)
        else:
            fix = "sudo usermod -aG video $USER, then log in again"
            yield Finding("note", "cameras", device + " may not be opened", fix)


def _display() -> Iterator[Finding]:
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        yield Finding("ok", "display", os.environ.get("DISPLAY") or os.environ["WAYLAND_DISPLAY"])
    else:
        yield Finding("note", "display", "none: `edgeseg run` prints a status line", "use -o OUT.mp4 to see masks")


def _space() -> Iterator[Finding]:
    free = shutil.disk_usage(os.getcwd()).free
    level = "ok" if free > LOW_SPACE_BYTES else "note"
    yield Finding(level, "space", "{:.1f} GB free here".format(free / 1e9), "" if level == "ok" else "free some space")


_CHECKS: Tuple[Callable[[], Iterator[Finding]], ...] = (
    _machine,
    _opencv,
    _runtimes,
    _network,
    _cameras,
    _display,
    _space,
)
