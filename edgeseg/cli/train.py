"""`edgeseg train`: a labelled dataset becomes network.keras."""

import argparse
import json
import os
import shlex
import shutil
import sys
from typing import Any, Dict, Optional

from edgeseg.cli import budget
from edgeseg.cli.progress import training_display
from edgeseg.errors import EnvironmentFault, UsageError

SUMMARY = "train a network on a labelled dataset"

SPACE = 128 << 20  # bytes: two checkpoints of 41 MB (old and new) and a network at width 1.0, and some to spare


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments. A default of None means: as in edgeseg.models.recipe.Recipe, or the resumed run."""
    size: Dict[str, Any] = {"type": int, "nargs": 2, "metavar": ("H", "W")}
    add = parser.add_argument
    add("-o", "--out", required=True, metavar="DIR", help="folder of the run: checkpoint, curves, network.keras")
    add("--resume", action="store_true", help="go on after the last complete epoch of the run in -o")
    add("--json", action="store_true", help="print the result as one JSON object")
    add("--data", metavar="DIR", help="dataset folder, in its official layout")
    add("--network", metavar="NAME", help="fcn8 (default), fcn16, fcn32 or spp")
    add("--width", type=float, metavar="X", help="width multiplier of the backbone (default 1.0)")
    add("--imgsz", help="input height and width, divisible by 32 (default 352 480)", **size)
    add("--crop", help="height and width of the training crops (default: as --imgsz)", **size)
    add(
        "--init",
        nargs="+",
        metavar="WEIGHTS",
        help="initial weights: imagenet (default), none, a file, or a network of the zoo; "
        "of several, those that suit the data best",
    )
    add("--freeze", metavar="DEPTH", help="keep the first blocks of the backbone as loaded: 1 to 17, or backbone")
    add("--hold", choices=("zeros", "values"), help="what stays of --init: its zeros, or which weights are equal")
    add("--int8", action="store_true", default=None, help="fine-tune --init with what int8 makes of it")
    add("--upsampling", choices=("bilinear", "learned"), help="the x2 steps inside the network (default bilinear)")
    add("--epochs", type=int, metavar="N", help="passes over the training images (default 45)")
    add("--batch", type=int, metavar="N", help="images per step (default 8)")
    add("--lr", type=float, metavar="X", help="highest learning rate (default 0.001)")
    add("--weight-decay", type=float, metavar="X", help="decoupled weight decay of AdamW (default 0.01)")
    add("--balance", choices=("none", "sqrt", "log"), help="class weights by frequency (default sqrt)")
    add("--jaccard", type=float, metavar="X", help="weight of the soft IoU term of the loss (default 0.5)")
    add("--rare-crop", type=float, metavar="P", help="share of crops centred on a rare class (default 0.5)")
    add("--also", metavar="DIR", help="a second dataset to train on, of other or coarser classes")
    add("--also-classes", metavar="FILE.json", help="what its classes mean (default: those of the same name)")
    add("--also-share", type=float, metavar="P", help="share of it in each batch (default 0.5)")
    add(
        "--teacher", nargs="+", metavar="NETWORK", help="also learn from these networks: .keras files, names of the zoo"
    )
    add("--distill", type=float, metavar="X", help="weight of what the teachers say (default 1.0)")
    add("--holdout", metavar="PREFIX", help="validate on the training images whose names start so")
    add("--seed", type=int, metavar="N", help="of every random draw (default 0)")
    budget.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Train, print the result; returns 0. Raises UsageError, EnvironmentFault, KeyboardInterrupt (resumable)."""
    if sys.version_info < (3, 10):
        raise EnvironmentFault("edgeseg train needs Python 3.10 or later", "train on a PC with a newer Python")
    from pathlib import Path

    from edgeseg.models.backend import import_keras

    recipe = _recipe(args)
    if budget.is_given(args):
        weightless = recipe._replace(init="none", freeze="")  # whose weights, depends on the choice
        _check_early(weightless, args.out, args.resume)
        budget.decide(args, recipe)
        recipe = _recipe(args)
    _check_early(recipe, args.out, args.resume)
    import_keras()
    from edgeseg.models.train import train
    from edgeseg.zoo import NETWORK_FILE

    try:
        with training_display() as show:
            figures = train(recipe, Path(args.out), args.resume, show.report, show.note)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_how_to_go_on(args.out))
    result = dict(figures, epochs=recipe.epochs, network=os.path.join(args.out, NETWORK_FILE))
    print(json.dumps(result) if args.json else _text(result))
    return 0


