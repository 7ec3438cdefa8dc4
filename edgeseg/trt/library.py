"""The module `tensorrt` and its log: why it cannot be imported or started here, and what mends that.

On a Jetson the package python3-libnvinfer of JetPack brings `tensorrt`, for the system's Python alone.
"""

import glob
import os
import re
import sys
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional

from edgeseg.errors import EnvironmentFault

_logs: Dict[Any, Any] = {}  # by module, of which there is one outside of tests
_KEPT_LINES = 100
_QUOTED_LINES = 6  # in a message: the first name the cause, the rest its consequences
_DRIVER = "on a PC install NVIDIA's driver, until nvidia-smi works; a container has to be started with --runtime nvidia"
# cudaError_t (CUDA Runtime API, "Error handling"): what it means for the user, and the next step.
_CUDA_ERRORS = {
    2: ("the GPU has no memory left", "end other programs that use the GPU"),
    35: ("NVIDIA's driver is missing, or older than CUDA here", _DRIVER),
    46: ("another program holds the GPU", "end other programs that use the GPU"),
    100: ("there is no NVIDIA GPU", "run this on the Jetson; " + _DRIVER),
    101: ("there is no such GPU", "unset CUDA_VISIBLE_DEVICES"),
    999: ("the driver refuses", "sudo usermod -aG video $USER, log in again; if that does not help, reboot"),
}


def load_tensorrt(root: str = "/") -> Any:
    """Import `tensorrt`. Raises EnvironmentFault with the exact reason; `root` is where the system's folders are."""
    try:
        import tensorrt
    except Exception as error:  # ImportError or OSError for a library; AttributeError of an old package and new NumPy
        if isinstance(error, ModuleNotFoundError) and error.name == "tensorrt":
            raise _absent(root)
        raise _broken(error, root)
    if not hasattr(tensorrt, "Builder"):
        raise EnvironmentFault(
            "what Python finds as `tensorrt` is not TensorRT: {}".format(list(getattr(tensorrt, "__path__", ["?"]))),
            "start from another folder, or rename that one",
        )
    if not hasattr(tensorrt, "LayerInformationFormat"):  # came with the engine inspector of 8.2
        raise EnvironmentFault(
            "TensorRT {} is too old: edgeseg needs 8.2, of JetPack 4.6.1".format(tensorrt.__version__),
            "sudo apt update && sudo apt dist-upgrade",
        )
    return tensorrt


def system_tensorrt(root: str = "/") -> List[str]:
    """The folders of python3-libnvinfer, e.g. /usr/lib/python3.8/dist-packages/tensorrt; usually one or none."""
    folders = glob.glob(os.path.join(glob.escape(root), "usr/lib/python3*/dist-packages/tensorrt"))
    return sorted(folder for folder in folders if os.path.exists(os.path.join(folder, "__init__.py")))


def _absent(root: str) -> EnvironmentFault:
    """There is no module `tensorrt` for this Python."""
    here = "{}.{}".format(*sys.version_info[:2])
    folders = system_tensorrt(root)
    if not folders:
        return EnvironmentFault(
            "TensorRT for Python is not installed",
            "on a Jetson: sudo apt install python3-libnvinfer; on a PC with an NVIDIA GPU: pip install tensorrt",
        )
    folder = next((f for f in folders if _python_of(f) in (here, None)), folders[0])
    python = _python_of(folder)
    fix = "{} -m venv --system-site-packages ENV, then install edgeseg with ENV/bin/pip".format(
        "/usr/bin/python" + (python or "3")
    )
    if python not in (here, None):
        return EnvironmentFault(
            "TensorRT is installed for Python {} ({}), this is Python {} ({})".format(
                python, folder, here, sys.executable
            ),
            fix,
        )
    if sys.prefix != sys.base_prefix:
        return EnvironmentFault(
            "TensorRT is installed for the system's Python ({}), which the virtual environment {} does not see".format(
                folder, sys.prefix
            ),
            fix,
        )
    return EnvironmentFault(
        "TensorRT is installed for the system's Python {} ({}), this is another one ({})".format(
            python or "3", folder, sys.executable
        ),
        fix,
    )


