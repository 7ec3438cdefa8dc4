"""libedgetpu, the library that drives an Edge TPU: where it is, and what its bytes say of it. It is not loaded here."""

import mmap
import os
import platform
import re
import struct
import sys
from typing import Iterator, List, NamedTuple, Pattern, Tuple

from edgeseg.device.files import read_under
from edgeseg.errors import EnvironmentFault

VARIABLE = "EDGESEG_LIBEDGETPU"
NAMES = ("libedgetpu.so.1", "libedgetpu.so.1.0", "libedgetpu.so")  # the first is its SONAME, which others load too

# (EI_CLASS, e_machine) of the ELF header -> Debian's name of the architecture, its folder of libraries
_ARCHITECTURES = {
    (2, 62): ("amd64", "x86_64-linux-gnu"),
    (2, 183): ("arm64", "aarch64-linux-gnu"),
    (1, 40): ("armhf", "arm-linux-gnueabihf"),
    (1, 3): ("i386", "i386-linux-gnu"),
}
_FUNCTIONS = (b"tflite_plugin_create_delegate", b"edgetpu_list_devices", b"edgetpu_version")
# Makefile (--embed_label), port/default/builddata.h and builddata.cc of google-coral/libedgetpu
_COMMIT = re.compile(rb"TENSORFLOW_COMMIT=([0-9a-f]+)")
_COMPILER = re.compile(rb"COMPILER=([^,\0]+)")
_PERFORMANCE = re.compile(rb"PERFORMANCE=(DIRECT|THROTTLED)")

# Google's own builds end in 2021; this is the one source of later ones (https://github.com/feranick/libedgetpu).
BUILDS = "https://github.com/feranick/libedgetpu/releases"
_RELEASE = {"amd64": "2.19.1", "arm64": "2.19.1", "armhf": "2.17.1"}  # of TensorFlow: the last for this architecture
_SYSTEMS = {"bookworm": "bookworm", "trixie": "trixie", "jammy": "ubuntu22.04", "noble": "ubuntu24.04"}
_GOOGLE = (
    "on Debian 11 and Mendel, from Google's apt repository (https://coral.ai/software/#debian-packages): "
    "sudo apt install libedgetpu1-std"
)


class Library(NamedTuple):
    """A libedgetpu for this machine. What the file does not tell is ""."""

    path: str
    tensorflow_commit: str = ""  # of the headers that it was compiled with
    compiler: str = ""  # "6.3.0 20170516"
    performance: str = ""  # "max" | "std": reduced clock on USB


