"""The search for the smallest, or the fastest, network that loses no more than it may: `--compress auto`.

Steps become bolder until one loses too much; the last that did not is kept, and the next kind of step goes on from it.
Channels come first, as they make everything smaller and faster; then zeros, then training for int8 where it loses, then
few values. So that something is left for the later kinds, each may use up a part of the allowed drop only.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgeseg.errors import CheckFailed
from edgeseg.export.compress.channels import OutOfReachError
from edgeseg.export.compress.measure import Row
from edgeseg.export.compress.plan import Step
from edgeseg.export.compress.run import AlreadyZeroError, Compressor, Done

# Shares that are gone of the original's multiply-accumulates, or of its parameters where the smallest is searched for.
CHANNELS = (0.3, 0.45, 0.55, 0.65, 0.72)
WEIGHTS = (0.5, 0.65, 0.75, 0.85)
CLUSTERS = (64, 32, 16, 8)
PARTS = {"channels": 0.5, "weights": 0.75, "share": 1.0}  # of the allowed drop, used up by a kind and those before it
QAT_FROM = 0.005  # of mIoU that int8 loses


class Aim(NamedTuple):
    """What is searched for."""

    max_drop: float  # points of mIoU that the exported file may lose against the float32 original
    fastest: bool = False  # else the smallest


class Search:
    """Steps with `compressor` until no bolder one keeps within the aim.

    `references` are the rows of the original network: in float32, and in the precision of the target.
    """

    def __init__(self, compressor: Compressor, aim: Aim, references: Sequence[Row], log: Callable[[str], None]) -> None:
        assert references[0].miou is not None
        self._compressor, self._aim, self._log = compressor, aim, log
        self._miou, self._unchanged = references[0].miou, references[-1]

    def run(self, precision: str) -> Done:
        """The best network found. Raises CheckFailed where no step at all keeps within the drop."""
        what = "fastest" if self._aim.fastest else "smallest"
        self._log(
            f"searching for the {what} network that loses at most {self._aim.max_drop:g} points of {self._miou:.2%}"
        )
        done = self._compressor.start()
        shares = [1 - (1 - bold) / (1 - before) for before, bold in zip((0.0, *CHANNELS), CHANNELS, strict=False)]
        steps = [Step("channels", round(share, 3), params=not self._aim.fastest) for share in shares]
        done = self._bolder(done, steps, 1.0 if self._aim.fastest else PARTS["channels"])
        if not self._aim.fastest:  # what follows makes no network faster
            done = self._bolder(done, [Step("weights", share) for share in WEIGHTS], PARTS["weights"])
            if precision == "int8":
                done = self._few_values(done)
        if not done.steps:
            raise CheckFailed(
                f"no step of compression keeps within {self._aim.max_drop:g} points of mIoU",
                "allow more with --max-drop, or give more --epochs of fine-tuning",
            )
        return done

    def _bolder(self, done: Done, steps: Sequence[Step], part: float) -> Done:
        """The last of `steps`, each going on from the one before, that keeps within `part` of the allowed drop."""
        for step in steps:
            try:
                tried = self._compressor.go_on(done, step)
            except AlreadyZeroError as error:
                self._log(error.message)
                continue
            except OutOfReachError as error:
                self._log(f"{step.text}: {error.message}")
                break
            if not self._keeps(tried, part):
                break
            done = tried
        return done

    def _few_values(self, done: Done) -> Done:
        """The smallest codebooks that keep within the drop, each from the same network."""
        if self._lost_by_int8(done) > QAT_FROM:
            done = self._bolder(done, [Step("qat")], PARTS["share"])
        best = done
        for clusters in CLUSTERS:
            tried = self._compressor.go_on(done, Step("share", clusters))
            if not self._keeps(tried, PARTS["share"]):
                break
            best = tried
        return best

    def _keeps(self, tried: Done, part: float) -> bool:
        row, allowed = tried.rows[-1], part * self._aim.max_drop
        lost = 100 * (self._miou - (row.miou or 0.0))
        verdict = "kept" if lost <= allowed and not row.failures else f"not kept, {allowed:g} points are allowed"
        self._log(
            f"{row.step}: {row.bundle_bytes:,} bytes, {row.macs / 1e6:.0f} M MACs, {lost:.2f} points lost: {verdict}"
        )
        return lost <= allowed and not row.failures

    def _lost_by_int8(self, done: Done) -> float:
        row = done.rows[-1] if done.rows else self._unchanged
        return (row.miou_float or 0.0) - (row.miou or 0.0)