def _python_of(folder: str) -> Optional[str]:
    """ "3.8" of /usr/lib/python3.8/dist-packages/tensorrt; None where the path does not tell."""
    found = re.search(r"/python(3\.\d+)/", folder)
    return found.group(1) if found else None


def _broken(error: Exception, root: str) -> EnvironmentFault:
    """`tensorrt` is there and does not load."""
    text = "{}: {}".format(type(error).__name__, error)
    missing = re.search(r"(lib\S+?\.so[.\d]*): cannot open shared object file", text)
    if missing:
        return EnvironmentFault(
            "TensorRT's Python package is installed, but the library {} is not found".format(missing.group(1)),
            "on a Jetson: sudo apt install tensorrt, in a container: start it with --runtime nvidia; "
            "on a PC: pip install --force-reinstall tensorrt",
        )
    fix = (
        "on a Jetson: sudo apt install --reinstall python3-libnvinfer; on a PC: pip install --force-reinstall tensorrt"
    )
    if re.search(r"Python version mismatch|PyInit_|undefined symbol: _?Py", text):
        folders = system_tensorrt(root)
        python = (_python_of(folders[0]) if folders else None) or "3"
        fix = "use the Python that it is for: /usr/bin/python{} -m venv --system-site-packages ENV".format(python)
    return EnvironmentFault("TensorRT's Python package does not load: {}".format(text), fix)


def open_log(trt: Any) -> Any:
    """A trt.ILogger that keeps TensorRT's errors for our messages and prints nothing.

    Its `take_errors()` gives the error lines since the last time, or the last warnings if there were none. It may be
    called from any thread. There is one in a process, for ever: TensorRT goes on with the first that it was given
    (NvInferRuntime.h, `createInferRuntime`), whatever else was made with it.
    """
    if trt not in _logs:
        _logs[trt] = _make_log(trt)
    return _logs[trt]


def _make_log(trt: Any) -> Any:
    # Bound here: while the interpreter ends, TensorRT still logs, and the module may be empty already.
    errors, warning = (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR), trt.ILogger.WARNING

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # the bindings insist on this form
            self._errors: Deque[str] = deque(maxlen=_KEPT_LINES)
            self._warnings: Deque[str] = deque(maxlen=3)

        def log(self, severity: Any, msg: str) -> None:
            if severity in errors:
                self._errors.append(msg)
            elif severity == warning:
                self._warnings.append(msg)

        def take_errors(self) -> List[str]:
            lines = list(self._errors) or list(self._warnings)
            self._errors.clear()
            self._warnings.clear()
            return lines

    return Log()


def create(factory: Callable[[], Any], log: Any, what: str) -> Any:
    """`factory()`, e.g. `lambda: trt.Builder(log)`.

    TensorRT's factories fail with None, or a TypeError that says "factory function returned nullptr". Both become an
    EnvironmentFault with what TensorRT logged; `what` is what could not be made: "an engine builder".
    """
    try:
        made = factory()
    except TypeError as error:
        if "nullptr" not in str(error):
            raise  # wrong arguments: a bug of ours
        made = None
    if made is None:
        raise failure("TensorRT cannot make {} on this machine".format(what), log)
    return made


def failure(message: str, log: Any, fix: str = "see what `edgeseg doctor` says") -> EnvironmentFault:
    """An EnvironmentFault of `message` and TensorRT's error lines. A CUDA error among them decides the fix."""
    lines = log.take_errors()
    found = re.search(r"CUDA initialization failure with error: (\d+)", "\n".join(lines))
    code = int(found.group(1)) if found else 0
    if code in _CUDA_ERRORS:
        meaning, fix = _CUDA_ERRORS[code]
        message = "{}: {} (CUDA error {})".format(message, meaning, code)
    return EnvironmentFault("\n  TensorRT: ".join([message] + lines[:_QUOTED_LINES]), fix)
