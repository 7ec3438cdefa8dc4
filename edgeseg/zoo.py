"""The networks in the box: names, files and measured figures. Found by path: a device needs nothing of the PC side."""

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from edgeseg.bundle import MANIFEST, SUFFIX, Bundle, read_bundle
from edgeseg.errors import UsageError

DEFAULT = "fcn8-camvid"
NETWORK_SUFFIX = ".keras"
NETWORK_FILE = "network.keras"  # in the folder of a run of `edgeseg train`
CARD = "edgeseg.json"  # the member of a .keras file that says what network it is

_REINSTALL = "install the complete edgeseg again"
FOLDER = Path(os.path.dirname(os.path.abspath(__file__))) / "models" / "zoo"


class ZooNetwork(NamedTuple):
    """A network in the box. Its figures were measured when `scripts/zoo` put it there."""

    name: str
    architecture: str
    width: float
    imgsz: Tuple[int, int]  # height, width in pixels
    classes: Tuple[str, ...]
    dataset: str
    parameters: int
    macs: int  # multiply-accumulates of one image
    accuracy: Dict[str, Any]  # of the float network on the val split: images, and edgeseg.metrics.Scores
    int8: Optional[Dict[str, Any]]  # the same of the int8 bundle; None where the box has no bundle
    files: Dict[str, int]  # bytes by name


def zoo_names() -> List[str]:
    """Names that `zoo_network`, `zoo_bundle` and `open_bundle` take."""
    found = {path.stem for path in FOLDER.glob("*") if path.suffix in (NETWORK_SUFFIX, SUFFIX)}
    return sorted(found | {DEFAULT})


def zoo_network(name: str) -> Path:
    """The float network, NAME.keras. Raises UsageError for another name or an incomplete installation."""
    return _file(name, NETWORK_SUFFIX, _REINSTALL)


def locate_network(text: str) -> Path:
    """The float network of that name in the box, in that folder of `edgeseg train`, or that file; it may be absent.

    Raises UsageError for an incomplete installation.
    """
    path = zoo_network(text) if text in zoo_names() else Path(os.path.expanduser(text))
    return path / NETWORK_FILE if path.is_dir() else path


def zoo_bundle(name: str = DEFAULT) -> Path:
    """The int8 bundle for any CPU, NAME.edgeseg. Raises UsageError for another name or a network without one."""
    others = sorted(path.stem for path in FOLDER.glob("*" + SUFFIX))
    fix = "make it: edgeseg export {0} --target cpu --data DIR -o {0}.edgeseg; there are bundles of {1}"
    return _file(name, SUFFIX, fix.format(name, ", ".join(others)) if others else _REINSTALL)


def zoo_file(name: str) -> Path:
    """The bundle of a network in the box, or where it has none the float network. Raises UsageError like both."""
    bundle = FOLDER / (name + SUFFIX)
    return bundle if bundle.is_file() else zoo_network(name)


def open_bundle(bundle: Optional[str] = None) -> Bundle:
    """Read the bundle of that name in the box, or the file; None is the street network.

    Raises UsageError where there is none, BundleError if anything in it is not as it should be.
    """
    if bundle is None or bundle in zoo_names():
        return read_bundle(str(zoo_bundle(bundle or DEFAULT)))
    if not os.path.exists(os.path.expanduser(bundle)):
        raise UsageError(
            "bundle {} does not exist, and the box has no network of that name".format(bundle),
            "give the path of a {} file, or one of: {}".format(SUFFIX, ", ".join(zoo_names())),
        )
    return read_bundle(bundle)


def find_network(sha256: Optional[str]) -> Optional[str]:
    """The name of the float network with that SHA-256; None if it is not in the box, or not installed."""
    for path in sorted(FOLDER.glob("*" + NETWORK_SUFFIX)):
        if hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
            return path.stem
    return None


def zoo_networks() -> List[ZooNetwork]:
    """All networks in the box: by dataset, the largest first. Raises UsageError for a damaged file."""
    found = [describe(path) for path in FOLDER.glob("*" + NETWORK_SUFFIX)]
    return sorted(found, key=lambda network: (network.dataset, -network.macs))


def describe(path: Path) -> ZooNetwork:
    """The network in NAME.keras, with the figures in its card and in the bundle NAME.edgeseg beside it, if any."""
    card, bundle, int8 = _member(path, CARD), path.with_suffix(SUFFIX), None
    if bundle.is_file():
        manifest = _member(bundle, MANIFEST)
        int8 = dict(manifest["accuracy"], agreement=manifest["parity"]["agreement"])
    spec, figures = card["spec"], card["figures"]
    return ZooNetwork(
        path.stem,
        spec["architecture"],
        spec["width"],
        (spec["imgsz"][0], spec["imgsz"][1]),
        tuple(c["name"] for c in card["classes"]),
        card["dataset"],
        figures["parameters"],
        figures["macs"],
        {key[len("val_") :]: value for key, value in figures.items() if key.startswith("val_")},
        int8,
        {file.name: file.stat().st_size for file in (path, bundle) if file.is_file()},
    )


def _member(path: Path, name: str) -> Dict[str, Any]:
    """A JSON member of an archive in the box."""
    try:
        with zipfile.ZipFile(str(path)) as archive:
            return json.loads(archive.read(name).decode("utf-8"))
    except Exception as error:  # zipfile has no one exception for what damaged archives do to it
        raise UsageError("{} is damaged: {}".format(path, error), _REINSTALL)


def _file(name: str, suffix: str, fix: str) -> Path:
    if name not in zoo_names():
        raise UsageError(
            "there is no network {!r} in the box".format(name), "networks in the box: {}".format(", ".join(zoo_names()))
        )
    path = FOLDER / (name + suffix)
    if not path.is_file():
        raise UsageError("{} is not part of this installation".format(path), fix)
    return path
