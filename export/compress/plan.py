"""Which steps of compression were asked for, in which order, and whether that makes sense. Light: no Keras."""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from edgeseg.errors import UsageError
from edgeseg.export.targets import TARGETS, Target
from edgeseg.models.recipe import Hold

Kind = Literal["channels", "weights", "2:4", "qat", "share"]

CLUSTERS = (4, 256)  # smallest and largest codebook
_GRAMMAR = (
    "channels:SHARE of the multiply-accumulates, channels:SHARE:params of the parameters, channels:600M "
    "multiply-accumulates left, channels:1.8x as fast or channels:4.5ms on this CPU, weights:SHARE, "
    "weights:SHARE:lottery, or 2:4"
)
_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9}
# A step undoes what these before it made: weights that are cut or zeroed leave codebooks, channels leave patterns.
_AFTER: dict[Kind, tuple[Kind, ...]] = {
    "channels": ("weights", "2:4", "qat", "share"),
    "weights": ("2:4", "share"),
    "2:4": ("weights", "2:4", "share"),
    "qat": ("qat",),
    "share": ("share",),
}


class Step(NamedTuple):
    """One step. Of the amounts at most one is given: what `kind` needs."""

    kind: Kind
    amount: float = 0.0  # channels, weights: the share to remove; share: the number of clusters
    params: bool = False  # channels: that share is of the parameters, not of the multiply-accumulates
    macs: float = 0.0  # channels: multiply-accumulates to get down to
    ms: float = 0.0  # channels: milliseconds of the int8 file on this CPU to get down to
    speedup: float = 0.0  # channels: how many times as fast the int8 file is to be on this CPU
    lottery: bool = False

    @property
    def text(self) -> str:
        """As in the report, and for channels, weights and share as on the command line."""
        if self.kind in ("2:4", "qat"):
            return self.kind
        budgets = {"M": self.macs / 1e6, "ms": self.ms, "x": self.speedup}
        amount = next((f"{value:g}{unit}" for unit, value in budgets.items() if value), f"{self.amount:g}")
        return f"{self.kind}:{amount}" + ":params" * self.params + ":lottery" * self.lottery

    @property
    def option(self) -> str:
        """The value of its option on the command line."""
        return f"{self.amount:g}" if self.kind == "share" else self.text

    @property
    def folder(self) -> str:
        return self.text.replace(":", "-")

    @property
    def on_this_cpu(self) -> bool:
        """Whether it needs the time that networks take on this machine."""
        return bool(self.ms or self.speedup)


def parse_prune(text: str) -> Step:
    """The step of `--prune TEXT`. Raises UsageError for one that does not exist, or an amount that makes no sense."""
    if text == "2:4":
        return Step("2:4")
    kind, _, rest = text.partition(":")
    amount, _, variant = rest.partition(":")
    if kind == "channels" and variant in ("", "params"):
        step = _channels(amount, variant)
        if step:
            return step
    if kind == "weights" and variant in ("", "lottery") and _is_share(amount):
        return Step("weights", float(amount), lottery=variant == "lottery")
    raise UsageError(f"--prune {text!r} is no step of pruning", f"give {_GRAMMAR}; a share is between 0 and 1: 0.4")


def _channels(amount: str, variant: str) -> Step | None:
    if _is_share(amount):
        return Step("channels", float(amount), params=bool(variant))
    budget = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|[KMGx])", amount)
    if variant or not budget or not float(budget[1]):
        return None
    value, unit = float(budget[1]), budget[2]
    if unit == "ms":
        return Step("channels", ms=value)
    if unit == "x":
        return Step("channels", speedup=value) if value > 1 else None
    return Step("channels", macs=value * _UNITS[unit])


def _is_share(text: str) -> bool:
    return bool(re.fullmatch(r"0?\.\d+", text)) and 0 < float(text) < 1


