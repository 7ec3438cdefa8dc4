"""What libedgetpu itself says: its runtime version, and the Edge TPUs that it finds.

`python -m edgeseg.coral.listing PATH` asks it and prints JSON. That is done in a process of its own: the library may
crash, hang or end the process (its `LOG(FATAL)`), and a robot must not go down with it.
"""

import ctypes
import json
import os
import re
import subprocess
import sys
from typing import Any, Dict, List, NamedTuple, Tuple

from edgeseg.coral.library import Library, how_to_install
from edgeseg.errors import EnvironmentFault
from edgeseg.python_child import python_command, signal_name

TIMEOUT_S = 20.0  # a Raspberry Pi takes 2 s to start Python; the library lists in milliseconds
_GONE_S = 1.0  # at most, for a killed process to be gone; one that is stuck in a driver is left behind
_KINDS = {0: "pci", 1: "usb"}  # tflite/public/edgetpu_c.h, enum edgetpu_device_type


class Device(NamedTuple):
    """An Edge TPU as libedgetpu names it. Listing opens none: one that is in use or forbidden is listed too."""

    kind: str  # "usb" | "pci"
    path: str  # "/sys/bus/usb/devices/1-2" | "/dev/apex_0"


class Listing(NamedTuple):
    """What a libedgetpu told."""

    runtime_version: int  # 14 for its releases 16.0 and later, 13 for 14.1 and 15.0
    build: str  # edgetpu_version(): "BuildLabel(COMPILER=...), RuntimeVersion(14)"
    devices: Tuple[Device, ...]  # in its own order, which the indices of "usb:1" count


def list_devices(library: Library, timeout_s: float = TIMEOUT_S) -> Listing:
    """Ask a library in a child process.

    Raises EnvironmentFault if it cannot be loaded (with what it misses), crashes, hangs for `timeout_s`, or answers
    something else.
    """
    try:
        code, printed, words = _run(python_command("edgeseg.coral.listing") + [library.path], timeout_s)
    except subprocess.TimeoutExpired:
        raise EnvironmentFault(
            "libedgetpu at {} hangs: no list of devices after {:g} s".format(library.path, timeout_s),
            "unplug the Edge TPU and plug it in again (PCIe: reboot); if that does not help, " + _reinstall(),
        )
    except OSError as error:
        raise EnvironmentFault("a Python process cannot be started: {}".format(error), "free memory and processes")
    if code != 0:
        how = signal_name(-code) if code < 0 else "exit code {}".format(code)
        raise EnvironmentFault(
            "libedgetpu at {} ended the process that asked it for its devices: {}{}".format(
                library.path, how, words and ", " + words
            ),
            "unplug the Edge TPU and plug it in again (PCIe: reboot); if that does not help, " + _reinstall(),
        )
    try:
        told: Dict[str, Any] = json.loads(printed)
        problem = told.get("error")
        version = None if problem else re.search(r"RuntimeVersion\((\d+)\)", told["version"])
        devices = () if problem else tuple(Device(kind, path) for kind, path in told["devices"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EnvironmentFault(
            "the list of devices of {} is not readable: {!r}".format(library.path, printed), _reinstall()
        )
    if problem:
        raise _not_loaded(library.path, problem)
    if not version:
        raise EnvironmentFault(
            "libedgetpu at {} tells no runtime version, but {!r}".format(library.path, told["version"]), _reinstall()
        )
    return Listing(int(version.group(1)), told["version"], devices)


def _reinstall() -> str:
    return "install another libedgetpu: " + how_to_install()


def _run(command: List[str], timeout_s: float) -> Tuple[int, str, str]:
    """Exit code, output, and last line of stderr. Raises OSError, subprocess.TimeoutExpired."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except BaseException:
        process.kill()
        try:
            process.communicate(timeout=_GONE_S)
        except subprocess.TimeoutExpired:
            pass
        raise
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    return process.returncode, output.decode("utf-8", "replace"), lines[-1].strip() if lines else ""


def _not_loaded(path: str, problem: str) -> EnvironmentFault:
    """Out of the words of the dynamic loader, or of Python if a function is missing."""
    missing = re.search(r"(lib\S+): cannot open shared object file", problem)
    newer = re.search(r"version [`']([A-Z]+_[\d.]+)' not found", problem)
    if missing and missing.group(1).startswith("libusb-1.0"):
        return EnvironmentFault(
            "libedgetpu at {} needs {}, which is not installed".format(path, missing.group(1)),
            "sudo apt install libusb-1.0-0",
        )
    if missing:
        return EnvironmentFault(
            "libedgetpu at {} needs {}, which is not installed".format(path, missing.group(1)),
            "install the package that holds it (apt-file search {}), or a libedgetpu for this system: {}".format(
                missing.group(1), how_to_install()
            ),
        )
    if newer:
        return EnvironmentFault(
            "libedgetpu at {} is made for a newer system: it needs {}".format(path, newer.group(1)),
            "install one for this system: " + how_to_install(),
        )
    return EnvironmentFault(
        "libedgetpu at {} cannot be loaded: {}".format(path, problem), "install it anew: " + how_to_install()
    )


class _Record(ctypes.Structure):
    """edgetpu_c.h, struct edgetpu_device."""

    _fields_ = [("type", ctypes.c_int), ("path", ctypes.c_char_p)]


def _ask(path: str) -> Dict[str, Any]:
    library = ctypes.CDLL(path)
    library.edgetpu_version.restype = ctypes.c_char_p
    library.edgetpu_list_devices.restype = ctypes.POINTER(_Record)
    library.edgetpu_list_devices.argtypes = [ctypes.POINTER(ctypes.c_size_t)]
    library.edgetpu_free_devices.argtypes = [ctypes.POINTER(_Record)]
    library.edgetpu_free_devices.restype = None
    count = ctypes.c_size_t()
    records = library.edgetpu_list_devices(ctypes.byref(count))
    found = [(records[i].type, records[i].path) for i in range(count.value)]
    if records:
        library.edgetpu_free_devices(records)
    return {
        "version": (library.edgetpu_version() or b"").decode("utf-8", "replace"),
        "devices": [(_KINDS[kind], os.fsdecode(path)) for kind, path in found if kind in _KINDS],
    }


def main() -> None:
    """Of the child process: print what the library told, or why it could not be loaded."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a library that prints does not spoil the answer
    try:
        told = _ask(sys.argv[1])
    except (OSError, AttributeError) as error:
        told = {"error": str(error)}
    answer.write(json.dumps(told))
    answer.close()
    os._exit(0)  # not through the library's destructors


if __name__ == "__main__":
    main()
