"""What a target is."""

from typing import NamedTuple


class Target(NamedTuple):
    """A chip that networks are exported for, as data."""

    name: str
    title: str
    backend: str  # the runtime of edgeseg.backends that runs the bundle
    precisions: tuple[str, ...]  # the first is the default
