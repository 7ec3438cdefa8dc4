"""The part of `edgeseg export` that compresses: the steps in the order they are given, or a search for them."""

import argparse
import os
from pathlib import Path
from typing import Any, List, Optional, Tuple

from edgeseg.errors import UsageError

_OPTIONS = ("epochs", "lr", "crop", "criterion", "rewind", "teacher", "work", "max_drop", "fastest")


class _Step(argparse.Action):
    """Collects --prune, --share and --qat into one list: their order is that of the steps."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Optional[str] = None) -> None:
        steps: List[Tuple[str, str]] = getattr(namespace, self.dest) or []
        setattr(namespace, self.dest, steps + [(self.option_strings[0], values if isinstance(values, str) else "")])


def configure(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "compression",
        "Steps run in the order given, each fine-tuned on --data with the original network as the teacher. What was "
        "interrupted goes on where it stopped.",
    )
    add = group.add_argument
    add(
        "--prune",
        action=_Step,
        dest="steps",
        metavar="WHAT",
        help="channels:0.4 removes 40 %% of the multiply-accumulates, channels:0.4:params of the parameters; "
        "channels:600M leaves so many multiply-accumulates; channels:1.8x and channels:4ms are measured on this CPU; "
        "weights:0.7 makes 70 %% of the weights zero, weights:0.7:lottery with rewinding; 2:4 is for Orin",
    )
    add("--share", action=_Step, dest="steps", metavar="N", help="N different weights in a layer, 4 to 256")
    add("--qat", action=_Step, dest="steps", nargs=0, help="fine-tune with the rounding of int8")
    add("--compress", choices=("auto",), help="search for the steps, within --max-drop")
    add("--max-drop", type=float, metavar="POINTS", help="of mIoU on val that may be lost (default 1.0)")
    add("--fastest", action="store_true", help="the fastest within --max-drop, not the smallest")
    add("--epochs", type=int, nargs="+", metavar="N", help="of fine-tuning after each step, or after each one in turn")
    add("--lr", type=float, metavar="X", help="highest learning rate (default: by step, 0.0005 or 0.0001)")
    add("--crop", type=int, nargs=2, metavar=("H", "W"), help="size of the training crops (default: whole images)")
    add("--criterion", choices=("taylor", "bn", "l1"), help="which channels matter (default taylor)")
    add("--rewind", metavar="NETWORK", help="weights that a lottery goes back to (default: those before the step)")
    add("--teacher", nargs="+", metavar="NETWORK", help="networks to learn from (default: the original network)")
    add("--work", metavar="DIR", help="folder of the steps (default: OUT.steps)")


def is_given(args: argparse.Namespace) -> bool:
    """Whether something is to be compressed. Raises UsageError for options that are nothing without it."""
    if args.steps and args.compress:
        raise UsageError(
            "--compress auto searches for the steps", "leave out --prune, --share and --qat, or --compress"
        )
    if args.steps or args.compress:
        return True
    useless = [name for name in _OPTIONS if getattr(args, name) not in (None, False)]
    if useless:
        raise UsageError(
            "--{} is for compression, and no step is given".format(useless[0].replace("_", "-")),
            "add --prune channels:0.4, --share 16, --compress auto, ...",
        )
    return False


def steps_of(args: argparse.Namespace) -> Any:
    """The edgeseg.export.compress.plan.Step of each option, in order. Light; raises UsageError."""
    from edgeseg.export.compress.plan import Step, parse_prune, parse_share

    parsers = {"--prune": parse_prune, "--share": parse_share}
    return tuple(Step("qat") if option == "--qat" else parsers[option](text) for option, text in args.steps or ())


def compression_of(args: argparse.Namespace) -> Any:
    """The edgeseg.export.compress.bundle.Compression of the arguments. Raises UsageError."""
    from edgeseg.export.compress.auto import Aim
    from edgeseg.export.compress.bundle import Compression
    from edgeseg.export.compress.run import Tuning

    steps = steps_of(args)
    if args.criterion and not args.compress and not any(step.kind == "channels" for step in steps):
        raise UsageError("--criterion is for channels", "add --prune channels:0.4, or leave it out")
    if not args.compress and (args.fastest or args.max_drop is not None):
        raise UsageError("--max-drop and --fastest are for the search", "add --compress auto, or leave them out")
    drop = 1.0 if args.max_drop is None else args.max_drop
    if not 0 < drop <= 100:
        raise UsageError("--max-drop {:g} is no number of points".format(drop), "give more than 0: 1.0")
    if any(epochs < 0 for epochs in args.epochs or ()):
        raise UsageError("--epochs {} is below 0".format(min(args.epochs)), "give 0 for no fine-tuning")
    tuning = {
        "epochs": args.epochs and tuple(args.epochs),
        "lr": args.lr,
        "crop": args.crop and tuple(args.crop),
        "criterion": args.criterion,
        "rewind": args.rewind,
        "teacher": args.teacher and tuple(args.teacher),
    }
    return Compression(
        steps,
        Aim(drop, args.fastest) if args.compress else None,
        Tuning(**{name: value for name, value in tuning.items() if value is not None}),
        Path(os.path.expanduser(args.work)) if args.work else None,
    )
