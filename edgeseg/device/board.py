"""Which board: its name, SoC, JetPack, and the `--target` to export for."""

import re
from typing import NamedTuple, Optional, Tuple

from edgeseg.device.files import find_paths, read_under


class Soc(NamedTuple):
    """A system on a chip that Jetsons are built on."""

    name: str
    capability: Tuple[int, int]  # of its GPU, "SM"
    gpus: Tuple[str, ...]  # ends of its GPU's name in /sys/class/devfreq
    targets: Tuple[str, ...]  # that are built on it


# https://github.com/rbonghi/jetson_stats/blob/master/jtop/core/jetson_variables.py (CUDA_TABLE), gpu.py
SOCS = (
    Soc("tegra210", (5, 3), ("57000000.gpu",), ("nano", "tx1")),
    Soc("tegra186", (6, 2), (".gp10b",), ("tx2",)),
    Soc("tegra194", (7, 2), (".gv11b",), ("xavier", "xavier-nx")),
    Soc("tegra234", (8, 7), (".ga10b", "17000000.gpu"), ("orin", "orin-nx", "orin-nano")),  # JetPack 5, JetPack 6 on
    Soc("tegra264", (11, 0), ("gpu-gpc-0",), ()),
)


class Module(NamedTuple):
    """A Jetson module: `part` is in the device tree's `compatible`, `words` in its `model`."""

    target: str
    name: str
    part: str
    words: str


# Part numbers: jetson_variables.py (MODULE_NAME_TABLE). Orin NX before Orin, for the words.
MODULES = (
    Module("tx1", "Jetson TX1", r"p2180", r"TX1"),
    Module("nano", "Jetson Nano", r"p3448", r"Jetson Nano|jetson-nano"),
    Module("tx2", "Jetson TX2 NX", r"p3636", r"TX2 NX"),
    Module("tx2", "Jetson TX2", r"p3310|p3489", r"TX2|quill"),
    Module("xavier-nx", "Jetson Xavier NX", r"p3668", r"Xavier NX"),
    Module("xavier", "Jetson AGX Xavier", r"p2888", r"AGX Xavier|Jetson-AGX|jetson-xavier"),
    Module("orin-nano", "Jetson Orin Nano", r"p3767-000[345]", r"Orin Nano"),
    Module("orin-nx", "Jetson Orin NX", r"p3767-000[01]", r"Orin NX"),
    Module("orin", "Jetson AGX Orin", r"p3701", r"AGX Orin"),
)

# L4T release -> JetPack: jetson_variables.py (NVIDIA_JETPACK), https://developer.nvidia.com/embedded/jetpack-archive
JETPACKS = {
    "32.1.0": "4.2",
    "32.2.0": "4.2.1",
    "32.2.1": "4.2.2",
    "32.2.3": "4.2.3",
    "32.3.1": "4.3",
    "32.4.3": "4.4",
    "32.4.4": "4.4.1",
    "32.5.0": "4.5",
    "32.5.1": "4.5.1",
    "32.5.2": "4.5.1",
    "32.6.1": "4.6",
    "32.7.1": "4.6.1",
    "32.7.2": "4.6.2",
    "32.7.3": "4.6.3",
    "32.7.4": "4.6.4",
    "32.7.5": "4.6.5",
    "32.7.6": "4.6.6",
    "35.1.0": "5.0.2",
    "35.2.1": "5.1",
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "35.5.0": "5.1.3",
    "35.6.0": "5.1.4",
    "35.6.1": "5.1.5",
    "35.6.2": "5.1.5",
    "35.6.3": "5.1.5",
    "35.6.4": "5.1.6",
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.2": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "36.5.0": "6.2.2",
    "38.2.0": "7.0",
    "38.2.1": "7.0",
    "38.2.2": "7.0",
    "38.4.0": "7.1",
    "39.2.0": "7.2",
}
_JETPACK_OF_MAJOR = {"32": "4", "34": "5", "35": "5", "36": "6", "38": "7", "39": "7"}


class Board(NamedTuple):
    """What is known of this machine. On a machine that is no Jetson only `model` may be set."""

    model: str = ""  # for people
    soc: str = ""  # "tegra194"
    capability: Optional[Tuple[int, int]] = None  # of the GPU: (7, 2)
    targets: Tuple[str, ...] = ()  # every --target that this may be; one where the module is known
    l4t: str = ""  # "35.4.1"
    jetpack: str = ""  # "5.1.2"; "5.x" for a release that is not in our table

    @property
    def is_jetson(self) -> bool:
        return bool(self.soc)


def find_board(root: str = "/") -> Board:
    """Identify the board whose files lie under `root`."""
    # Docker hides the device tree; jetson-containers passes the model in this file (its run.sh).
    model = read_under(root, "proc/device-tree/model") or read_under(root, "tmp/nv_jetson_model")
    parts = read_under(root, "proc/device-tree/compatible") + read_under(root, "proc/device-tree/nvidia,dtsfilename")
    soc = _find_soc(root, parts)
    if soc is None:
        return Board(model or _cpu_model(root))
    module = _find_module(soc, parts, model)
    if "jetson" not in model.lower():  # the TX2 calls itself "quill", after its device tree
        model = " ".join(filter(None, [module.name if module else "Jetson", model and "({})".format(model)]))
    l4t = _l4t(root)
    return Board(model, soc.name, soc.capability, (module.target,) if module else soc.targets, l4t, _jetpack(l4t))


def find_gpu(root: str) -> Optional[str]:
    """Folder of the GPU's devfreq node (min_freq, max_freq, cur_freq in Hz), None if there is none."""
    names = tuple(name for soc in SOCS for name in soc.gpus)
    return next((path for path in find_paths(root, "sys/class/devfreq/*") if path.endswith(names)), None)


def _find_soc(root: str, parts: str) -> Optional[Soc]:
    gpu = find_gpu(root) or ""  # seen in a container too, where the device tree is not
    return next((soc for soc in SOCS if soc.name in parts or (not parts and gpu.endswith(soc.gpus))), None)


def _find_module(soc: Soc, parts: str, model: str) -> Optional[Module]:
    """By part number, then by name: an Orin Nano module on an Orin NX carrier calls itself Orin NX."""
    modules = [module for module in MODULES if module.target in soc.targets]
    for module in modules:
        if re.search(module.part, parts):
            return module
    return next((module for module in modules if re.search(module.words, model)), None)


def _cpu_model(root: str) -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", read_under(root, "proc/cpuinfo"), re.MULTILINE)
    return found.group(1) if found else ""


def _l4t(root: str) -> str:
    """The release of Jetson Linux, "35.4.1": from its own file, else from the package database."""
    # "# R35 (release), REVISION: 4.1, GCID: 33958178, ..."; the same from R32 to R39
    found = re.search(r"# R(\d+) \(release\), REVISION: ([\d.]+)", read_under(root, "etc/nv_tegra_release"))
    if found:
        return "{}.{}".format(*found.groups())
    packages = read_under(root, "var/lib/dpkg/status")
    found = re.search(r"^Package: nvidia-l4t-core\n(?:.+\n)*?Version: ([\d.]+)", packages, re.MULTILINE)
    return found.group(1) if found else ""


def _jetpack(l4t: str) -> str:
    major = l4t.split(".", 1)[0]
    known = JETPACKS.get(l4t) or JETPACKS.get(l4t + ".0")  # 32.5 and 32.5.0 are one
    return known or (_JETPACK_OF_MAJOR[major] + ".x" if major in _JETPACK_OF_MAJOR else "")
