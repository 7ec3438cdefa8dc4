"""Which steps of compression were asked for, in which order, and whether that makes sense. Light: no Keras."""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from edgeseg.errors import UsageError
from edgeseg.export.targets import Target

Kind = Literal["channels", "weights", "2:4", "share"]

CLUSTERS = (4, 256)  # smallest and largest codebook
_GRAMMAR = (
    "channels:SHARE of the computation, channels:MACS such as channels:600M, weights:SHARE, weights:SHARE:lottery or 2:4"
)
_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9}
# A step undoes what these before it made: weights that are cut or zeroed leave codebooks, channels leave patterns.
_AFTER: dict[Kind, tuple[Kind, ...]] = {
    "channels": ("weights", "2:4", "share"),
    "weights": ("2:4", "share"),
    "2:4": ("weights", "share"),
    "share": ("share",),
}


class Step(NamedTuple):
    """One step: `amount` is the share to remove (channels, weights), or the number of clusters (share)."""

    kind: Kind
    amount: float = 0.0
    macs: float = 0.0  # channels: the computation to get down to, instead of a share
    lottery: bool = False

    @property
    def text(self) -> str:
        """As it is written on the command line, and good for a file name."""
        if self.kind == "2:4":
            return "2:4"
        if self.macs:
            return f"channels:{self.macs / 1e6:g}M"
        return f"{self.kind}:{self.amount:g}" + ":lottery" * self.lottery

    @property
    def folder(self) -> str:
        return self.text.replace(":", "-")


def parse_prune(text: str) -> Step:
    """The step of `--prune TEXT`. Raises UsageError for one that does not exist, or an amount that makes no sense."""
    if text == "2:4":
        return Step("2:4")
    kind, _, rest = text.partition(":")
    amount, _, variant = rest.partition(":")
    lottery = variant == "lottery" and kind == "weights"
    if kind in ("channels", "weights") and (not variant or lottery):
        if re.fullmatch(r"0?\.\d+", amount):
            share = float(amount)
            if 0 < share < 1:
                return Step("channels" if kind == "channels" else "weights", share, lottery=lottery)
        budget = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG])", amount, re.IGNORECASE)
        if budget and kind == "channels" and float(budget[1]) > 0:
            return Step("channels", macs=float(budget[1]) * _UNITS[budget[2].upper()])
    raise UsageError(f"--prune {text!r} is no step of pruning", f"give {_GRAMMAR}; a share is between 0 and 1: 0.4")


def parse_share(text: str) -> Step:
    """The step of `--share TEXT`. Raises UsageError unless it is a number of clusters in CLUSTERS."""
    low, high = CLUSTERS
    if not (text.isdecimal() and low <= int(text) <= high):
        raise UsageError(f"--share {text!r} is no number of clusters", f"give {low} to {high}, for example 16")
    return Step("share", float(text))


def check_order(steps: Sequence[Step]) -> None:
    """Raise UsageError where a step would undo what one before it made, saying which order works."""
    for number, step in enumerate(steps):
        for earlier in steps[:number]:
            if earlier.kind in _AFTER[step.kind]:
                raise UsageError(
                    f"{step.text} after {earlier.text} would undo it",
                    "give --prune channels first, then --prune weights or 2:4, then --share once"
                    if {step.kind, earlier.kind} != {"weights", "2:4"}
                    else "give one of the two",
                )


def remarks(steps: Sequence[Step], target: Target) -> list[str]:
    """What a user of `target` should know: which steps change the size of the file only.

    Raises UsageError for the 2:4 pattern on a target that has no use for it.
    """
    found = []
    for step in steps:
        if step.kind == "2:4" and not (target.board and target.board.sparse_tensor_cores):
            raise UsageError(
                f"target {target.name} has no tensor cores that skip zeros: 2:4 would cost accuracy for nothing",
                "use --prune weights:0.5 for a smaller file, or --prune channels:0.4 for a faster network",
            )
        if step.kind in ("weights", "share"):
            found.append(f"{step.text} changes the size of the file only: {target.name} computes as before")
    return found
