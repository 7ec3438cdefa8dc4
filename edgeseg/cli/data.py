"""`edgeseg data`: what is in a labelled dataset, and what is wrong with it."""

import argparse
import json
import os
import sys
from typing import Any, Dict, List

from edgeseg.cli.table import table
from edgeseg.datasets import Dataset, open_dataset
from edgeseg.datasets.practice import SCHEME, write_practice
from edgeseg.datasets.survey import Split, Survey, survey
from edgeseg.datasets.survey.advice import next_command, notes
from edgeseg.errors import CheckFailed, UsageError
from edgeseg.stream.atomic import check_folder_of, check_not_input

SUMMARY = "tell what is in a labelled dataset and what is wrong with it"

_SIZES = 8  # rows of the table of image sizes


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "data",
        metavar="DIR",
        help="dataset folder, in its official layout; with -o pattern:WIDTHxHEIGHT?frames=N&seed=N",
    )
    add("--split", metavar="NAME", help="look at this split only")
    add("--sheet", metavar="FILE.png", help="draw some images of each split with their labels")
    add("--json", action="store_true", help="print the findings as JSON")
    add("-o", "--out", metavar="DIR", help="write a dataset of generated streets to practise with into this new folder")


def run(args: argparse.Namespace) -> int:
    """Survey or write a dataset; returns 0. Raises CheckFailed, after the report, where training would stumble."""
    if args.data.startswith(SCHEME):
        return _practice(args)
    if args.out:
        raise UsageError("-o is for generated streets", "edgeseg data 'pattern:320x240?frames=20' -o DIR")
    dataset = open_dataset(args.data)
    if args.sheet:
        _check_sheet(args.sheet, dataset)
    found = survey(dataset, [args.split] if args.split else list(dataset.splits), _progress)
    _report(args, found)
    return 0


def _practice(args: argparse.Namespace) -> int:
    if not args.out or args.split or args.sheet:
        raise UsageError(
            "{} is no folder: generated streets are written to one first".format(args.data),
            "edgeseg data {!r} -o DIR, then: edgeseg data DIR".format(args.data),
        )
    made = write_practice(args.data, args.out)
    if args.json:
        print(json.dumps(dict(made._asdict(), data=args.out)))
    else:
        print("{}: {} training and {} validation images".format(args.out, made.train, made.val))
        print("next: edgeseg data {}".format(args.out))
    return 0


def _check_sheet(path: str, dataset: Dataset) -> None:
    """What can be refused before the files are read."""
    if not path.lower().endswith(".png"):
        raise UsageError("--sheet {} is no PNG file by its name".format(path), "give a name that ends with .png")
    check_folder_of(path)
    if os.path.exists(path):
        check_not_input(path, (file for pairs in dataset.splits.values() for pair in pairs for file in pair))


def _report(args: argparse.Namespace, found: Survey) -> None:
    if args.sheet and any(split.pairs for split in found.splits):
        from edgeseg.datasets.survey.sheet import write_sheet

        write_sheet(args.sheet, found)
    print(json.dumps(to_dict(found), indent=1, sort_keys=True) if args.json else "\n".join(to_lines(found)))
    if found.faults:
        sys.stdout.flush()  # before the message on stderr
        raise CheckFailed(
            "{} fault(s) in {} that training would stumble over".format(len(found.faults), args.data),
            "mend or remove the files that are named above",
        )


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r{} of {} images{}".format(done, total, "\n" if done == total else ""))
        sys.stderr.flush()


def to_dict(found: Survey) -> Dict[str, Any]:
    """The findings as JSON has them; pixels and images by class name."""
    return {
        "dataset": found.dataset.name,
        "root": found.dataset.root,
        "classes": [c.name for c in found.dataset.classes],
        "splits": {split.name: _split_dict(found, split) for split in found.splits},
        "faults": [{"message": error.message, "fix": error.fix} for error in found.faults],
        "copies": [copies._asdict() for copies in found.copies],
        "leaks": [leak._asdict() for leak in found.leaks],
        "shared_recordings": [shared._asdict() for shared in found.shared],
        "notes": [note._asdict() for note in notes(found)],
        "next": next_command(found),
    }


def _split_dict(found: Survey, split: Split) -> Dict[str, Any]:
    names = [c.name for c in found.dataset.classes]
    return {
        "pairs": split.total,
        "usable": len(split.pairs),
        "scenes": found.scenes[split.name],
        "sizes": {"{}x{}".format(*size): count for size, count in split.sizes.items()},
        "pixels": dict(zip(names, split.pixels.tolist())),
        "images": dict(zip(names, split.images.tolist())),
        "never_seen": [name for name, images in zip(names, split.images) if not images],
        "unlabelled_pixels": split.unlabelled,
        "blank_images": split.blank,
    }


def to_lines(found: Survey) -> List[str]:
    """The findings for people."""
    dataset = found.dataset
    named = dataset.name != os.path.basename(os.path.abspath(dataset.root))  # a plain folder has the folder's name
    title = "{} in {}".format(dataset.name, dataset.root) if named else dataset.root
    lines = ["{}: {} classes".format(title, len(dataset.classes))]
    rows = [("split", "pairs", "usable", "scenes", "unlabelled")]
    for s in found.splits:
        unlabelled = _percent(s.unlabelled, s.unlabelled + int(s.pixels.sum()))
        rows.append((s.name, str(s.total), str(len(s.pairs)), str(found.scenes[s.name]), unlabelled))
    lines += table(rows) + _size_lines(found.splits) + _class_lines(found)
    if found.faults:
        lines += ["faults"] + _with_fixes([(error.message, error.fix) for error in found.faults])
    remarks = notes(found)
    if remarks:
        lines += ["notes"] + _with_fixes(remarks)
    command = next_command(found)
    return lines + (["next: " + command] if command and not found.faults else [])


def _size_lines(splits: List[Split]) -> List[str]:
    sizes = sorted({size for s in splits for size in s.sizes}, key=lambda size: -sum(s.sizes[size] for s in splits))
    rows = [["width x height"] + [s.name for s in splits]]
    rows += [["{}x{}".format(*size)] + [str(s.sizes[size]) for s in splits] for size in sizes[:_SIZES]]
    rest = sizes[_SIZES:]
    if rest:
        counts = [str(sum(s.sizes[size] for size in rest)) for s in splits]
        rows.append(["{} other sizes".format(len(rest))] + counts)
    return table(rows)


def _class_lines(found: Survey) -> List[str]:
    head = ["class", "id"]
    for s in found.splits:
        head += [s.name + " pixels", "share", "images"]
    rows = [head]
    for c in found.dataset.classes:
        row = [c.name, str(c.id)]
        for s in found.splits:
            pixels = int(s.pixels[c.id])
            row += ["{:,}".format(pixels), _percent(pixels, int(s.pixels.sum())), str(s.images[c.id])]
        rows.append(row)
    return table(rows)


def _percent(part: int, whole: int) -> str:
    return "{:.2f} %".format(100.0 * part / whole) if part else "-"


def _with_fixes(items: Any) -> List[str]:
    """(text, fix) as lines; a fix that many have follows the last of them."""
    by_fix: Dict[str, List[str]] = {}
    for text, fix in items:
        by_fix.setdefault(fix, []).append(text)
    lines = []
    for fix, texts in by_fix.items():
        lines += ["  " + text for text in texts] + ["    fix: " + fix]
    return lines