def parse_share(text: str) -> Step:
    """The step of `--share TEXT`. Raises UsageError unless it is a number of clusters in CLUSTERS."""
    low, high = CLUSTERS
    if not (text.isdecimal() and low <= int(text) <= high):
        raise UsageError(f"--share {text!r} is no number of clusters", f"give {low} to {high}, for example 16")
    return Step("share", float(text))


def hold_after(steps: Sequence[Step]) -> Hold:
    """What the fine-tuning after these steps has to keep."""
    kinds = {step.kind for step in steps}
    return "values" if "share" in kinds else "zeros" if kinds & {"weights", "2:4"} else ""


def simulates_int8(steps: Sequence[Step], was_trained: bool = False) -> bool:
    """Whether the fine-tuning after these steps has the rounding of int8, as that of the original had if `was_trained`.

    Not after channels: BatchNorm, which int8 training freezes, has to recover first.
    """
    kinds = {step.kind for step in steps}
    return "qat" in kinds or (was_trained and "channels" not in kinds)


def check_order(steps: Sequence[Step]) -> None:
    """Raise UsageError where a step would undo what one before it made, saying which order works."""
    for number, step in enumerate(steps):
        for earlier in steps[:number]:
            if earlier.kind in _AFTER[step.kind]:
                fix = (
                    "give --prune channels first, then --prune weights or 2:4, then --share; --qat once, after channels"
                )
                if {step.kind, earlier.kind} == {"weights", "2:4"}:
                    fix = "give one of the two"
                raise UsageError(f"{step.text} after {earlier.text} would undo it or do it twice", fix)


def check_target(steps: Sequence[Step], target: Target, precision: str) -> list[str]:
    """What the user of a target should know: which steps change the size of its file only.

    Raises UsageError for a step that is of no use there, saying what is.
    """
    remarks = []
    for step in steps:
        if step.kind == "2:4" and effect("2:4", target) != SPEED:
            raise UsageError(
                f"target {target.name} has no tensor cores that skip zeros: 2:4 would cost accuracy for nothing",
                "use --prune weights:0.5 for a smaller file, or --prune channels:0.4 for a faster network",
            )
        if step.kind == "qat" and precision != "int8":
            raise UsageError(
                f"--qat trains for int8, and this export is {precision}",
                (target.no_int8 and f"leave it out: {target.no_int8}") or "leave it out, or add --precision int8",
            )
        if step.kind == "share" and precision != "int8":
            raise UsageError(
                f"--share puts weights on the grid of int8, and this export is {precision}",
                "leave it out: --prune weights:0.7 makes float files smaller",
            )
        if step.on_this_cpu and target.backend != "tflite":
            raise UsageError(
                f"--prune {step.text} is measured on this machine, which is no {target.name}",
                "give the share to remove, channels:0.4, or a budget of multiply-accumulates, channels:600M",
            )
        if step.on_this_cpu and precision != "int8":
            raise UsageError(
                f"--prune {step.text} is measured on the int8 file, and this export is {precision}",
                "leave out --precision, or give the share to remove: channels:0.4",
            )
        if effect(step.kind, target) == SIZE:
            remarks.append(f"{step.text} {SIZE}: {target.name} computes as fast as before")
    return remarks


SPEED, SIZE, ACCURACY, NOTHING = "changes speed", "changes size only", "changes accuracy only", "not for this target"


def effect(kind: str, target: Target) -> str:
    """What a step, or a precision, does on a target."""
    if kind in ("int8", "fp16", "fp32"):
        return SPEED if kind in target.precisions else NOTHING
    if kind == "channels":
        return SPEED
    if kind == "2:4":
        return SPEED if target.board and target.board.sparse_tensor_cores else SIZE
    if kind == "qat":
        return ACCURACY if "int8" in target.precisions else NOTHING
    return SIZE


def effects(kind: str) -> dict[str, str]:
    """What a step, or a precision, does on every target, by name."""
    return {name: effect(kind, target) for name, target in TARGETS.items()}
