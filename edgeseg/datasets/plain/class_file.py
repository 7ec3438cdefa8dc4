"""Class files of plain folders: which classes there are, and which values and colours mean them."""

import os
import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from edgeseg.datasets.files import read_text
from edgeseg.datasets.listing import names_in
from edgeseg.datasets.plain.class_json import parse_json
from edgeseg.datasets.plain.class_lines import FORMS_HELP, Entry, parse_lines
from edgeseg.errors import UsageError
from edgeseg.palette import UNLABELED, Color, SegClass, voc_color

# Names of class files without suffix, capitals, "_", "-" and blanks
_STEMS: Tuple[str, ...] = (
    "classes",
    "classnames",
    "labels",
    "labelnames",
    "classdict",
    "classpalette",
    "palette",
    "datasetmeta",
)
_STEMS += ("colormap", "colourmap", "labelmap", "labelcolors", "labelcolours")
_SUFFIXES = (".txt", ".csv", ".json")

# Classes of these names are unlabelled; without capitals and anything but letters
_VOID = ("void", "unlabeled", "unlabelled", "ignore", "ignored", "dontcare")
_BACKGROUND = "background"

_SHADES = "; where 0 is the background, name it in the first line; shades of grey are listed as R G B NAME"


class Legend(NamedTuple):
    """The classes of a dataset, and what pixels of labels mean."""

    source: str  # where this was read, for messages
    advice: str  # the fix for values and colours that are not listed here
    classes: Tuple[SegClass, ...]
    ids: Dict[int, int]  # class id by value
    void: List[int]  # values without a class
    colours: Dict[Color, int]  # class id by colour; empty where the file has no colours
    void_colours: List[Color]


def class_files(folder: str) -> List[str]:
    """Paths of the files in a folder that are class files by their names, such as classes.txt or class_dict.csv."""
    found = []
    for name in names_in(folder):
        stem, suffix = os.path.splitext(name.lower())
        if suffix in _SUFFIXES and re.sub("[_ -]", "", stem) in _STEMS:
            found.append(os.path.join(folder, name))
    return found


def read_legend(paths: Sequence[str]) -> Optional[Legend]:
    """The classes that these files describe; None where there is no file.

    One file, or one with names (which gives the order) and one with colours. Colours of names that the first does not
    have are unlabelled. Raises UsageError for files that contradict each other and for what `read_entries` refuses.
    """
    read = [(path, read_entries(path)) for path in paths]
    named = [(path, entries) for path, entries in read if not any(e.color for e in entries)]
    coloured = [(path, entries) for path, entries in read if any(e.color for e in entries)]
    for group in (named, coloured):
        if len(group) > 1:
            raise UsageError(
                "{} and {} both list the classes".format(group[0][0], group[1][0]), "keep one of them, delete the other"
            )
    if not read:
        return None
    if not coloured:
        return _legend(*named[0])
    path, entries = coloured[0]
    if named:
        return _legend(path, *_joined(named[0], coloured[0]))
    return _legend(path, [e if e.name else e._replace(name="class{}".format(e.value)) for e in entries])


def read_entries(path: str) -> List[Entry]:
    """The lines of a class file. Raises UsageError for one without classes, for odd lines, and for duplicates."""
    text = read_text(path)
    entries = parse_json(text, path) if path.lower().endswith(".json") else parse_lines(text, path)
    if entries and entries[0].name == "__ignore__":  # labelme counts it as -1
        entries = [entry._replace(value=entry.value - 1) for entry in entries[1:]]
    columns: Dict[str, List[Any]] = {
        "name": [entry.name for entry in entries if entry.name],
        "value": [entry.value for entry in entries],
        "colour": [entry.color for entry in entries if entry.color],
    }
    for what, values in columns.items():
        twice = sorted({str(value) for value in values if values.count(value) > 1})
        if twice:
            raise UsageError(
                "{} has the {} {} twice".format(path, what, ", ".join(twice[:5])),
                "give each class a {} of its own".format(what),
            )
    for entry in entries:
        if max(entry.color or (0,)) > 255:
            raise UsageError(
                "{}: the colour {} of {!r} is outside 0..255".format(path, entry.color, entry.name), "mend the colour"
            )
    return entries


def _joined(named: Tuple[str, List[Entry]], coloured: Tuple[str, List[Entry]]) -> Tuple[List[Entry], List[Color]]:
    """The classes of a file with names, with the colours of another; and the colours that are left."""
    path, names = named
    by_value = {entry.value: entry.name for entry in names}
    # Colours without names are in the order of the names.
    colors = {e.name or by_value.get(e.value, str(e.value)): e.color for e in coloured[1]}
    absent = [entry.name for entry in names if not (colors.get(entry.name) or is_void(entry.name))]
    if absent:
        raise UsageError(
            "{} has no colour for {} of {}".format(coloured[0], ", ".join(absent[:5]), path),
            "write the same names in both files",
        )
    entries = [entry._replace(color=colors.pop(entry.name, None)) for entry in names]
    return entries, [color for color in colors.values() if color]


def _legend(path: str, entries: Sequence[Entry], void_colours: Sequence[Color] = ()) -> Legend:
    entries = sorted(entries, key=lambda entry: entry.value)
    kept = [entry for entry in entries if not is_void(entry.name)]
    if not kept:
        raise UsageError("{} lists no class".format(path), "write {}".format(FORMS_HELP))
    if len(kept) > UNLABELED:
        raise UsageError(
            "{} has {} classes; masks hold {} at most, as 255 is unlabelled".format(path, len(kept), UNLABELED),
            "leave out or merge some classes",
        )
    wrong = [entry for entry in kept if not 0 <= entry.value < UNLABELED]
    if wrong:
        raise UsageError(
            "{} gives {!r} the value {}; labels hold the values 0..254, and 255 is unlabelled".format(
                path, wrong[0].name, wrong[0].value
            ),
            "renumber the class in the file and in the labels",
        )
    void = [entry for entry in entries if is_void(entry.name)]
    return Legend(
        path,
        "add what is missing to {} (its values are {}; classes named void are unlabelled){}".format(
            path, _ranges([entry.value for entry in entries]), "" if kept[0].color else _SHADES
        ),
        tuple(SegClass(id, e.name, e.color or default_color(id, kept[0].name)) for id, e in enumerate(kept)),
        {entry.value: id for id, entry in enumerate(kept)},
        [entry.value for entry in void if 0 <= entry.value <= UNLABELED],
        {entry.color: id for id, entry in enumerate(kept) if entry.color},
        list(void_colours) + [entry.color for entry in void if entry.color],
    )


def _ranges(values: Sequence[int]) -> str:
    """Numbers, sorted, in short."""
    if list(values) == list(range(len(values))):
        return "0..{}".format(len(values) - 1)
    return ", ".join(str(value) for value in values[:12]) + ("" if len(values) <= 12 else ", ...")


def is_void(name: str) -> bool:
    """Whether pixels of a class of this name are unlabelled."""
    return re.sub("[^a-z]", "", name.lower()) in _VOID


def default_color(id: int, first: str) -> Color:
    """A colour for a class without one: that of PASCAL VOC, whose black is for the background."""
    return voc_color(id if re.sub("[^a-z]", "", first.lower()) == _BACKGROUND else id + 1)
