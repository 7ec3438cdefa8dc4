"""Edge TPUs: their names, which are attached, and everything that is checked before a library may touch one."""

import os
import re
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from edgeseg.coral.abi import check_pair
from edgeseg.coral.access import CONTAINER_USB, why_closed
from edgeseg.coral.library import Library, find_library, how_to_install
from edgeseg.coral.listing import Device, Listing, list_devices
from edgeseg.coral.package import Package
from edgeseg.device.files import find_paths, read_int, read_text, read_under
from edgeseg.errors import EnvironmentFault, UsageError

# driver/beagle/beagle_usb_driver_provider.cc of google-coral/libedgetpu: before it has its firmware, and with it
USB_IDS = (("1a6e", "089a"), ("18d1", "9302"))
PCI_ID = ("0x1ac1", "0x089a")  # src/apex_driver.c of google/gasket-driver
GASKET = (
    "sudo modprobe apex; if there is no such module, build Google's driver for this kernel: "
    "https://github.com/google/gasket-driver (kernels from 6.5 on need the patched "
    "https://github.com/jnicolson/gasket-builder)"
)
_NAMES = {"usb": "USB", "pci": "PCIe"}
_NAME = re.compile(r"(usb|pci)?(?::([0-9]+))?")


class DeviceName(NamedTuple):
    """An Edge TPU as pycoral names it (its utils/edgetpu.py, `make_interpreter`)."""

    kind: str = ""  # "usb" | "pci" | "" for any
    number: Optional[int] = None  # among those of this kind, as libedgetpu lists them

    def __str__(self) -> str:
        return self.kind + ("" if self.number is None else ":{}".format(self.number))


ANY = DeviceName()


class Seen(NamedTuple):
    """An Edge TPU that the kernel knows."""

    kind: str  # "usb" | "pci"
    path: str  # as libedgetpu lists it: "/sys/bus/usb/devices/1-2" | "/dev/apex_0"; for PCIe "" without a driver
    node: str  # device file: "/dev/bus/usb/001/004" | "/dev/apex_0" | ""
    place: str  # "1-2" | "0000:01:00.0"
    claimed: bool  # whether a process uses it
    firmware: bool = True  # USB: whether it has been given its firmware, which the first use does
    megabits: int = 0  # USB: speed of the connection, 480 for USB 2; 0 unknown
    driver: str = "apex"  # PCIe: which driver has it; "" for none

    def __str__(self) -> str:
        return "the {} Edge TPU {}".format(_NAMES[self.kind], self.place)


class Ready(NamedTuple):
    """What to load, and how."""

    library: Library
    listing: Listing
    device: Device
    options: Dict[str, str]  # of `load_delegate`


def parse_device(text: str) -> DeviceName:
    """Read "usb", "pci", "usb:1", "pci:0", ":0", or "" for any. Raises UsageError for something else."""
    found = _NAME.fullmatch(text)
    if not found:
        raise UsageError(
            "there is no Edge TPU device {!r}".format(text),
            'Edge TPUs are named "usb", "pci", by number "usb:1", "pci:0", ":0", or "" for any',
        )
    return DeviceName(found.group(1) or "", int(found.group(2)) if found.group(2) else None)


def is_device_name(text: str) -> bool:
    return bool(_NAME.fullmatch(text))


def seen_tpus(root: str = "/") -> Tuple[Seen, ...]:
    """Edge TPUs that the kernel knows, PCIe first, as libedgetpu prefers them. Only reads /sys; takes milliseconds."""
    return tuple(_seen_pci(root) + _seen_usb(root))


def _seen_pci(root: str) -> List[Seen]:
    classes = {}
    for folder in find_paths(root, "sys/class/apex/apex_*"):
        classes[os.path.basename(os.path.realpath(os.path.join(folder, "device")))] = folder
    found = []
    for folder in find_paths(root, "sys/bus/pci/devices/*"):
        if (read_text(os.path.join(folder, "vendor")), read_text(os.path.join(folder, "device"))) != PCI_ID:
            continue
        place = os.path.basename(folder)
        node = "/dev/" + os.path.basename(classes[place]) if place in classes else ""
        claimed = place in classes and read_under(classes[place], "is_device_owned") == "1"
        found.append(Seen("pci", node, node, place, claimed, driver=_driver(folder)))
    return found


def _seen_usb(root: str) -> List[Seen]:
    found = []
    for folder in find_paths(root, "sys/bus/usb/devices/*"):
        ids = (read_under(folder, "idVendor"), read_under(folder, "idProduct"))
        if ids not in USB_IDS:
            continue
        place = os.path.basename(folder)
        node = "/dev/bus/usb/{:03}/{:03}".format(
            *(read_int(os.path.join(folder, f)) or 0 for f in ("busnum", "devnum"))
        )
        # A program that uses it claims its interface, and the kernel gives that to the driver "usbfs".
        interfaces = find_paths(root, "sys/bus/usb/devices/{}:*".format(place))
        claimed = any(_driver(interface) == "usbfs" for interface in interfaces)
        megabits = read_int(os.path.join(folder, "speed")) or 0
        path = "/sys/bus/usb/devices/" + place
        found.append(Seen("usb", path, node, place, claimed, ids == USB_IDS[1], megabits))
    return found


def _driver(folder: str) -> str:
    link = os.path.join(folder, "driver")
    return os.path.basename(os.readlink(link)) if os.path.islink(link) else ""


