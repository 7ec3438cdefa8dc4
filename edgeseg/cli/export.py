"""edgeseg export: a network becomes a bundle for a target."""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, List

from edgeseg.cli import compress
from edgeseg.cli.progress import training_display
from edgeseg.manifest import Manifest

SUMMARY = "turn a network into a bundle for a target"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "network", metavar="NETWORK", help="a name of `edgeseg zoo`, or the network.keras of `edgeseg train`"
    )
    parser.add_argument(
        "--target", required=True, help="what the bundle is for: cpu, coral, or a Jetson: tx2, xavier, ..."
    )
    parser.add_argument("--precision", help="int8, fp16 or fp32; default: int8 for cpu and coral, fp16 for a Jetson")
    parser.add_argument("--dla", type=int, metavar="CORE", help="build for this deep-learning accelerator, 0 or 1")
    parser.add_argument(
        "--imgsz",
        nargs=2,
        type=int,
        action="append",
        default=[],
        metavar=("HEIGHT", "WIDTH"),
        help="input size, by default that of the network; for coral, given again: sizes to fall back to where the "
        "Edge TPU compiler refuses it, by default smaller ones of its aspect ratio",
    )
    parser.add_argument("--data", metavar="DIR", help="labelled dataset: int8 calibrates on its train split")
    parser.add_argument("--calibration", metavar="N|random", help="calibration images, 100 by default; or random data")
    parser.add_argument(
        "--ranges",
        choices=("min-max", "percentile", "entropy"),
        help="how int8 chooses the ranges of activations: all that occur, all but the outermost 0.01 %% on each side "
        "(default), or by relative entropy",
    )
    compress.configure(parser)
    parser.add_argument("-o", "--out", required=True, metavar="OUT.edgeseg", help="the bundle to write")
    parser.add_argument("--json", action="store_true", help="print the manifest as JSON")


def run(args: argparse.Namespace) -> int:
    """Export; returns 0, or raises EdgesegError."""
    start = time.monotonic()
    is_compressed = compress.is_given(args)
    _check(args)
    from edgeseg.export.quiet import import_tensorflow

    import_tensorflow()
    from edgeseg.export.pipeline import ExportRequest, export_bundle

    out = Path(args.out).expanduser()
    sizes = [(height, width) for height, width in args.imgsz]
    request = ExportRequest(
        args.network,
        out,
        args.target,
        args.precision,
        args.data,
        args.calibration,
        args.dla,
        sizes,
        ranges=args.ranges,
    )
    if is_compressed:
        manifest = _compressed(request, args)
    else:
        manifest = export_bundle(request, log)
    if args.json:
        print(json.dumps(manifest.to_dict(), indent=1, sort_keys=True))
    else:
        print(_summary(str(out), manifest, time.monotonic() - start))
    return 0


def _check(args: argparse.Namespace) -> None:
    """What can be told without TensorFlow, whose import takes seconds. Raises UsageError."""
    from edgeseg.export.compress.plan import check_order, check_target
    from edgeseg.export.targets import choose_target

    target, precision = choose_target(args.target, args.precision, args.dla)
    steps = compress.steps_of(args)
    check_order(steps)
    check_target(steps, target, precision)


def _compressed(request: Any, args: argparse.Namespace) -> Manifest:
    """Run the steps of compression on the way."""
    from edgeseg.export.compress.bundle import export_compressed

    compression = compress.compression_of(args)
    try:
        with training_display() as show:
            return export_compressed(request, compression, log, show.report)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on after the last complete epoch")


def log(text: str) -> None:
    print("edgeseg: " + text, file=sys.stderr, flush=True)


def _summary(path: str, manifest: Manifest, seconds: float) -> str:
    from edgeseg.cli.inspect import parity_lines

    target = manifest.target
    size = os.path.getsize(path) / 1e6
    lines = ["{}: {:.2f} MB for {}, {}, in {:.0f} s".format(path, size, target.name, target.precision, seconds)]
    lines += parity_lines(manifest.parity or {})
    reused = manifest.provenance.get("reused")
    if reused:
        lines += ["figures above: from {}; compared again here:".format(reused["from"])]
        lines += parity_lines(reused["parity"])
    if target.backend == "edgetpu":
        lines += _edge_tpu_lines(path, manifest)
    if target.backend == "tensorrt":
        from edgeseg.cli.inspect_onnx import left_to_do

        lines.append(left_to_do(target.name, path))
    return "\n".join(lines)


def _edge_tpu_lines(path: str, manifest: Manifest) -> List[str]:
    from edgeseg.coral.compiled_bundle import compilation_lines
    from edgeseg.coral.compiler_tool import HOW_TO_GET

    report = manifest.compilation
    if report is None:
        return [
            "there is no Edge TPU compiler here; left to do on a machine that has it: edgeseg compile " + path,
            "  how to get it: " + HOW_TO_GET,
        ]
    lines = compilation_lines(report)
    for size, reason in report.get("refused_sizes", {}).items():
        lines.append("input size {} was refused: {}".format(size, reason))
    if "refused_sizes" in report:
        lines.append("input size: {}x{}; the figures above are its own".format(*manifest.network.imgsz))
    return lines
