"""Class names and colours from a label file."""

import os
import re
from typing import Dict, List, Optional, Tuple

from edgeseg.errors import EnvironmentFault, UsageError
from edgeseg.palette import UNLABELED, SegClass, voc_color

_NUMBERED = re.compile(r"(\d+)(?::\s*|\s+)(\S.*)")
_COLORED = re.compile(r"(\S.*?)\s+(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})")
_FORM = "one class per line in the order of its ids: NAME, or NAME R G B, or with the id before it: 0 NAME"
_MAX_BYTES = 1 << 20


def read_labels(path: str) -> Tuple[SegClass, ...]:
    """The classes of a label file. Raises UsageError for a file that is none, EnvironmentFault if it cannot be read."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError):
        problem = "is a folder" if os.path.isdir(path) else "does not exist"
        raise UsageError("label file {} {}".format(path, problem), "give {}".format(_FORM))
    except OSError as error:
        raise EnvironmentFault("{} cannot be read: {}".format(path, error), "check the disk and permissions")
    return parse_labels(data, path)


def parse_labels(data: bytes, where: str) -> Tuple[SegClass, ...]:
    """The classes in the text of a label file; `where` is its name in messages.

    Each line is a name, which `R G B` (0..255) may follow. Lines may begin with the id and a space or colon, as
    pycoral reads them (pycoral/utils/dataset.py, read_label_file). A blank line ends the list: remarks follow it in
    pascal_voc_segmentation_labels.txt of google-coral/test_data. Without a colour a class takes that of PASCAL VOC.
    """
    try:
        if len(data) > _MAX_BYTES or b"\0" in data:
            raise ValueError
        lines = [line.strip() for line in data.decode("utf-8-sig").strip().splitlines()]
    except ValueError:
        raise UsageError("{} is not a text file of labels".format(where), "give {}".format(_FORM))
    if not lines:
        raise UsageError("{} is empty".format(where), "give {}".format(_FORM))
    names = _by_id(lines[: lines.index("")] if "" in lines else lines, where)
    missing = sorted(set(range(max(names) + 1)) - set(names))
    if missing:
        raise UsageError(
            "{} names class {}, but not {}".format(where, max(names), ", ".join(map(str, missing[:5]))),
            "name every class from 0 on; one that is not used may be called unused-{}".format(missing[0]),
        )
    classes = tuple(_label(id, names[id], where) for id in range(len(names)))
    _check_names(classes, where)
    return classes


def _by_id(lines: List[str], where: str) -> Dict[int, str]:
    found: Dict[int, str] = {}
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    are_numbered = all(numbered)  # else a digit is part of a name
    for number, (line, match) in enumerate(zip(lines, numbered)):
        id, text = (int(match.group(1)), match.group(2)) if are_numbered and match else (number, line)
        if id in found:
            raise UsageError("{} names class {} twice".format(where, id), "give each id once")
        if id >= UNLABELED:
            raise UsageError(
                "{} has a class {}; masks hold the ids 0 to {}".format(where, id, UNLABELED - 1),
                "use a model of fewer classes",
            )
        found[id] = text
    return found


def _label(id: int, text: str, where: str) -> SegClass:
    match = _COLORED.fullmatch(text)
    if match is None:
        return SegClass(id, text, voc_color(id))
    red, green, blue = (int(value) for value in match.groups()[1:])
    if max(red, green, blue) > 255:
        raise UsageError("{}: the colour of {!r} is outside 0..255".format(where, text), "give {}".format(_FORM))
    return SegClass(id, match.group(1), (red, green, blue))


def _check_names(classes: Tuple[SegClass, ...], where: str) -> None:
    seen: Dict[str, int] = {}
    for label in classes:
        other: Optional[int] = seen.setdefault(label.name, label.id)
        if other != label.id:
            raise UsageError(
                "{} calls both class {} and class {} {!r}".format(where, other, label.id, label.name),
                "give each class a name of its own",
            )
