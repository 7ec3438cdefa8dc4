"""Lists of classes as text, one class a line, in the forms that people and annotation tools write.

    road                              names in the order of their values (classes.txt)
    0 background                      value and name; also 0: road, and CSV (Roboflow _classes.csv)
    64 128 64 Animal                  colour and name (CamVid label_colors.txt); colours only (NVIDIA DIGITS)
    Animal,64,128,64                  name and colour (class_dict.csv), with a value before it or not
    road:128,64,128::                 CVAT, Datumaro (labelmap.txt)

Blank lines, comments (#, //) and a header are skipped.
"""

import re
from typing import Dict, List, NamedTuple, Optional

from edgeseg.errors import UsageError
from edgeseg.palette import Color

FORMS_HELP = "one class a line, as: NAME, or R G B NAME, or NAME,R,G,B"

_SEPARATOR = r"[ \t,;]+"
_RGB = _SEPARATOR.join(r"(?P<{}>\d{{1,3}})".format(channel) for channel in "rgb")
_VALUE = r"(?P<value>\d+)(?:[ \t]*[:,;]|[ \t])[ \t]*"
_NAME = r"(?P<name>[^\s,;].*?)"
_WORD = r"(?P<name>[^\s\d,;].*)"
# The form of a list is the first that fits all lines.
_FORMS = tuple(
    re.compile(form)
    for form in (
        _NAME + r"[ \t]*:[ \t]*(?:" + _RGB.replace(_SEPARATOR, r"[ \t]*,[ \t]*") + r")?[ \t]*:.*",
        _RGB + r"(?:" + _SEPARATOR + _WORD + r")?",
        _VALUE + _RGB + _SEPARATOR + _WORD,
        r"(?:" + _VALUE + r")?" + _NAME + _SEPARATOR + _RGB + r"[ \t,;]*",
        _VALUE + r"(?!\d+[ \t,;])(?P<name>\S.*)",
    )
)
_HEADER = re.compile(r"(name|class|label|pixel|value|index|id|red|green|blue|es|s|[rgb]|[ \t,;_\"'])+", re.I)


class Entry(NamedTuple):
    """A class as a file lists it."""

    name: str  # empty where the file has only colours
    value: int  # in index labels: its position, unless the file says another
    color: Optional[Color]


def parse_lines(text: str, path: str) -> List[Entry]:
    """The classes of a text; `path` is its name in messages. Raises UsageError for a line that differs from most."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith(("#", "//"))]
    if lines and re.search(r"[\s,;]", lines[0][1]) and _HEADER.fullmatch(lines[0][1]):
        del lines[0]
    if not lines:
        return []
    matches = [[form.fullmatch(line) for _, line in lines] for form in _FORMS]
    best = max(matches, key=lambda found: sum(match is not None for match in found))
    if all(best):
        return [_entry(match.groupdict(), position) for position, match in enumerate(best) if match]
    wrong = [line for line, match in zip(lines, best) if match is None]
    if 2 * len(wrong) < len(lines):
        raise UsageError(
            "{}, line {}: {!r} is not like the other lines".format(path, *wrong[0]), "write {}".format(FORMS_HELP)
        )
    return [Entry(_clean(line), position, None) for position, (_, line) in enumerate(lines)]


def _entry(groups: Dict[str, Optional[str]], position: int) -> Entry:
    value, red, green, blue = (groups.get(key) for key in ("value", "r", "g", "b"))
    color = None if red is None or green is None or blue is None else (int(red), int(green), int(blue))
    return Entry(_clean(groups.get("name") or ""), position if value is None else int(value), color)


def _clean(name: str) -> str:
    return name.rstrip(",; \t").strip("\"'")