def why_unusable(seen: Seen, root: str = "/") -> Optional[EnvironmentFault]:
    """Why an Edge TPU that is attached cannot be used; None if it can."""
    if seen.node:
        return why_closed(str(seen), seen.node, seen.claimed, root)
    if seen.driver not in ("", "apex"):
        return EnvironmentFault(
            "{} belongs to the driver {}, as one that is passed to a virtual machine does".format(seen, seen.driver),
            "use it there; or give it back to the driver apex: reboot without passing it",
        )
    if seen.driver:
        return EnvironmentFault(
            "{} has its driver (apex), but no device in /sys/class/apex".format(seen), "see why: sudo dmesg | grep apex"
        )
    return EnvironmentFault("{} has no driver".format(seen), GASKET)


def explain_no_device(wanted: DeviceName = ANY, root: str = "/") -> EnvironmentFault:
    """Why libedgetpu finds no such TPU: one reason and its remedy, out of what the kernel tells."""
    everything = seen_tpus(root)
    matching = [seen for seen in everything if wanted.kind in ("", seen.kind)]
    if not everything:
        return EnvironmentFault(
            "no Edge TPU is attached: neither on USB (1a6e:089a or 18d1:9302) nor on PCIe (1ac1:089a)",
            "plug it in; if it is, try its own cable at another port or a powered hub (lsusb shows it); "
            + CONTAINER_USB,
        )
    if not matching:
        return _only_elsewhere(wanted.kind, len(everything), everything[0].kind)
    if wanted.number is not None and wanted.number >= len(matching):
        return _no_such_number(wanted, len(matching))
    chosen = matching if wanted.number is None else matching[wanted.number : wanted.number + 1]
    faults = [fault for fault in (why_unusable(seen, root) for seen in chosen) if fault]
    if faults:
        return faults[0]
    return EnvironmentFault(
        "{} is attached and free, but libedgetpu cannot use it".format(chosen[0]),
        "unplug it and plug it in again (PCIe: reboot); " + CONTAINER_USB,
    )


def _only_elsewhere(wanted: str, count: int, kind: str) -> EnvironmentFault:
    return EnvironmentFault(
        "no Edge TPU is attached on {}, but {} on {}".format(_NAMES[wanted], count, _NAMES[kind]),
        "use device {!r}".format(kind),
    )


def _no_such_number(wanted: DeviceName, count: int) -> EnvironmentFault:
    kind = _NAMES[wanted.kind] + " " if wanted.kind else ""
    one = "{} {}Edge TPU{}".format(count, kind, "" if count == 1 else "s")
    last = DeviceName(wanted.kind, count - 1)
    names = (
        "{!r}".format(str(last)) if count == 1 else "{!r} to {!r}".format(str(DeviceName(wanted.kind, 0)), str(last))
    )
    return EnvironmentFault(
        "there is no device {!r}: {} {} attached, counted from 0".format(
            str(wanted), one, "is" if count == 1 else "are"
        ),
        "use device " + names,
    )


def check_before_loading(
    packages: Sequence[Package],
    interpreter_package: str,
    interpreter_version: str,
    device: DeviceName,
    root: str = "/",
) -> Ready:
    """Everything that can be known before libedgetpu is loaded, which itself says nothing or ends the process.

    Args:
        packages: of the compiled network, see `read_packages`.
        interpreter_package: "ai_edge_litert", "tflite_runtime" or "tensorflow".
        interpreter_version: its `__version__`.
        device: which TPU; without a number the first that is free.
        root: the folder that stands for "/".

    Raises EnvironmentFault with the reason and the command that mends it: no library, or one for another machine; a
    library that it needs (libusb); a pair that corrupts memory; no such TPU; no permission; in use; a runtime that is
    older than the network.
    """
    library = find_library(root)
    listing = list_devices(library)  # in a process of its own, which finds out whether libusb is there
    check_pair(library, interpreter_package, interpreter_version, root)
    chosen, options = _choose(listing, device, root)
    _check_runtime(library, listing, packages)
    return Ready(library, listing, chosen, options)


def _choose(listing: Listing, wanted: DeviceName, root: str) -> Tuple[Device, Dict[str, str]]:
    """The TPU to use, and its options of `load_delegate`.

    Of several, libedgetpu would take the first, and fail if another process has it: so the one to take is named.
    `Performance` stays what the library was built for.
    """
    listed = [device for device in listing.devices if wanted.kind in ("", device.kind)]
    if not listed and listing.devices:
        raise _only_elsewhere(wanted.kind, len(listing.devices), listing.devices[0].kind)
    if not listed:
        raise explain_no_device(wanted, root)
    if wanted.number is not None and wanted.number >= len(listed):
        raise _no_such_number(wanted, len(listed))
    known = {seen.path: seen for seen in seen_tpus(root)}
    faults: List[EnvironmentFault] = []
    for number, device in enumerate(listed):
        if wanted.number not in (None, number):
            continue
        fault = why_unusable(known[device.path], root) if device.path in known else None
        if fault is None:
            name = wanted if len(listed) == 1 else DeviceName(wanted.kind, number)
            return device, {"device": str(name)} if str(name) else {}
        faults.append(fault)
    raise faults[0]


def _check_runtime(library: Library, listing: Listing, packages: Sequence[Package]) -> None:
    needed = max(package.min_runtime for package in packages)
    if needed > listing.runtime_version:
        raise EnvironmentFault(
            "the network is compiled for Edge TPU runtime {} and later; libedgetpu at {} is runtime {}".format(
                needed, library.path, listing.runtime_version
            ),
            "install a newer libedgetpu: {}; or compile the network for this one: edgetpu_compiler -m {}".format(
                how_to_install(), listing.runtime_version
            ),
        )