def find_library(root: str = "/") -> Library:
    """The file that $EDGESEG_LIBEDGETPU names; else the first that fits this machine of those that the loader knows.

    Args:
        root: the folder that stands for "/" where the system's libraries are looked for.

    Raises EnvironmentFault with the exact reason if there is none, or only one that is damaged or for another machine.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not os.path.isfile(named):
            raise EnvironmentFault(
                "${} names {!r}, which is no file".format(VARIABLE, named),
                "name a libedgetpu.so.1 there, or: unset {}".format(VARIABLE),
            )
        return _read(named, root)
    faults: List[EnvironmentFault] = []
    for path in library_paths(root):
        try:
            return _read(path, root)
        except EnvironmentFault as fault:
            faults.append(fault)
    if faults:
        raise faults[0]
    raise EnvironmentFault("libedgetpu, the library that drives an Edge TPU, is not installed", how_to_install(root))


def library_paths(root: str = "/") -> List[str]:
    """Every libedgetpu in the places of the dynamic loader, in its order (ld.so(8)); one file once."""
    paths: List[str] = []
    for path in _candidates(root):
        if os.path.isfile(path) and not any(os.path.samefile(path, other) for other in paths):
            paths.append(path)
    return paths


def how_to_install(root: str = "/") -> str:
    """Where this system gets libedgetpu from."""
    return install_command(
        root
    ) or "install libedgetpu1-std: a .deb for Debian 12, 13, Ubuntu 22.04, 24.04 is at {}; {}".format(BUILDS, _GOOGLE)


def install_command(root: str = "/") -> str:
    """The command that installs a libedgetpu of today; "" where none is made for this system."""
    release = read_under(root, "etc/os-release")
    names = re.findall(r"^(?:VERSION|UBUNTU)_CODENAME=\"?(\w+)", release, re.MULTILINE)
    system = next((_SYSTEMS[name] for name in names if name in _SYSTEMS), "")
    architecture = _architecture(_own_header())[0]
    version = _RELEASE.get(architecture)
    if not system or not version:
        return ""
    file = "libedgetpu1-std_16.0tf{}-1.{}_{}.deb".format(version, system, architecture)
    url = "{}/download/16.0TF{}-1/{}".format(BUILDS, version, file)
    command = "curl -LO {} && sudo apt install ./{}".format(url, file)
    return command + (" && unset {}".format(VARIABLE) if os.environ.get(VARIABLE) else "")


def _candidates(root: str) -> Iterator[str]:
    folders = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if folder]
    yield from (os.path.join(folder, name) for folder in folders for name in NAMES)
    # The loader's cache is a table of zero-terminated names and paths; no need of ldconfig, which users may not have.
    cached = re.findall(r"(?<=\0)/[^\0]+/(?:libedgetpu\.so[.\d]*)(?=\0)", _cache(root))
    yield from (os.path.join(root, path.lstrip("/")) for path in sorted(cached, key=_rank))
    triplet = _architecture(_own_header())[1]
    usual = [os.path.join(top, part) for top in ("usr/local/lib", "lib", "usr/lib") for part in (triplet, "")]
    for folder in usual + ["lib64", "usr/lib64"]:
        yield from (os.path.join(root, folder, name) for name in NAMES)


def _cache(root: str) -> str:
    try:
        with open(os.path.join(root, "etc/ld.so.cache"), "rb") as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _rank(path: str) -> int:
    name = os.path.basename(path)
    return NAMES.index(name) if name in NAMES else len(NAMES)


def _read(path: str, root: str) -> Library:
    """What the bytes of a library tell. Raises EnvironmentFault if it is none for this machine."""
    try:
        with open(path, "rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: an empty file
        raise EnvironmentFault("{} cannot be read: {}".format(path, error), "install it anew: " + how_to_install(root))
    with data:
        _check_file(path, data, root)
        performance = _found(_PERFORMANCE, data)
        return Library(
            path,
            _found(_COMMIT, data),
            _found(_COMPILER, data),
            {"DIRECT": "max", "THROTTLED": "std"}.get(performance, ""),
        )


def _check_file(path: str, data: mmap.mmap, root: str) -> None:
    fix = "install it anew: " + how_to_install(root)
    if data[:4] != b"\x7fELF" or len(data) < 64:
        raise EnvironmentFault("{} is no library, or damaged: {} bytes, no ELF header".format(path, len(data)), fix)
    header = bytes(data[:64])
    if _kind(header) != _kind(_own_header()):
        here, other = _architecture(_own_header())[0], _architecture(header)[0]
        raise EnvironmentFault(
            "{} is a library for {}, but this Python ({}) is one for {}".format(path, other, sys.executable, here),
            "install libedgetpu for {}: {}".format(here, how_to_install(root)),
        )
    if _end(header) > len(data):
        raise EnvironmentFault("{} is cut off: it has {} bytes of {}".format(path, len(data), _end(header)), fix)
    if any(data.find(name) < 0 for name in _FUNCTIONS):
        raise EnvironmentFault("{} is a library, but not libedgetpu".format(path), fix)


def _found(pattern: Pattern[bytes], data: mmap.mmap) -> str:
    found = pattern.search(data)
    return found.group(1).decode("ascii", "replace") if found else ""


def _own_header() -> bytes:
    """The ELF header of this Python: a 64-bit kernel may run a 32-bit one, so platform.machine() does not tell."""
    try:
        with open("/proc/self/exe", "rb") as file:
            return file.read(64)
    except OSError:
        with open(sys.executable, "rb") as file:
            return file.read(64)


def _kind(header: bytes) -> Tuple[int, int]:
    """Class (1: 32 bits, 2: 64 bits) and machine: elf(5)."""
    return header[4], struct.unpack_from("<H", header, 18)[0]


def _architecture(header: bytes) -> Tuple[str, str]:
    return _ARCHITECTURES.get(_kind(header), ("machine {}".format(_kind(header)[1]), platform.machine() + "-linux-gnu"))


def _end(header: bytes) -> int:
    """Where the table of sections ends, with which linkers end a file: elf(5), e_shoff + e_shnum * e_shentsize."""
    offset, at = (
        (struct.unpack_from("<Q", header, 40)[0], 58)
        if header[4] == 2
        else (struct.unpack_from("<I", header, 32)[0], 46)
    )
    size, count = struct.unpack_from("<HH", header, at)
    return offset + size * count
