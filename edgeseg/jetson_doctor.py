"""What `edgeseg doctor` looks at on a Jetson, or where TensorRT is installed. Like the rest of it, only looks."""

import glob
import grp
import os
import shutil
import sys
from typing import Callable, Iterator, Tuple

from edgeseg.device import Board, describe, read_clocks, read_power_mode, read_ram
from edgeseg.device.files import find_paths, read_under
from edgeseg.doctor import LOW_SPACE_BYTES, Finding, installed_opencv
from edgeseg.errors import EdgesegError
from edgeseg.opencv import load_cv2, opencv_features
from edgeseg.trt.budget import MIN_FREE, SMALL_BOARD
from edgeseg.trt.cache import VARIABLE, cache_folder
from edgeseg.trt.library import load_tensorrt
from edgeseg.trt.memory import open_memory

# Device files of the integrated GPU, JetPack 4 to 7; CUDA fails if they are closed to the user.
GPU_NODES = ("nvmap", "nvhost-ctrl", "nvhost-ctrl-gpu", "nvhost-gpu", "nvgpu/igpu0/ctrl", "nvgpu/igpu0/as")
SWAP_FILE = (
    "sudo systemctl disable --now nvzramconfig && sudo fallocate -l 4G /swapfile && sudo chmod 600 /swapfile "
    "&& sudo mkswap /swapfile && sudo swapon /swapfile"
)


def _system(board: Board, root: str) -> Iterator[Finding]:
    fixes = {"power mode": _faster_mode(board, root), "memory": _more_memory(board, root)}
    if board.is_jetson and not read_clocks(root).pinned:
        fixes["clocks"] = "before measuring: sudo jetson_clocks"
    for subject, text in describe(root).items():
        fix = fixes.get(subject, "")
        yield Finding("note" if fix else "ok", subject, text, fix)


def _faster_mode(board: Board, root: str) -> str:
    mode = read_power_mode(root)
    if mode is None:
        return "sudo nvpmodel -q" if board.is_jetson else ""
    if mode.fastest in (None, mode.number):
        return ""
    return "for the highest speed: sudo nvpmodel -m {}".format(mode.fastest)


def _more_memory(board: Board, root: str) -> str:
    ram = read_ram(root)
    if ram is None:
        return ""
    if board.is_jetson and ram.total <= SMALL_BOARD and not ram.disk_swap:
        return 'building an engine may end as "Killed"; a swap file: ' + SWAP_FILE
    if ram.obtainable < MIN_FREE:
        return "too little to build an engine; end the desktop: sudo systemctl isolate multi-user.target"
    return ""


def _devices(board: Board, root: str) -> Iterator[Finding]:
    if not board.targets:
        return
    found = [path for name in GPU_NODES for path in find_paths(root, "dev/" + name)]
    found += find_paths(root, "dev/dri/renderD*")
    closed = [path for path in found if not os.access(path, os.R_OK | os.W_OK)]
    if not found:
        text = "there is no /dev/nvmap and no /dev/nvhost-*: the GPU is not to be seen"
        yield Finding("note", "devices", text, "in a container: docker run --runtime nvidia")
    elif closed:
        groups = sorted({_group_of(path) for path in closed})
        text = "{} may not be opened".format(", ".join(closed))
        fix = "sudo usermod -aG {} $USER, then log in again".format(",".join(groups))
        if "root" in groups:
            fix = "run as root, or give these files to the group video by a udev rule"
        yield Finding("note", "devices", text, fix)


def _group_of(path: str) -> str:
    number = os.stat(path).st_gid
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _tensorrt(board: Board, root: str) -> Iterator[Finding]:
    try:
        trt = load_tensorrt(root)
    except EdgesegError as error:
        yield Finding(_severity(board), "tensorrt", error.message, error.fix)
        return
    yield Finding("ok", "tensorrt", "{} ({})".format(trt.__version__, os.path.dirname(trt.__file__)))


def _cuda(board: Board, root: str) -> Iterator[Finding]:
    try:
        memory = open_memory()
    except EdgesegError as error:
        yield Finding(_severity(board), "cuda", error.message, error.fix)
        return
    try:
        gpu = memory.gpu
        text = "{}, compute capability {}.{}, {} multiprocessors".format(gpu.name, *gpu.capability, gpu.multiprocessors)
        yield Finding("ok", "cuda", text)
    finally:
        memory.close()


