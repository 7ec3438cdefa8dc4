"""edgeseg inspect: what is in a bundle, a .tflite or .onnx file or a trained network. Needs no inference runtime."""

import argparse
import json
import os
import zipfile
from typing import Any, Dict, List, Optional

from edgeseg.cli import inspect_damage, networks
from edgeseg.cli.inspect_compression import compression_lines, kernel_facts
from edgeseg.cli.table import table
from edgeseg.errors import EnvironmentFault, UsageError
from edgeseg.kernels import Kernel, kernels_of
from edgeseg.manifest import Manifest
from edgeseg.zoo import CARD, zoo_file, zoo_names

SUMMARY = "show what is in a bundle, a .tflite or .onnx file, or a network; or what networks cost"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="a .edgeseg, .tflite, .onnx or .keras file, or a name of `edgeseg zoo`"
    )
    parser.add_argument(
        "--target",
        help="coral: also what the Edge TPU compiler will make of a .tflite file; with --networks, the board whose "
        "latency is estimated",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    networks.configure(parser)
    inspect_damage.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Inspect; returns 0, also where rules are broken: it informs. Raises BundleError for a damaged bundle or .tflite
    file, UsageError for another one.
    """
    if inspect_damage.is_given(args):
        report = inspect_damage.damage_report(args)
    elif networks.is_given(args):
        report = networks.networks_report(args)
    else:
        path = str(zoo_file(args.file)) if args.file in zoo_names() else os.path.expanduser(args.file)
        report = _report(path, args.target)
    lines = report.pop("text")
    print(json.dumps(report, indent=1, sort_keys=True) if args.json else "\n".join(lines))
    return 0


def _report(path: str, target: Optional[str]) -> Dict[str, Any]:
    """Facts of the file, and under "text" the lines to print."""
    from edgeseg.bundle import MAX_PAYLOAD_BYTES
    from edgeseg.cli.inspect_coral import check_target
    from edgeseg.cli.inspect_onnx import looks_like_onnx, onnx_report

    check_target(target)
    if not os.path.isfile(path):
        raise UsageError("{} is not a file".format(path), "give a .edgeseg, .tflite, .onnx or .keras file")
    try:
        with open(path, "rb") as file:
            head = file.read(8)
            if head[4:8] == b"TFL3" or path.endswith(".tflite"):
                return _tflite(head + file.read(), target)
            if looks_like_onnx(head) or (path.endswith(".onnx") and not head.startswith(b"PK")):
                check_target(target, path)
                return onnx_report(path, head + file.read(MAX_PAYLOAD_BYTES))
    except OSError as error:
        raise EnvironmentFault("{} cannot be read: {}".format(path, error), "check the disk and permissions")
    card = _card(path)
    if card is not None:
        check_target(target, path)
        return {"network": card, "text": network_lines(card)}
    return _bundle(path, target)


def _card(path: str) -> Any:
    """The card of a network trained by edgeseg; None if the file is another one."""
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(CARD).decode("utf-8"))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError, NotImplementedError, RuntimeError):
        return None


def _bundle(path: str, target: Optional[str]) -> Dict[str, Any]:
    from edgeseg.bundle import read_bundle
    from edgeseg.cli import inspect_coral

    bundle = read_bundle(path)
    manifest = bundle.manifest
    with zipfile.ZipFile(path) as archive:
        packed = {info.filename: info.compress_size for info in archive.infolist()}
    kernels = kernels_of(bundle.payloads)
    report: Dict[str, Any] = {"manifest": manifest.to_dict(), "packed_bytes": packed}
    report["kernels"] = kernel_facts(kernels)
    lines = bundle_lines(manifest, packed, kernels)
    if manifest.target.backend == "tensorrt":
        from edgeseg.cli.inspect_onnx import bundle_report

        rules = bundle_report(bundle)
        lines += rules.pop("text")
        report.update(rules)
    if target or manifest.target.name == inspect_coral.TARGET:
        mapping = inspect_coral.bundle_report(bundle)
        lines += mapping.pop("text")
        report.update(mapping)
    return dict(report, text=lines)


def _tflite(data: bytes, target: Optional[str]) -> Dict[str, Any]:
    from edgeseg.cli.inspect_coral import coral_report
    from edgeseg.coral.package import is_compiled
    from edgeseg.tflite.checks import check_full_integer
    from edgeseg.tflite.model import read_tflite

    model = read_tflite(data)
    sides = {
        side: [{k: v for k, v in model.tensors[i]._asdict().items() if k != "data"} for i in indices]
        for side, indices in (("inputs", model.inputs), ("outputs", model.outputs))
    }
    operators = [{"name": name, "version": version, "count": n} for name, version, n in model.operator_counts()]
    problems = check_full_integer(model)
    rows = [("operator", "version", "count")] + [tuple(str(v) for v in op) for op in model.operator_counts()]
    lines = ["{:.2f} MB, {} operators, {} tensors".format(len(data) / 1e6, len(model.operators), len(model.tensors))]
    if not target or is_compiled(model):  # else the preflight has this table, and more
        lines += table(rows)
    for side, tensors in sorted(sides.items()):
        for t in tensors:
            quantised = ", scale {:.6g}, zero point {}".format(t["scale"][0], t["zero_point"][0]) if t["scale"] else ""
            lines.append(
                "{}: {} {} {}{}".format(side[:-1], t["name"], t["type"], list(t["shape_signature"]), quantised)
            )
    report: Dict[str, Any] = dict(sides, operators=operators, bytes=len(data), full_integer_problems=problems)
    if not is_compiled(model):
        lines.append("full-integer: " + ("yes" if not problems else "no\n  " + "\n  ".join(problems)))
    if target or is_compiled(model):
        mapping = coral_report(model)
        lines += mapping.pop("text")
        report.update(mapping)
    return dict(report, text=lines)


def network_lines(card: Dict[str, Any]) -> List[str]:
    """Lines on the card of a trained network."""
    spec = card["spec"]
    lines = ["network trained by edgeseg"] + pairs(spec)
    lines += ["classes: " + ", ".join(c["name"] for c in card["classes"]), "trained on: " + card["dataset"]]
    lines += (
        ["initial weights: " + card["init"], "recipe"] + pairs(card["recipe"]) + ["figures"] + pairs(card["figures"])
    )
    return lines


def bundle_lines(manifest: Manifest, packed: Dict[str, int], kernels: List[Kernel]) -> List[str]:
    """Lines on the whole of a manifest; `packed` is the size in the archive of each member."""
    net, target = manifest.network, manifest.target
    macs = "unknown" if net.macs is None else "{:.2f} G".format(net.macs / 1e9)
    lines = [
        "bundle for {}: backend {}, {}".format(target.name, target.backend, target.precision),
        "network: {} width {:g}, {}x{} (height x width), stride {}, {:.2f} M parameters, {} MACs".format(
            net.architecture, net.width, net.imgsz[0], net.imgsz[1], net.stride, net.parameters / 1e6, macs
        ),
        "input: {0.dtype} {1} {0.layout} {0.color}, {0.formula}, fit {0.fit}".format(
            manifest.input, list(manifest.input.shape)
        ),
        "output: {0.kind} {0.dtype} {1} {0.layout}, {0.formula}, resize {0.resize}".format(
            manifest.output, list(manifest.output.shape)
        ),
        "payloads",
    ]
    rows = [("role", "path", "bytes", "packed", "sha256")]
    rows += [(p.role, p.path, str(p.bytes), str(packed[p.path]), p.sha256) for p in manifest.payloads]
    lines += table(rows)
    lines += _class_lines(manifest)
    if manifest.accuracy:
        rest = {key: value for key, value in manifest.accuracy.items() if key not in ("iou", "boundary_iou")}
        lines += ["accuracy of the exported file"] + pairs(rest)
    lines += ["parity with the float network"]
    lines += ["  " + line for line in parity_lines(manifest.parity)] if manifest.parity else ["  not measured"]
    calibration = dict(manifest.calibration or {})
    calibration.pop("coverage", None)  # a column of the classes
    lines += ["calibration"] + (pairs(calibration) or ["  none"])
    lines += ["compression"] + compression_lines(manifest.compression, kernels)
    lines += ["provenance"] + (pairs(manifest.provenance) or ["  none"])
    return lines


def _class_lines(manifest: Manifest) -> List[str]:
    """A table of the classes with what is known of each."""
    measured = (manifest.accuracy or {}).get("iou") or {}
    coverage = (manifest.calibration or {}).get("coverage") or {}
    rows = [("class", "id", "colour", "IoU", "in calibration")]
    for c in manifest.classes:
        rows.append(
            (c.name, str(c.id), "#%02x%02x%02x" % c.color, percent(measured.get(c.name)), percent(coverage.get(c.name)))
        )
    return ["classes (255: unlabelled)"] + table(rows)


def percent(value: Any) -> str:
    return "{:.2%}".format(value) if isinstance(value, (int, float)) else "-"


def pairs(values: Dict[str, Any], indent: str = "  ") -> List[str]:
    """A dictionary as indented lines; nested ones deeper."""
    lines = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines += ["{}{}".format(indent, key)] + pairs(value, indent + "  ")
        else:
            text = "{:.4g}".format(value) if isinstance(value, float) else value
            lines.append("{}{}: {}".format(indent, key, text))
    return lines


def parity_lines(parity: Dict[str, Any]) -> List[str]:
    """A manifest's parity in a few lines. Free-form: every figure may be missing."""
    get = parity.get
    what = "agreement" if get("familiar", True) else "sure_agreement"
    whose = "pixels" if get("familiar", True) else "pixels that the float network is sure of"
    lines = [
        "{} of the {} agree on {} images ({}); {} required".format(
            percent(get(what)), whose, get("images"), get("source"), percent(get("agreement_required"))
        )
    ]
    if get("miou_float") is not None:
        lines.append("mIoU {} float, {} exported".format(percent(get("miou_float")), percent(get("miou_exported"))))
    lines.append("worst image {}: {}".format(get("worst_image"), percent(get("worst_agreement"))))
    lines += table(
        [
            ("stage", "agreement", "where sure", "largest error", "relative error"),
            ("input", "", "", _number(get("input_max_error")), ""),
            (
                "logits",
                percent(get("logits_agreement")),
                percent(get("sure_agreement")),
                _number(get("logits_max_error")),
                percent(get("logits_relative_error")),
            ),
            ("masks", percent(get("agreement")), "", "", ""),
        ]
    )
    lines.append("first stage that differs: {}".format(get("first_difference") or "none"))
    return lines


def _number(value: Any) -> str:
    return "{:.4f}".format(value) if isinstance(value, (int, float)) else "-"
