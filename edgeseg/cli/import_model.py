"""edgeseg import: someone else's segmentation .tflite file becomes a bundle."""

import argparse
import json
import os
import sys
from typing import List, Optional, Sequence

from edgeseg.cli.options import positive
from edgeseg.coral.preflight import preflight
from edgeseg.importing.build import Imported, ImportRequest, import_model
from edgeseg.importing.output import OutputOptions
from edgeseg.importing.pixels import PixelOptions, Triple
from edgeseg.tflite.model import read_tflite

SUMMARY = "wrap someone else's segmentation .tflite file in a bundle"


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL.tflite", help="float or quantised, also one compiled for the Edge TPU")
    add("--labels", metavar="FILE", help="class names, one per line: NAME, NAME R G B, or with the id before it")
    add("-o", "--out", required=True, metavar="OUT.edgeseg", help="the bundle to write")
    add("--name", help="what to call the network (default: its own name, or that of the file)")
    add("--target", choices=("cpu", "coral"), help="default: coral for a compiled model, else cpu")
    add(
        "--cpu",
        metavar="MODEL.tflite",
        help="the uncompiled file of a compiled model, for machines without an Edge TPU",
    )
    add(
        "--upsampling",
        choices=("graph", "device"),
        default="graph",
        help="device: cut the last RESIZE_BILINEAR and ARG_MAX off the graph; edgeseg does them, with confidence "
        "(default: graph)",
    )
    add("--no-trial", action="store_true", help="do not run it once")
    add("--json", action="store_true", help="print the manifest and the trial as JSON")
    unsaid = parser.add_argument_group("what the file may not say; asked for only then")
    add = unsaid.add_argument
    add("--input-range", type=float, nargs=2, metavar=("LOW", "HIGH"), help="values of black and white, such as -1 1")
    channels = ("R", "G", "B")
    add(
        "--mean",
        type=float,
        nargs=3,
        metavar=channels,
        help="taken off the input range, which then is 0 to 1 if unsaid",
    )
    add("--std", type=float, nargs=3, metavar=channels, help="divides what is left")
    add("--color", choices=("rgb", "bgr"), default="rgb", help="order of the input's channels (default: rgb)")
    add("--stride", type=positive, metavar="N", help="input pixels per output pixel")
    add("--resize", choices=("half_pixel", "align_corners"), help="how the output was resized in training")
    add("--class-map", action="store_true", help="the output holds class ids")


def run(args: argparse.Namespace) -> int:
    """Import; returns 0, or raises what `import_model` raises."""
    low_high = None if args.input_range is None else (args.input_range[0], args.input_range[1])
    request = ImportRequest(
        model=args.model,
        out=args.out,
        labels=args.labels,
        name=args.name,
        target=args.target,
        cpu=args.cpu,
        upsampling=args.upsampling,
        pixels=PixelOptions(low_high, _three(args.mean), _three(args.std), args.color),
        output=OutputOptions(args.stride, args.resize, args.class_map),
        trial=not args.no_trial,
    )
    imported = import_model(request, _log)
    if args.json:
        report = {"manifest": imported.bundle.manifest.to_dict(), "trial": imported.trial._asdict()}
        print(json.dumps(report, indent=1, sort_keys=True))
    else:
        print("\n".join(_lines(args.out, imported)))
    return 0


def _three(values: Optional[Sequence[float]]) -> Optional[Triple]:
    return None if values is None else (values[0], values[1], values[2])


def _log(text: str) -> None:
    print("edgeseg: " + text, file=sys.stderr, flush=True)


def _lines(path: str, imported: Imported) -> List[str]:
    bundle, trial = imported
    manifest = bundle.manifest
    net, target, output = manifest.network, manifest.target, manifest.output
    known = manifest.provenance
    lines = [
        "{}: {:.2f} MB for {}, {}".format(
            path, os.path.getsize(os.path.expanduser(path)) / 1e6, target.name, target.precision
        ),
        "network: {}, {}x{} (height x width), {} classes ({})".format(
            net.architecture, net.imgsz[0], net.imgsz[1], len(manifest.classes), known["labels"]
        ),
        "input: {} {}, {} ({})".format(
            manifest.input.dtype, manifest.input.color, manifest.input.formula, known["input"]
        ),
        "output: {} {} at stride {}, resize {} ({})".format(
            output.dtype, output.kind, net.stride, output.resize, known["resize"]
        ),
    ]
    if known["left_out"] != "nothing":
        lines.append("left out of the graph: " + known["left_out"])
    if trial.shares is None:
        lines.append("not tried: " + trial.skipped)
    else:
        seen = ", ".join("{} {:.0%}".format(name, share) for name, share in list(trial.shares.items())[:3])
        lines.append("tried on a generated street: {:.0f} ms, {}".format(trial.milliseconds, seen))
    if target.name == "coral" and "edgetpu" not in bundle.payloads:
        found = preflight(read_tflite(bundle.payloads["tflite"]))
        lines.append("preflight: " + found.summary())
        option = "" if found.whole else " --allow-partial"
        lines.append("to finish it, where the Edge TPU compiler is: edgeseg compile {}{}".format(path, option))
    return lines
