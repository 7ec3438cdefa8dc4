"""Export every network of the zoo to every target, and tell how it went: `scripts/zoo-matrix --data DIR...`.

Prints TARGETS.md. Boards for which an export is the same but for its name share a row.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edgeseg.bundle import Bundle, read_bundle
from edgeseg.coral.preflight import preflight
from edgeseg.datasets import open_dataset
from edgeseg.errors import CheckFailed, EdgesegError, UsageError
from edgeseg.export.onnx_rules import check_onnx, read_onnx
from edgeseg.export.pipeline import ExportRequest, export_bundle
from edgeseg.export.product import Int8File
from edgeseg.export.targets import TARGETS, find_target
from edgeseg.frames import FEW_FRAMES
from edgeseg.tflite.checks import check_full_integer
from edgeseg.tflite.model import read_tflite
from edgeseg.zoo import ZooNetwork, open_bundle, zoo_names, zoo_networks

HEAD = """# The zoo on every target

Made by `scripts/zoo-matrix`: each network exported for each target with the ranges of its int8 bundle, and the exported
file run on a PC over images of val, evenly spread, by LiteRT or ONNX Runtime, beside the float network. An export that
breaks a rule of its target, or whose masks differ from the float network's by more than the limit, is a failure.
Neither engines that TensorRT builds of the ONNX files nor files of Google's Edge TPU compiler have been measured yet.

| network | target | precision | images | masks agree | worst image | mIoU | bytes | checks |
|---|---|---|---|---|---|---|---|---|"""


class Kind(NamedTuple):
    """Targets of which one is exported for all."""

    targets: tuple[str, ...]
    precision: str


class Row(NamedTuple):
    network: str
    kind: Kind
    bundle: Bundle | None
    bytes: int
    checks: str  # what was found, or why there is no bundle

    def __str__(self) -> str:
        parity = (self.bundle.manifest.parity if self.bundle else None) or {}
        figures = [parity.get(key) for key in ("agreement", "worst_agreement", "miou_exported")]
        cells = [self.network, ", ".join(self.kind.targets), self.kind.precision, str(parity.get("images", "-"))]
        cells += ["-" if figure is None else f"{100 * figure:.2f}" for figure in figures]
        return "| " + " | ".join([*cells, f"{self.bytes:,}", self.checks]) + " |"


def kinds() -> list[Kind]:
    """All targets and precisions. What is exported depends on a board only by its oldest TensorRT."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for target in TARGETS.values():
        for precision in target.precisions:
            oldest = target.board.oldest_tensorrt if target.board else None
            groups.setdefault((target.backend, oldest, precision), []).append(target.name)
    return [Kind(tuple(names), str(key[-1])) for key, names in groups.items()]


def matrix(networks: list[ZooNetwork], data: dict[str, str], images: int) -> Iterator[Row]:
    """A row for each network and kind. `data`: folders by the name of the dataset."""
    for network in networks:
        int8 = None  # converted once, by the first target that wants it, where the box has no bundle
        if network.int8 is not None:
            int8 = _int8_of(open_bundle(network.name))
        for kind in kinds():
            request = ExportRequest(network.name, Path(), data=data[network.dataset], images=images, int8=int8)
            row = _export(request._replace(imgsz=[network.imgsz]), kind)  # and no other: the ranges are of this size
            if int8 is None and kind.precision == "int8" and row.bundle and "tflite" in row.bundle.payloads:
                int8 = _int8_of(row.bundle)
            yield row


def _int8_of(bundle: Bundle) -> Int8File:
    return Int8File(bundle.payloads["tflite"], bundle.manifest.calibration or {})


def _export(request: ExportRequest, kind: Kind) -> Row:
    network = request.network
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"{network}.edgeseg"
        request = request._replace(out=out, target=kind.targets[0], precision=kind.precision)
        try:
            export_bundle(request, lambda text: None)
        except CheckFailed as failure:
            return Row(network, kind, None, 0, f"FAILED: {failure.message}")
        bundle = read_bundle(str(out))
        return Row(network, kind, bundle, out.stat().st_size, checks_of(bundle))


def checks_of(bundle: Bundle) -> str:
    """What a look into the payload of a finished bundle finds; the export has refused what breaks a rule."""
    target = bundle.manifest.target
    if target.backend == "tensorrt":
        board = find_target(target.name).board
        assert board is not None
        found = check_onnx(bundle.payloads["onnx"], board.oldest_tensorrt)
        graph = read_onnx(bundle.payloads["onnx"]).graph
        quantised = sum(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in graph.node)
        text = "rules of TensorRT from {}.{} on: {} broken".format(*board.oldest_tensorrt, len(found))
        return text + (f", {quantised} Q/DQ nodes" if quantised else "")
    model = read_tflite(bundle.payloads["tflite"])
    if target.backend == "edgetpu":
        return preflight(model).summary()
    if target.precision == "int8":
        return f"{len(model.operators)} operators, {len(check_full_integer(model))} of them not integer"
    return f"{len(model.operators)} operators"


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/zoo-matrix", description="export the zoo to every target")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of `edgeseg zoo`; by default all")
    parser.add_argument("--data", action="append", required=True, metavar="DIR", help="a dataset; one for each of them")
    parser.add_argument("--images", type=int, default=FEW_FRAMES, metavar="N", help="of val, at most (default 20)")
    args = parser.parse_args()
    failed = False
    try:
        data = {open_dataset(folder).name: folder for folder in args.data}
        print(HEAD, flush=True)
        for row in matrix(_chosen(args.names, data), data, args.images):
            print(row, flush=True)
            failed |= row.bundle is None
    except EdgesegError as error:
        sys.exit(f"scripts/zoo-matrix: error: {error}")
    sys.exit(int(failed))


def _chosen(names: list[str], data: dict[str, str]) -> list[ZooNetwork]:
    for name in set(names) - set(zoo_names()):
        raise UsageError(f"there is no network {name!r} in the box", f"networks: {', '.join(zoo_names())}")
    networks = [network for network in zoo_networks() if not names or network.name in names]
    for network in networks:
        if network.dataset not in data:
            raise UsageError(f"{network.name} was trained on {network.dataset}", "give it with one more --data DIR")
    return networks


if __name__ == "__main__":
    main()
