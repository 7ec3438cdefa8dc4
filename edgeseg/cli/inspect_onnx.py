"""The part of `edgeseg inspect` that reads ONNX. The rules of TensorRT need the PC side and the package onnx."""

import importlib.util
import os
import sys
from typing import Any, Dict, List

from edgeseg.bundle import Bundle
from edgeseg.cli.table import table
from edgeseg.errors import BundleError, EnvironmentFault, UsageError

SHOWN_NODES = 3  # of those that break one rule


def looks_like_onnx(head: bytes) -> bool:
    """Whether a file that begins with `head` (3 bytes) is ONNX: a ModelProto begins with its small ir_version.

    ONNX has no magic number (https://github.com/onnx/onnx, onnx/onnx.proto, message ModelProto).
    """
    length_delimited = (0x12, 0x1A, 0x22, 0x32, 0x3A, 0x42)  # producer, domain, doc string, graph, opset
    return len(head) >= 3 and head[0] == 0x08 and 0 < head[1] < 0x40 and head[2] in length_delimited


def can_read_onnx() -> bool:
    return sys.version_info >= (3, 10) and importlib.util.find_spec("onnx") is not None


def onnx_report(path: str, data: bytes) -> Dict[str, Any]:
    """Facts and broken rules of the ONNX file `path`, and under "text" the lines to print.

    Raises UsageError if it is damaged, EnvironmentFault without the package onnx.
    """
    if not can_read_onnx():
        raise EnvironmentFault(
            "reading ONNX files needs Python 3.10 and the package onnx", "on the PC: pip install 'edgeseg[export]'"
        )
    from edgeseg.export.onnx_rules import check_onnx, read_onnx
    from edgeseg.export.onnx_rules.facts import facts_of

    try:
        facts = facts_of(read_onnx(data))
    except UsageError as error:
        raise UsageError("{}: {}".format(path, error.message), error.fix)
    violations = check_onnx(data)
    sides = {side: [t._asdict() for t in getattr(facts, side)] for side in ("inputs", "outputs")}
    report = dict(facts._asdict(), bytes=len(data), violations=[v._asdict() for v in violations], **sides)
    report["operators"] = [{"name": name, "count": count} for name, count in facts.operators]
    return dict(report, text=_fact_lines(facts, len(data)) + rule_lines(violations))


def _fact_lines(facts: Any, size: int) -> List[str]:
    macs = "unknown" if facts.macs is None else "{:.2f} G".format(facts.macs / 1e9)
    lines = [
        "{:.2f} MB ONNX, opset {}, IR version {}, made by {}".format(
            size / 1e6, facts.opset, facts.ir_version, facts.producer
        ),
        "{:.2f} M parameters, {} MACs, {}".format(facts.parameters / 1e6, macs, facts.precision),
    ]
    lines += table([("operator", "count")] + [(name, str(count)) for name, count in facts.operators])
    for side, tensors in (("input", facts.inputs), ("output", facts.outputs)):
        for t in tensors:
            shape = "of unknown rank" if t.shape is None else [size if size is not None else "?" for size in t.shape]
            lines.append("{}: {} {} {}".format(side, t.name, t.dtype, shape))
    return lines


def rule_lines(violations: List[Any]) -> List[str]:
    """What TensorRT does not take: each broken rule once, with the nodes that break it."""
    if not violations:
        return ["rules of TensorRT: none broken"]
    broken: Dict[Any, List[Any]] = {}
    for violation in violations:
        broken.setdefault((violation.rule, violation.tensorrt, violation.fix), []).append(violation)
    grave = len({v.rule for v in violations if v.severity == "error"})
    lines = ["rules of TensorRT: {} broken, {} of them error(s)".format(len({v.rule for v in violations}), grave)]
    for (rule, tensorrt, fix), found in broken.items():
        lines.append("  {} {}, TensorRT {}".format(found[0].severity, rule, ", ".join(tensorrt)))
        for violation in found[:SHOWN_NODES]:
            lines.append("    {}: {}".format(violation.node or "the model", violation.reason))
        if len(found) > SHOWN_NODES:
            lines.append("    and {} more".format(len(found) - SHOWN_NODES))
        lines.append("    fix: " + fix)
    return lines


def left_to_do(target: str, path: str) -> str:
    """What a bundle for TensorRT still needs, as a line."""
    return "left to do on the board ({}): edgeseg compile {} (or its first run builds the engine)".format(
        target, os.path.basename(path)
    )


def bundle_report(bundle: Bundle) -> Dict[str, Any]:
    """What a bundle for TensorRT still needs; with onnx installed also the rules that it breaks on its board.

    Lines to print are under "text".
    """
    todo = left_to_do(bundle.manifest.target.name, bundle.path)
    if "onnx" not in bundle.payloads or not can_read_onnx():
        return {"text": [todo]}
    from edgeseg.export.dla import dla_report, dla_summary
    from edgeseg.export.onnx_rules import OLDEST, check_onnx, read_onnx
    from edgeseg.export.targets import TARGETS

    try:
        read_onnx(bundle.payloads["onnx"])
    except UsageError as error:
        raise BundleError(
            "{}: its network is damaged: {}".format(bundle.path, error.message), "export the network again"
        )
    payload, aim = bundle.payloads["onnx"], bundle.manifest.target
    board = TARGETS[aim.name].board if aim.name in TARGETS else None
    violations = check_onnx(payload, board.oldest_tensorrt if board else OLDEST)
    lines = rule_lines(violations)
    if aim.dla is not None and board is not None and not any(v.severity == "error" for v in violations):
        lines += dla_summary(dla_report(read_onnx(payload), board.dla_generation), aim.dla).splitlines()
    return {"violations": [v._asdict() for v in violations], "text": lines + [todo]}
