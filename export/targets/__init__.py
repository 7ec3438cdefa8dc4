"""The table of targets."""

from edgeseg.errors import UsageError
from edgeseg.export.targets.base import Board, Target
from edgeseg.export.targets.coral import CORAL
from edgeseg.export.targets.cpu import CPU
from edgeseg.export.targets.jetson import JETSONS

__all__ = ["TARGETS", "Board", "Target", "check_dla", "choose_precision", "choose_target", "find_target"]

TARGETS = {target.name: target for target in (CPU, CORAL, *JETSONS)}


def choose_target(name: str, precision: str | None, core: int | None) -> tuple[Target, str]:
    """The target of that name, and its precision as by `choose_precision`. Raises UsageError, for the DLA core too."""
    target = find_target(name)
    chosen = choose_precision(target, precision)
    check_dla(target, chosen, core)
    return target, chosen


def find_target(name: str) -> Target:
    """The target of that name. Raises UsageError naming those that exist."""
    if name not in TARGETS:
        known = "; ".join(f"{t.name}: {t.title}" for t in TARGETS.values())
        raise UsageError(f"there is no target {name!r}", f"targets: {known}")
    return TARGETS[name]


def choose_precision(target: Target, asked: str | None) -> str:
    """The precision asked for, or the target's default. Raises UsageError if the target has it not."""
    precision = asked or target.precisions[0]
    if precision == "int8" and target.no_int8:
        raise UsageError(
            f"target {target.name} takes no int8: {target.no_int8}", f"use --precision {target.precisions[0]}"
        )
    if precision not in target.precisions:
        raise UsageError(
            f"target {target.name} has no precision {precision!r}", f"use --precision {' or '.join(target.precisions)}"
        )
    return precision


def check_dla(target: Target, precision: str, core: int | None) -> None:
    """Raise UsageError unless the target has that DLA core, and the core that precision."""
    if core is None:
        return
    cores = target.board.dla_cores if target.board else 0
    if not 0 <= core < cores:
        have = f"has the cores 0 to {cores - 1}" if cores else "has no DLA"
        others = ", ".join(t.name for t in TARGETS.values() if t.board and t.board.dla_cores)
        raise UsageError(
            f"target {target.name} {have}: there is no DLA core {core}", f"leave --dla out; boards with DLAs: {others}"
        )
    if precision == "fp32":
        raise UsageError("a DLA computes in fp16 and int8 only", "use --precision fp16 or --precision int8")
