"""What holds a Jetson back: its power mode (nvpmodel) and clocks that follow the load (jetson_clocks)."""

import os
import re
import subprocess
from typing import Dict, List, NamedTuple, Optional, Tuple

from edgeseg.device.board import find_gpu
from edgeseg.device.files import find_paths, read_int, read_text, read_under

NVPMODEL_TIMEOUT_S = 3.0


class PowerMode(NamedTuple):
    """The nvpmodel mode: caps on clocks and on the cores that are switched on."""

    number: int
    name: str  # "" if the table of modes cannot be read
    source: str  # where this was read
    modes: Dict[int, str]  # the modes of this board; empty if not readable

    @property
    def fastest(self) -> Optional[int]:
        """The mode without caps: MAXN_SUPER or MAXN. Modes are numbered in no order, and a Xavier NX has none such."""
        uncapped = [number for number, name in self.modes.items() if name.startswith("MAXN")]
        return max(uncapped, key=lambda number: len(self.modes[number])) if uncapped else None


class Clocks(NamedTuple):
    """The limits between which the clocks move, MHz; None where they cannot be read.

    `pinned` is what `jetson_clocks` does: lowest equal to highest, on every CPU that is on and on the GPU. False if any
    of them moves; None if none moves but CPU or GPU cannot be read. A power mode may pin the CPU alone.
    """

    pinned: Optional[bool]
    cpu_mhz: Optional[Tuple[float, float]]
    gpu_mhz: Optional[Tuple[float, float]]


def read_power_mode(root: str = "/") -> Optional[PowerMode]:
    """The power mode; None if it is not readable (it may need root) or there is none.

    `nvpmodel -q` is asked first. It fails for want of rights, in containers and where its service never ran; then the
    file is read in which nvpmodel keeps the mode. Without that file the default applies (`nvpmodel --help`).
    """
    conf = read_under(root, "etc/nvpmodel.conf")
    modes = {int(n): name for n, name in re.findall(r"^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)", conf, re.MULTILINE)}
    answer = re.search(r"NV Power Mode:\s*(\S+)\s+(\d+)", _ask_nvpmodel(os.path.join(root, "usr/sbin/nvpmodel")))
    if answer:
        return PowerMode(int(answer.group(2)), answer.group(1), "nvpmodel -q", modes)
    status = re.search(r"pmode:(\d+)", read_under(root, "var/lib/nvpmodel/status"))
    default = re.search(r"^<\s*PM_CONFIG\s+DEFAULT=(\d+)", conf, re.MULTILINE)
    for found, source in ((status, "/var/lib/nvpmodel/status"), (default, "the default of /etc/nvpmodel.conf")):
        if found:
            number = int(found.group(1))
            return PowerMode(number, modes.get(number, ""), source, modes)
    return None


def _ask_nvpmodel(program: str) -> str:
    try:
        done = subprocess.run(
            [program, "-q"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=NVPMODEL_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace")


def read_clocks(root: str = "/") -> Clocks:
    """Whether the clocks of CPU and GPU are pinned; see `Clocks` for the rule."""
    cpus = [_limits(cpu, "cpufreq/scaling_{}_freq", 1e3) for cpu in find_cpus(root) if is_online(cpu)]
    gpu = find_gpu(root)
    gpus = [_limits(gpu, "{}_freq", 1e6)] if gpu else []
    cpu_limits = [limits for limits in cpus if limits]
    gpu_limits = [limits for limits in gpus if limits]
    pinned: Optional[bool] = None
    if any(low != high for low, high in cpu_limits + gpu_limits):
        pinned = False
    elif cpu_limits and gpu_limits:
        pinned = True
    return Clocks(pinned, _span(cpu_limits), _span(gpu_limits))


def _limits(folder: str, name: str, unit: float) -> Optional[Tuple[float, float]]:
    low = read_int(os.path.join(folder, name.format("min")))
    high = read_int(os.path.join(folder, name.format("max")))
    return None if low is None or high is None else (low / unit, high / unit)


def _span(limits: List[Tuple[float, float]]) -> Optional[Tuple[float, float]]:
    return (min(low for low, _ in limits), max(high for _, high in limits)) if limits else None


def find_cpus(root: str) -> List[str]:
    """Folders of the CPUs, switched on or not."""
    return find_paths(root, "sys/devices/system/cpu/cpu[0-9]*")


def is_online(cpu: str) -> bool:
    """Power modes switch CPUs off; one that cannot be switched off has no file that says so."""
    return read_text(os.path.join(cpu, "online")) != "0"
