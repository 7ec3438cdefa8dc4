"""Reading small files of /proc and /sys that may be absent, closed to this user, or switched off."""

import glob
import os
import re
from typing import List, Optional, Tuple


def find_paths(root: str, pattern: str) -> List[str]:
    """The paths under `root` that match, thermal_zone2 before thermal_zone10."""
    return sorted(glob.glob(os.path.join(glob.escape(root), pattern)), key=_numeric)


def _numeric(path: str) -> Tuple[Tuple[str, int], ...]:
    return tuple((text, int(number or 0)) for text, number in re.findall(r"(\D+)(\d*)", path))


def read_text(path: str) -> Optional[str]:
    """The file without zero bytes and white space at its ends; None if it cannot be read.

    Not `open().read()`: the sensor of a powered-off engine answers EAGAIN, which Python's text files turn into a
    TypeError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        parts: List[bytes] = []
        while True:
            part = os.read(descriptor, 1 << 16)
            if not part:
                return b"".join(parts).decode("utf-8", "replace").strip("\0 \t\n")
            parts.append(part)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def read_int(path: str) -> Optional[int]:
    """The file as a whole number, None if it cannot be read or holds something else."""
    try:
        return int(read_text(path) or "")
    except ValueError:
        return None


def read_under(root: str, path: str) -> str:
    """The text of `path` under `root`, "" if it cannot be read."""
    return read_text(os.path.join(root, path)) or ""