def _severity(board: Board) -> str:
    """A PC can do without; on a Jetson none of its own bundles would run."""
    return "fault" if board.is_jetson else "note"


def _gstreamer(board: Board, root: str) -> Iterator[Finding]:
    if not board.is_jetson:
        return
    try:
        cv2 = load_cv2()
    except EdgesegError:
        return  # the general check has said so
    if "GStreamer" in opencv_features(cv2.getBuildInformation()):
        return
    text = "OpenCV {} in {} is built without GStreamer, which CSI cameras need".format(
        cv2.__version__, os.path.dirname(os.path.dirname(cv2.__file__))
    )
    pip = installed_opencv(sys.path)
    if pip:
        text += "; pip's OpenCV hides that of JetPack"
        fix = "pip uninstall -y {}; a virtual environment needs --system-site-packages".format(" ".join(pip))
    else:
        fix = "use the OpenCV of JetPack: sudo apt-get install nvidia-opencv"
    yield Finding("note", "opencv", text, fix)


def _csi(board: Board, root: str) -> Iterator[Finding]:
    """NVIDIA's camera daemon, where there is a CSI camera: L4T calls its node "vi-output, imx219 9-0010"."""
    names = [read_under(path, "name") for path in find_paths(root, "sys/class/video4linux/video*")]
    cameras = [name.replace("vi-output, ", "") for name in names if name.startswith("vi-output")]
    if not cameras:
        return
    if os.path.exists(os.path.join(root, "tmp/argus_socket")):
        yield Finding("ok", "csi", ", ".join(cameras))
    else:
        fix = "sudo systemctl restart nvargus-daemon; in a container: docker run -v /tmp/argus_socket:/tmp/argus_socket"
        yield Finding("note", "csi", "{}: nvargus-daemon does not run".format(", ".join(cameras)), fix)


def _engines(board: Board, root: str) -> Iterator[Finding]:
    folder = cache_folder()
    place = folder
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    fix = "choose another folder: export {}=FOLDER".format(VARIABLE)
    if not os.path.isdir(place):
        yield Finding("note", "engines", "they cannot be kept in {}: {} is no folder".format(folder, place), fix)
        return
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK | os.X_OK):
        yield Finding("note", "engines", "they cannot be kept: {} may not be written".format(place), fix)
    elif free < LOW_SPACE_BYTES:
        yield Finding("note", "engines", "{} has {} MB free".format(folder, free // 10**6), fix)
    else:
        count = len(glob.glob(os.path.join(glob.escape(folder), "*.engine")))
        yield Finding("ok", "engines", "{} in {}, {:.1f} GB free".format(count, folder, free / 1e9))


def _numpy(board: Board, root: str) -> Iterator[Finding]:
    """The wheel of NumPy 1.19.5 ends with "Illegal instruction" on JetPack 4, unless OpenBLAS is told the CPU.

    So it does not get here without that setting; a service may well be started without it.
    https://github.com/numpy/numpy/issues/18131, https://github.com/OpenMathLib/OpenBLAS/issues/2715
    """
    import numpy as np

    setting = os.environ.get("OPENBLAS_CORETYPE")
    if setting and np.__version__ == "1.19.5" and board.l4t.startswith("32."):
        text = "1.19.5 runs because of OPENBLAS_CORETYPE={} in this shell".format(setting)
        fix = "set it for services too (Environment= in the unit), or: pip install numpy==1.19.4"
        yield Finding("note", "numpy", text, fix)


def _target(board: Board, root: str) -> Iterator[Finding]:
    if not board.is_jetson:
        return
    if not board.targets:
        yield Finding("note", "target", "no --target is for {}".format(board.soc), "use --target cpu")
    elif len(board.targets) > 1:
        text = "the module is not to be seen here, as in a container: --target {}?".format(" or ".join(board.targets))
        yield Finding("note", "target", text, "run edgeseg doctor outside of the container")
    else:
        yield Finding("ok", "target", "best target for this board: --target {}".format(board.targets[0]))


CHECKS: Tuple[Callable[[Board, str], Iterator[Finding]], ...] = (
    _system,
    _devices,
    _tensorrt,
    _cuda,
    _gstreamer,
    _csi,
    _engines,
    _numpy,
    _target,  # last: it is what the user does next
)
