"""The table of targets."""

from edgeseg.errors import UsageError
from edgeseg.export.targets.base import Target
from edgeseg.export.targets.cpu import CPU

__all__ = ["TARGETS", "Target", "choose_precision", "find_target"]

TARGETS = {target.name: target for target in (CPU,)}


def find_target(name: str) -> Target:
    """The target of that name. Raises UsageError naming those that exist."""
    if name not in TARGETS:
        known = "; ".join(f"{t.name}: {t.title}" for t in TARGETS.values())
        raise UsageError(f"there is no target {name!r}", f"targets: {known}")
    return TARGETS[name]


def choose_precision(target: Target, asked: str | None) -> str:
    """The precision asked for, or the target's default. Raises UsageError if the target has it not."""
    precision = asked or target.precisions[0]
    if precision not in target.precisions:
        raise UsageError(
            f"target {target.name} has no precision {precision!r}", f"use --precision {' or '.join(target.precisions)}"
        )
    return precision
