"""The part of `edgeseg train` that chooses network, width and resolution for a budget."""

import argparse
import sys
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from edgeseg.cli.table import table
from edgeseg.errors import UsageError

_UNITS = {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
_SAMPLE = 16  # images whose size is looked at
_SHOWN = 6  # rejected candidates


def add_options(parser: argparse.ArgumentParser) -> None:
    """--budget-macs or --budget-ms, and --target."""
    one = parser.add_mutually_exclusive_group()
    one.add_argument(
        "--budget-macs",
        type=macs,
        metavar="N",
        help="choose network, width and input size, as far as they are not given, of at most so many "
        "multiply-accumulates an image: 600M, 1.2G",
    )
    one.add_argument(
        "--budget-ms",
        type=milliseconds,
        metavar="X",
        help="the same for the time of an inference on --target, in milliseconds",
    )
    parser.add_argument(
        "--target",
        metavar="NAME",
        help="for --budget-ms: cpu (default) is measured here; coral, tx2, xavier, ... are estimated",
    )


def macs(text: str) -> float:
    """A number of multiply-accumulates: 600M, 1.2G, 350000000."""
    number, factor = (text[:-1], _UNITS[text[-1].lower()]) if text[-1:].lower() in _UNITS else (text, 1.0)
    return _positive(number, text, "a number of multiply-accumulates such as 600M or 1.2G") * factor


def milliseconds(text: str) -> float:
    return _positive(text, text, "a number of milliseconds such as 8 or 12.5")


def _positive(number: str, text: str, what: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("{!r} is not {}".format(text, what))
    return value


def is_given(args: argparse.Namespace) -> bool:
    """Whether a budget was given. Raises UsageError where its options do not go together."""
    given = args.budget_macs is not None or args.budget_ms is not None
    if given and args.resume:
        raise UsageError(
            "a budget chooses a network, and the run to resume has its own", "leave out the budget, or --resume"
        )
    if args.target and args.budget_ms is None:
        raise UsageError("--target {} is for --budget-ms".format(args.target), "add --budget-ms X, or leave it out")
    return given


def decide(args: argparse.Namespace, recipe: Any) -> None:
    """Set `network`, `width` and `imgsz` of `args` to the best that fits the budget; prints why on stderr.

    `recipe` has the data and initial weights of the run. Raises UsageError if nothing fits, or for a --target that is
    unknown; EnvironmentFault where a package is missing.
    """
    from edgeseg.datasets import open_dataset
    from edgeseg.export.targets import find_target
    from edgeseg.models.backend import import_keras

    target = find_target(args.target or "cpu")
    dataset = open_dataset(recipe.data)
    size = _image_size(dataset)
    import_keras()
    from edgeseg.export import budget

    fixed = budget.Fixed(args.network, tuple(args.imgsz) if args.imgsz else None)
    obstacles = {w: _obstacle(recipe.candidates, w) for w in (budget.WIDTHS if args.width is None else (args.width,))}
    found = budget.candidates(size, len(dataset.classes), fixed, _free(obstacles))
    graphs = budget.Graphs()
    meter, limit, notes = _meter(args, target, graphs)
    choice = budget.choose(found, limit, meter)
    title = "budget {}, {}; images of {}x{} (height x width)".format(
        budget.amount(limit, meter.unit), meter.how, size[0], size[1]
    )
    barred = ["width {:g} was left out: {}".format(w, error.message) for w, error in obstacles.items() if error]
    _say([title] + _rows(choice, graphs, meter) + barred + notes)
    spec = choice.spec
    args.network, args.width, args.imgsz = spec.architecture, spec.width, list(spec.imgsz)


def _image_size(dataset: Any) -> Tuple[int, int]:
    """The median height and width of some training images."""
    from edgeseg.datasets.base import spread
    from edgeseg.datasets.files import read_rgb

    sizes = [read_rgb(pair.image).shape[:2] for pair in spread(dataset.pairs("train"), _SAMPLE)]
    height, width = np.median(np.array(sizes), axis=0)
    return int(height), int(width)


def _obstacle(sources: Sequence[str], width: float) -> Optional[UsageError]:
    """Why no network of this width can start from these initial weights; None if one can."""
    from edgeseg.models.weights import find_weights

    try:
        for source in sources:
            find_weights(source, width)
    except UsageError as error:
        return error
    return None


def _free(obstacles: Dict[float, Optional[UsageError]]) -> List[float]:
    """The widths without an obstacle; raises one of them if there is no other."""
    free = [width for width, error in obstacles.items() if error is None]
    for error in obstacles.values():
        if error is not None and not free:
            raise error
    return free


def _meter(args: argparse.Namespace, target: Any, graphs: Any) -> Tuple[Any, float, List[str]]:
    """What counts, the limit, and what to say about it."""
    from edgeseg.export import budget
    from edgeseg.export.measure import busy_note, cores
    from edgeseg.export.roofline import basis, chip_of

    if args.budget_macs is not None:
        note = "MACs do not tell the time: `edgeseg inspect --networks --measure` does, or --budget-ms"
        return budget.Counted(graphs), args.budget_macs, [note]
    chip = chip_of(target)
    if chip is not None:
        return budget.Estimated(graphs, chip), args.budget_ms, [basis(target, chip)]
    threads = cores()
    note = "ms are measured on this machine, int8 with LiteRT on {} thread(s); other CPUs need others".format(threads)
    notes = [note] + [busy for busy in [busy_note()] if busy]
    return budget.Measured(graphs, threads, lambda text: _say([text])), args.budget_ms, notes


def _rows(choice: Any, graphs: Any, meter: Any) -> List[str]:
    """A table: those of the better candidates that came nearest to the budget, and the one that is taken."""
    in_ms = meter.unit == "ms"

    def row(spec: Any, figure: float, how: str, verdict: str) -> Tuple[str, ...]:
        size, ms = "{}x{}".format(*spec.imgsz), "{:.2f}".format(figure) if in_ms else ""
        return spec.architecture, "{:g}".format(spec.width), size, billions(graphs.macs(spec)), ms, how, verdict

    rows: List[Tuple[str, ...]] = [("network", "width", "input", "MACs", "ms" if in_ms else "", "", "")]
    nearest = sorted(choice.rejected, key=lambda rejected: (not rejected[2], rejected[1]))[:_SHOWN]
    for spec, figure, confirmed in nearest:
        rows.append(row(spec, figure, meter.how if confirmed else "predicted", "rejected: beyond the budget"))
    rows.append(row(choice.spec, choice.figure, meter.how, "taken"))
    rest = len(choice.rejected) - len(nearest)
    return table(rows) + (["  and {} more rejected, further beyond the budget".format(rest)] if rest else [])


def billions(count: int) -> str:
    return "{:.3f} G".format(count / 1e9)


def _say(lines: List[str]) -> None:
    for line in lines:
        print("edgeseg: " + line, file=sys.stderr)
    sys.stderr.flush()
