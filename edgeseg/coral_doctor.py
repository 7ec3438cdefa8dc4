"""What `edgeseg doctor` looks at where an Edge TPU or libedgetpu is. Like the rest of it, only looks.

libedgetpu is not loaded in this process: a child asks it.
"""

import importlib.util
from typing import Callable, Iterator, Tuple

from edgeseg.backends.edgetpu import PACKAGES, choose_interpreter
from edgeseg.coral.abi import describe, foreign_pycoral
from edgeseg.coral.devices import USB_IDS, Seen, explain_no_device, seen_tpus, why_unusable
from edgeseg.coral.library import find_library
from edgeseg.coral.listing import list_devices
from edgeseg.device.files import find_paths, read_int
from edgeseg.doctor import Finding
from edgeseg.errors import EnvironmentFault

_USB_3_MEGABITS = 5000
# README of google-coral/libedgetpu, "Warning": the ambient temperature for which a clock is meant.
_CLOCKS = {
    "max": "full clock on USB, for up to 25 degrees Celsius around it",
    "std": "reduced clock on USB, for up to 35 degrees Celsius around it",
    "": "unknown clock",
}


def _tpus(root: str) -> Iterator[Finding]:
    found = seen_tpus(root)
    for seen in found:
        fault = why_unusable(seen, root)
        if fault:  # in use, it may well be by edgeseg: no fault
            yield Finding("note" if seen.claimed else "fault", "edgetpu", fault.message, fault.fix)
        else:
            yield Finding("ok", "edgetpu", _attached(seen))
        if 0 < seen.megabits < _USB_3_MEGABITS:
            text = "{} is connected with {} Mbit/s: its transfers take longer than on USB 3".format(seen, seen.megabits)
            yield Finding("note", "edgetpu", text, "use a USB 3 port (blue), and the cable that came with it")
    if not found:
        fault = explain_no_device(root=root)
        yield Finding("note", "edgetpu", fault.message, fault.fix)


def _attached(seen: Seen) -> str:
    if seen.kind == "pci":
        return "PCIe {}, {}".format(seen.place, seen.node)
    state = "has its firmware" if seen.firmware else "gets its firmware with the first use"
    return "USB {}, {}: {}:{}, {}".format(seen.place, seen.node, *USB_IDS[seen.firmware], state)


def _library(root: str) -> Iterator[Finding]:
    """It, what it needs, and what it finds. Where no Edge TPU is attached, nobody misses it."""
    severity = "fault" if seen_tpus(root) else "note"
    try:
        library = find_library(root)
        clock = _CLOCKS[library.performance]
        yield Finding("ok", "libedgetpu", "{}: {}, {}".format(library.path, describe(library), clock))
        listing = list_devices(library)
    except EnvironmentFault as fault:
        yield Finding(severity, "libedgetpu", fault.message, fault.fix)
        return
    text = "runtime version {}, finds {} Edge TPU{}"
    count = len(listing.devices)
    yield Finding("ok", "libedgetpu", text.format(listing.runtime_version, count, "" if count == 1 else "s"))
    if not count and any(why_unusable(seen, root) is None for seen in seen_tpus(root)):
        reason = explain_no_device(root=root)
        yield Finding(severity, "libedgetpu", reason.message, reason.fix)
    if any(importlib.util.find_spec(package) for package in PACKAGES):
        try:
            package, version = choose_interpreter(library)
            yield Finding("ok", "libedgetpu", "fits {} {}".format(package, version))
        except EnvironmentFault as fault:
            yield Finding(severity, "libedgetpu", fault.message, fault.fix)


def _temperature(root: str) -> Iterator[Finding]:
    """Of PCIe; USB tells none. The driver lowers the clock from the first trip point on (apex_driver.c)."""
    for folder in find_paths(root, "sys/class/apex/apex_*"):
        now, limit = (read_int(folder + "/" + name) for name in ("temp", "trip_point0_temp"))  # 0.001 C
        if now is None:
            continue
        text = "{:.0f} C at /dev/{}".format(now / 1e3, folder.rpartition("/")[2])
        if limit is not None and now >= limit:
            text += ": its driver has lowered the clock, as from {:.0f} C on".format(limit / 1e3)
            yield Finding("note", "temperature", text, "cool it: a heat sink, or air that moves")
        else:
            yield Finding("ok", "temperature", text)


def _pycoral(root: str) -> Iterator[Finding]:
    folder = foreign_pycoral()
    if folder:
        text = "the package in {} is not Google's, but another program of that name".format(folder)
        yield Finding("note", "pycoral", text, "pip uninstall -y pycoral; edgeseg needs none")


CHECKS: Tuple[Callable[[str], Iterator[Finding]], ...] = (_tpus, _library, _temperature, _pycoral)