def _recipe(args: argparse.Namespace) -> Any:
    """The Recipe of the arguments; with --resume the one of the checkpoint, with which they must agree."""
    from pathlib import Path

    from edgeseg.models.checkpoint import FILE, load_checkpoint
    from edgeseg.models.recipe import Recipe, check_same, recipe_of

    given = {name: getattr(args, name) for name in Recipe._fields if getattr(args, name) is not None}
    given.update({name: tuple(given[name]) for name in ("imgsz", "crop") if name in given})
    # A run may be resumed from another folder, so its paths are absolute.
    for name in {"data", "also", "also_classes"} & set(given):
        given[name] = os.path.abspath(os.path.expanduser(given[name]))
    if "init" in given:
        sources = tuple(_whole_path(source) for source in given["init"])
        given["init"] = sources[0] if len(sources) == 1 else sources
    if "teacher" in given:
        given["teacher"] = tuple(_network_file(name) for name in given["teacher"])
    if args.resume:
        saved = load_checkpoint(Path(args.out) / FILE).recipe
        recipe = recipe_of(saved)._replace(**given)
        check_same(recipe, saved, Path(args.out))
        return recipe
    if "data" not in given:
        raise UsageError("--data is missing", "name the folder of a labelled dataset: --data DIR")
    if "imgsz" in given:
        given.setdefault("crop", given["imgsz"])
    return Recipe(**given)


def _whole_path(source: str) -> str:
    """Initial weights for any working folder: the whole path of a file, a name as it is."""
    path = os.path.abspath(os.path.expanduser(source))
    return path if os.path.exists(path) and source not in ("imagenet", "none") else source


def _network_file(name: str) -> str:
    """Whole path of what `locate_network` finds. Raises UsageError where there is none."""
    from edgeseg.zoo import locate_network, zoo_names

    path = os.path.abspath(str(locate_network(name)))
    if not os.path.isfile(path):
        raise UsageError(
            "there is no network {}".format(path),
            "give the network.keras of `edgeseg train`, or one of the zoo: {}".format(", ".join(zoo_names())),
        )
    return path


def _check_early(recipe: Any, out: str, resume: bool) -> None:
    """What can be refused before the seconds that importing a framework takes."""
    from edgeseg.datasets import open_dataset
    from edgeseg.models.coarse import open_also
    from edgeseg.models.recipe import check_recipe, split_pairs
    from edgeseg.models.weights import find_weights

    check_recipe(recipe)
    dataset = open_dataset(recipe.data)
    split_pairs(dataset, recipe.holdout)
    open_also(recipe, dataset.classes)
    for source in () if resume else recipe.candidates:
        find_weights(source, recipe.width)
    if not resume and os.path.isdir(out) and {"checkpoint.npz", "network.keras"} & set(os.listdir(out)):
        raise UsageError("{} already holds a run".format(out), "add --resume, or choose another -o")
    folder = os.path.abspath(out)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise UsageError("-o {}: {} is a file".format(out, folder), "name a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise EnvironmentFault("folder {} cannot be written".format(folder), "choose another -o")
    free, needed = shutil.disk_usage(folder).free, int(SPACE * max(1.0, recipe.width**2))
    if free < needed:
        raise EnvironmentFault(
            "{} has {} MB free, a run needs {} MB".format(folder, free >> 20, needed >> 20),
            "free some space, or choose another -o",
        )


def _how_to_go_on(out: str) -> str:
    if os.path.exists(os.path.join(out, "checkpoint.npz")):
        return "go on after the last complete epoch with: edgeseg train --resume -o {}".format(shlex.quote(out))
    return "no epoch was complete, so there is nothing to resume; start again"


def _text(result: Dict[str, Any]) -> str:
    """The result for people: figures in per cent, one class a line."""
    names = ("val_miou", "val_boundary_miou", "val_pixel_accuracy")
    lines = [
        "val mIoU {}   at class borders {}   pixel accuracy {}".format(*[_percent(result[name]) for name in names])
    ]
    width = max(len(name) for name in result["val_iou"])
    lines += ["  {:{}}  {}".format(name, width, _percent(value)) for name, value in result["val_iou"].items()]
    return "\n".join(lines + ["network  " + result["network"]])


def _percent(share: Optional[float]) -> str:
    return "-" if share is None else "{:5.1f} %".format(100 * share)
