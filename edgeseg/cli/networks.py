"""The part of `edgeseg inspect` on networks that are not trained yet: what each costs, by architecture and width."""

import argparse
import importlib.util
import sys
from typing import Any, Dict, List, Tuple

from edgeseg.cli.budget import billions
from edgeseg.cli.options import positive
from edgeseg.cli.table import table
from edgeseg.errors import EnvironmentFault, UsageError

IMGSZ = (352, 480)
CLASSES = 11

COUNTING = (
    "parameters, MACs and activations of one image are counted in the graph; activations: the most bytes in int8 that "
    "are needed at once, inputs and output of an operation and what later ones still read; BatchNorm, ReLU and padding "
    "make no copies"
)


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--networks", nargs="*", metavar="NAME", help="instead of a file: a table of what networks cost (all of them)")
    add("--imgsz", type=int, nargs=2, metavar=("H", "W"), help="with --networks: their input (default 352 480)")
    add("--classes", type=int, metavar="N", help="with --networks: their classes (default 11)")
    add("--measure", action="store_true", help="with --networks: convert them to int8 and time them on this machine")
    add("--threads", type=positive, metavar="N", help="with --measure: inference threads (default: all cores)")


def is_given(args: argparse.Namespace) -> bool:
    """Whether the table was asked for. Raises UsageError where arguments do not go together."""
    if args.networks is None:
        options = {"--imgsz": args.imgsz, "--classes": args.classes, "--measure": args.measure}
        options["--threads"] = args.threads
        for option, value in options.items():
            if value:
                raise UsageError("{} goes with --networks".format(option), "add --networks, or leave it out")
        if args.file is None:
            raise UsageError("nothing to inspect", "name a file, or give --networks")
        return False
    if args.file is not None:
        raise UsageError("{} and --networks were given".format(args.file), "give one of them")
    if args.threads and not args.measure:
        raise UsageError("--threads is for --measure", "add --measure, or leave it out")
    if args.measure and args.target not in (None, "cpu"):
        raise UsageError(
            "--measure times the CPU of this machine, not {}".format(args.target), "leave out --measure or --target"
        )
    return True


def networks_report(args: argparse.Namespace) -> Dict[str, Any]:
    """A record for each network and width, and under "text" the lines to print.

    Raises UsageError for a network, size or target that does not exist; EnvironmentFault where a package is missing.
    """
    _require_packages(args.measure)
    from edgeseg.export.budget import NETWORKS, WIDTHS
    from edgeseg.export.measure import busy_note, cores
    from edgeseg.export.roofline import basis, chip_of
    from edgeseg.export.targets import find_target
    from edgeseg.models.spec import NetworkSpec, check

    target = find_target(args.target or "cpu")
    imgsz, classes = tuple(args.imgsz or IMGSZ), CLASSES if args.classes is None else args.classes
    names = args.networks or NETWORKS
    specs = [NetworkSpec(name, width, imgsz, classes) for name in names for width in sorted(WIDTHS)]
    for spec in specs:
        check(spec)
    chip, busy = chip_of(target), busy_note()
    rows = _costs(specs, chip)
    report: Dict[str, Any] = {"networks": rows, "target": target.name, "latency": "estimated" if chip else None}
    note = "ms: CPUs are measured only: add --measure, or --target of a board for an estimate"
    if chip:
        note = basis(target, chip)
    if args.measure:
        threads = args.threads or cores()
        report.update(latency="measured", threads=threads)
        _measure(rows, specs, threads)
        note = "ms: int8 with LiteRT on this machine, {} thread(s), measured in turns, median".format(threads)
        note += "; " + busy if busy else ""
    report["note"] = note
    title = "networks for {} classes at {}x{} (height x width)".format(classes, *imgsz)
    return dict(report, text=[title] + _table(rows) + [COUNTING, note])


def _require_packages(measure: bool) -> None:
    needed = ("keras", "tensorflow", "ai_edge_litert") if measure else ("keras",)
    if sys.version_info < (3, 10):
        raise EnvironmentFault("inspect --networks needs Python 3.10 or later", "run it on a PC with a newer Python")
    absent = [name for name in needed if importlib.util.find_spec(name) is None]
    if absent:
        raise EnvironmentFault("inspect --networks needs {}".format(", ".join(absent)), "pip install 'edgeseg[export]'")
    if measure:
        from edgeseg.export.quiet import import_tensorflow

        import_tensorflow()
    else:
        from edgeseg.models.backend import import_keras

        import_keras()


def _costs(specs: List[Any], chip: Any) -> List[Dict[str, Any]]:
    from edgeseg.export.roofline import estimate_ms
    from edgeseg.models.cost import cost_of, operations, outline

    rows = []
    for number, spec in enumerate(specs, start=1):
        _progress("counting network {} of {}".format(number, len(specs)))
        network = outline(spec)
        cost = cost_of(network)
        rows.append(
            {
                "network": spec.architecture,
                "width": spec.width,
                "imgsz": list(spec.imgsz),
                "classes": spec.classes,
                "parameters": cost.parameters,
                "macs": cost.macs,
                "peak_activation_bytes": cost.peak_activations,
                "latency_ms": estimate_ms(operations(network), chip) if chip else None,
            }
        )
    _progress("")
    return rows


def _measure(rows: List[Dict[str, Any]], specs: List[Any], threads: int) -> None:
    from edgeseg.export.measure import measure_ms, random_int8

    files = []
    for number, spec in enumerate(specs, start=1):
        _progress("converting network {} of {}: {} {:g}".format(number, len(specs), spec.architecture, spec.width))
        files.append(random_int8(spec))
    for row, ms in zip(rows, measure_ms(files, threads, report=lambda text: _progress("measuring, " + text))):
        row["latency_ms"] = ms
    _progress("")


def _table(rows: List[Dict[str, Any]]) -> List[str]:
    lines: List[Tuple[str, ...]] = [("network", "width", "parameters", "MACs", "activations", "ms")]
    for row in rows:
        ms = row["latency_ms"]
        lines.append(
            (
                row["network"],
                "{:g}".format(row["width"]),
                "{:.2f} M".format(row["parameters"] / 1e6),
                billions(row["macs"]),
                "{:.2f} MB".format(row["peak_activation_bytes"] / 1e6),
                "-" if ms is None else "{:.1f}".format(ms),
            )
        )
    return table(lines)


def _progress(text: str) -> None:
    """One line on the terminal, rewritten; "" ends it."""
    if sys.stderr.isatty():
        sys.stderr.write("\r{}\x1b[K".format(text))
        sys.stderr.flush()
