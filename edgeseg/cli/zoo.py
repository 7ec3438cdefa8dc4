"""`edgeseg zoo`: the networks in the box and their measured figures. Needs no inference runtime."""

import argparse
import json
from typing import Any, Dict, List, Optional

from edgeseg.cli.table import table
from edgeseg.metrics import BOUNDARY_PIXELS
from edgeseg.zoo import DEFAULT, ZooNetwork, zoo_networks

SUMMARY = "list the networks in the box and their figures"

_HEAD = (
    "name",
    "network",
    "width",
    "input",
    "classes",
    "parameters",
    "MACs",
    "mIoU",
    "borders",
    "int8 mIoU",
    "borders",
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print everything that was measured as JSON")


def run(args: argparse.Namespace) -> int:
    """List; returns 0. Raises UsageError for a damaged installation."""
    networks = zoo_networks()
    if args.json:
        print(json.dumps([network._asdict() for network in networks], indent=1))
    else:
        print("\n".join(_lines(networks)))
    return 0


def _lines(networks: List[ZooNetwork]) -> List[str]:
    rows = [_HEAD + ("files", "MB")]
    rows += [_row(network) for network in networks]
    return table(rows, indent="") + [
        "",
        "input: height x width. mIoU in percent on the val split of the dataset; borders: of the pixels within "
        "{} of another class".format(BOUNDARY_PIXELS),
        "classes: " + "; ".join("{}: {}".format(*item) for item in sorted(_classes(networks).items())),
        "run one: edgeseg run NAME --camera 0 (default {}); a network without .edgeseg: edgeseg export it first".format(
            DEFAULT
        ),
    ]


def _classes(networks: List[ZooNetwork]) -> Dict[str, str]:
    return {network.dataset: ", ".join(network.classes) for network in networks}


def _row(network: ZooNetwork) -> Any:
    int8 = network.int8 or {}
    return (
        network.name,
        network.architecture,
        "{:g}".format(network.width),
        "{}x{}".format(*network.imgsz),
        str(len(network.classes)),
        "{:.2f} M".format(network.parameters / 1e6),
        "{:.2f} G".format(network.macs / 1e9),
        _percent(network.accuracy.get("miou")),
        _percent(network.accuracy.get("boundary_miou")),
        _percent(int8.get("miou")),
        _percent(int8.get("boundary_miou")),
        " ".join(name[len(network.name) :] for name in network.files),
        "{:.1f}".format(sum(network.files.values()) / 1e6),
    )


def _percent(share: Optional[float]) -> str:
    return "-" if share is None else "{:.2f}".format(100 * share)
