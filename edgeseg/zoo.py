"""Where the networks in the box are. Found by path, so that a device needs nothing of the PC side."""

import hashlib
import os
from pathlib import Path
from typing import List, Optional

from edgeseg.errors import UsageError

NAMES = ("fcn8-camvid",)
DEFAULT = "fcn8-camvid"

_FOLDER = Path(os.path.dirname(os.path.abspath(__file__))) / "models" / "zoo"


def zoo_names() -> List[str]:
    """Names that `zoo_network` and `zoo_bundle` take."""
    return list(NAMES)


def zoo_network(name: str) -> Path:
    """The float network, NAME.keras. Raises UsageError for another name or an incomplete installation."""
    return _file(name, ".keras")


def zoo_bundle(name: str = DEFAULT) -> Path:
    """The int8 bundle for any CPU, NAME.edgeseg. Raises UsageError like `zoo_network`."""
    return _file(name, ".edgeseg")


def find_network(sha256: Optional[str]) -> Optional[str]:
    """The name of the float network with that SHA-256; None if it is not in the box, or not installed."""
    for name in NAMES:
        try:
            data = zoo_network(name).read_bytes()
        except UsageError:
            continue
        if hashlib.sha256(data).hexdigest() == sha256:
            return name
    return None


def _file(name: str, suffix: str) -> Path:
    if name not in NAMES:
        raise UsageError(
            "there is no network {!r} in the box".format(name), "networks in the box: {}".format(", ".join(NAMES))
        )
    path = _FOLDER / (name + suffix)
    if not path.is_file():
        raise UsageError(
            "{} is not part of this installation".format(path),
            "install the complete edgeseg again; networks in the box: {}".format(", ".join(NAMES)),
        )
    return path
