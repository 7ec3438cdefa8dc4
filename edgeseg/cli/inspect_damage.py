"""The part of `edgeseg inspect` on what int8 will cost a network: layer by layer, worst first."""

import argparse
import sys
from typing import Any, Dict, List, Tuple

from edgeseg.cli.options import positive
from edgeseg.cli.table import table
from edgeseg.errors import EnvironmentFault, UsageError

IMAGES = 8

READING = (
    "agreement: cells of the logits whose best class stays when this layer alone is int8, its weights and its output; "
    "range: that of its output"
)


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--damage", action="store_true", help="of a network: which layers int8 hurts most; needs --data")
    add("--data", metavar="DIR", help="with --damage: labelled dataset; ranges come from its train split")
    add("--images", type=positive, metavar="N", help="with --damage: images that masks are compared on (default 8)")


def is_given(args: argparse.Namespace) -> bool:
    """Whether the ranking was asked for. Raises UsageError where arguments do not go together."""
    if not args.damage:
        for option, value in (("--data", args.data), ("--images", args.images)):
            if value:
                raise UsageError("{} goes with --damage".format(option), "add --damage, or leave it out")
        return False
    if args.file is None:
        raise UsageError("--damage is about a network; none was named", "name a .keras file or one of `edgeseg zoo`")
    if not args.data:
        raise UsageError("--damage compares masks of images, and there are none", "give a dataset: --data DIR")
    return True


def damage_report(args: argparse.Namespace) -> Dict[str, Any]:
    """A record for each layer, worst first, and under "text" the lines to print.

    Raises UsageError for a wrong network or dataset; EnvironmentFault where a package is missing.
    """
    if sys.version_info < (3, 10):
        raise EnvironmentFault("inspect --damage needs Python 3.10 or later", "run it on a PC with a newer Python")
    try:
        from edgeseg.export.quiet import import_tensorflow

        import_tensorflow()
    except ImportError as error:
        raise EnvironmentFault("inspect --damage needs TensorFlow ({})".format(error), "pip install 'edgeseg[export]'")
    from edgeseg.export import calibrate
    from edgeseg.export.damage import damage
    from edgeseg.export.source import open_network
    from edgeseg.frames import dataset_frames, open_matching
    from edgeseg.models.activations import DEFAULT_METHOD, observe
    from edgeseg.preprocess import resize

    source = open_network(args.file)
    dataset = open_matching(args.data, source.card.classes)
    imgsz = source.card.spec.imgsz
    split = next(name for name in ("val", "test", "train") if dataset.splits.get(name))
    images = [resize(frame.image, imgsz) for frame in dataset_frames(dataset, split, args.images or IMAGES).read()]
    _progress("finding the ranges of activations")
    seen = observe(source.network, calibrate.from_dataset(dataset, imgsz, calibrate.DEFAULT_COUNT).images)
    ranges = source.card.ranges or seen.ranges(DEFAULT_METHOD)
    rows = [row._asdict() for row in damage(source.network, seen, ranges, images, _progress)]
    _progress("")
    whose = "of its training" if source.card.ranges else "by " + DEFAULT_METHOD
    frames = "{} images of {} {}".format(len(images), dataset.name, split)
    report = {"network": args.file, "images": len(images), "split": split, "ranges": whose, "layers": rows}
    title = "what int8 costs {}, layer by layer, on {}; ranges {}".format(args.file, frames, whose)
    return dict(report, text=[title] + _table(rows) + [READING])


def _table(rows: List[Dict[str, Any]]) -> List[str]:
    lines: List[Tuple[str, ...]] = [("layer", "agreement", "range")]
    for row in rows:
        lines.append(
            (row["layer"], "{:.2%}".format(row["agreement"]), "{:.3g} to {:.3g}".format(row["low"], row["high"]))
        )
    return table(lines)


def _progress(text: str) -> None:
    """One line on the terminal, rewritten; "" ends it."""
    if sys.stderr.isatty():
        sys.stderr.write("\r{}\x1b[K".format(text))
        sys.stderr.flush()
