"""What `edgeseg doctor` looks at. No network, no installs, nothing is changed.

What only a Jetson has is in edgeseg.jetson_doctor, what comes with a Coral Edge TPU in edgeseg.coral_doctor.
"""

import functools
import glob
import importlib
import importlib.util
import os
import platform
import shutil
import sys
from typing import Callable, Iterator, List, NamedTuple, Sequence, Tuple

from edgeseg.backends import BACKENDS, BackendEntry, available_package
from edgeseg.device import find_board
from edgeseg.errors import EdgesegError
from edgeseg.quiet import import_runtime
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


def examine(root: str = "/") -> List[Finding]:
    """Look at everything; a check that itself fails becomes a finding.

    Args:
        root: the folder that stands for "/" where the board is looked at.
    """
    board = find_board(root)
    checks = [(check.__name__, check) for check in _CHECKS]
    if board.is_jetson or importlib.util.find_spec("tensorrt"):
        from edgeseg import jetson_doctor  # needs this module

        checks += [(check.__name__, functools.partial(check, board, root)) for check in jetson_doctor.CHECKS]
    if _has_coral(root):
        from edgeseg import coral_doctor

        checks += [(check.__name__, functools.partial(check, root)) for check in coral_doctor.CHECKS]
    findings: List[Finding] = []
    for name, check in checks:
        try:
            findings.extend(check())
        except Exception as error:  # a broken library must not hide the other findings
            text = "{}: {}".format(type(error).__name__, error)
            findings.append(Finding("fault", name.strip("_"), text, "reinstall it"))
    return findings


def _has_coral(root: str = "/") -> bool:
    """Whether an Edge TPU or its library is here."""
    from edgeseg.coral.devices import seen_tpus
    from edgeseg.coral.library import VARIABLE, library_paths

    return bool(os.environ.get(VARIABLE) or library_paths(root) or seen_tpus(root))


def _machine() -> Iterator[Finding]:
    model = find_board().model
    text = "{} cores, {}{}".format(len(os.sched_getaffinity(0)), platform.machine(), model and ", " + model)
    yield Finding("ok", "machine", text)
    yield Finding("ok", "python", "{} ({}), edgeseg {}".format(platform.python_version(), sys.executable, __version__))


def _opencv() -> Iterator[Finding]:
    from edgeseg.opencv import load_cv2, opencv_features

    try:
        cv2 = load_cv2()
    except EdgesegError as error:
        yield Finding("fault", "opencv", error.message, getattr(error, "fix", ""))
        return
    found = installed_opencv(sys.path)
    features = opencv_features(cv2.getBuildInformation())
    yield Finding("ok", "opencv", "{} ({})".format(cv2.__version__, ", ".join(features) or "no video, no windows"))
    if len(found) > 1:
        yield Finding(
            "note",
            "opencv",
            "several OpenCV packages overwrite each other: " + ", ".join(found),
            "pip uninstall -y {} && pip install {}".format(" ".join(found), found[0]),
        )
    yield from _hidden_opencv()
    if "FFMPEG" not in features and "GStreamer" not in features:
        yield Finding(
            "note",
            "opencv",
            "built without FFMPEG and GStreamer: no video files",
            "pip install 'edgeseg[camera]', or the OpenCV of JetPack on a Jetson",
        )


def _hidden_opencv() -> Iterator[Finding]:
    """A second OpenCV further down the path: often one of pip before that of the system or of JetPack."""
    places = opencv_places(sys.path)
    if len(places) < 2:
        return
    text = "OpenCV is installed twice: the one in {} hides the one in {}".format(places[0], " and ".join(places[1:]))
    removable = installed_opencv(places[:1])
    if removable:
        yield Finding("note", "opencv", text, "to use the other: pip uninstall -y {}".format(" ".join(removable)))
    else:
        yield Finding("note", "opencv", text, "remove one of them")


def opencv_places(folders: Sequence[str]) -> List[str]:
    """Those of `folders` (as in sys.path) that hold a module cv2; the first is the one that is imported."""
    places: List[str] = []
    for folder in folders:
        inside = os.path.join(glob.escape(folder), "cv2")
        if glob.glob(os.path.join(inside, "__init__.py")) or glob.glob(inside + "*.so"):
            place = os.path.realpath(folder)
            if place not in places:
                places.append(place)
    return places


def installed_opencv(folders: Sequence[str]) -> List[str]:
    """OpenCV distributions that pip installed into `folders`."""
    return [name for name in OPENCV_DISTRIBUTIONS if any(_distribution_in(folder, name) for folder in folders)]


def _distribution_in(folder: str, distribution: str) -> bool:
    pattern = distribution.replace("-", "_") + "-[0-9]*.dist-info"
    return bool(folder) and bool(glob.glob(os.path.join(glob.escape(folder), pattern)))


def _runtimes() -> Iterator[Finding]:
    usable = 0
    for entry in BACKENDS:
        package = available_package(entry) if entry.role else None
        usable += bool(package)
        if entry.name == "edgetpu" and not _has_coral():
            from edgeseg.coral.library import how_to_install

            text = "no Edge TPU is attached, and libedgetpu is not installed"
            yield Finding("note", entry.name, text, how_to_install())
        if not entry.role or entry.name in ("tensorrt", "edgetpu"):
            continue  # these are looked at together with their device
        if package:
            yield _imported(entry, package)
        else:
            yield Finding("note", entry.name, "not installed ({})".format(" or ".join(entry.packages)), entry.install)
    if not usable:
        yield Finding("fault", "runtime", "no inference runtime is installed", BACKENDS[0].install)


def _imported(entry: BackendEntry, package: str) -> Finding:
    try:
        module = import_runtime(package)
    except Exception as error:  # one built for another NumPy, or short of a library
        text = "{} cannot be imported: {}: {}".format(package, type(error).__name__, error)
        return Finding("fault", entry.name, text, "reinstall it: " + entry.install)
    return Finding("ok", entry.name, "{} {}".format(package, getattr(module, "__version__", "")))


def _network() -> Iterator[Finding]:
    from edgeseg.zoo import open_bundle

    try:
        bundle = open_bundle()
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
