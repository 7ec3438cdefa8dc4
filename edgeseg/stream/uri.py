"""Pieces of source URIs."""

import re
from typing import Any, Callable, Dict, Tuple

from edgeseg.errors import UsageError

Parsers = Dict[str, Callable[[str], Any]]


def redact(uri: str) -> str:
    """`uri` without user name and password, for messages and logs.

    Everything up to the last @ goes: a password that nobody escaped may itself hold / and @.
    """
    uri = re.sub(r"//.*@", "//***@", uri)
    return re.sub(r"(?i)([?&][^=&]*(?:pass|pwd|token|key|secret|auth)[^=&]*=)[^&]*", r"\1***", uri)


def split_query(text: str, parsers: Parsers) -> Tuple[str, Dict[str, Any]]:
    """Split "rest?name=value&..." and convert each value with the parser of its name.

    Raises UsageError for a name that has no parser and for a value that its parser refuses.
    """
    rest, _, query = text.partition("?")
    values: Dict[str, Any] = {}
    for part in query.split("&") if query else []:
        name, _, value = part.partition("=")
        if name not in parsers:
            raise UsageError(
                "{!r} is not an option of this source".format(name), "known: {}".format(", ".join(sorted(parsers)))
            )
        try:
            values[name] = parsers[name](value)
        except ValueError:
            raise UsageError("{}={} is not a valid value".format(name, value), "give a number above zero")
    return rest, values


def positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def positive_float(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise ValueError(text)
    return value


def natural_key(path: str) -> Tuple[Tuple[int, int, str], ...]:
    """Sort key that puts frame2 before frame10."""
    return tuple((1, int(p), "") if p.isdigit() else (0, 0, p) for p in re.split(r"([0-9]+)", path))
