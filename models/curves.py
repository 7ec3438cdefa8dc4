"""Learning curves as CSV and PNG."""

import csv
import math
from pathlib import Path

from edgeseg.models.checkpoint import AtomicReplacement


def write_curves(out: Path, history: list[dict[str, float]]) -> None:
    """Write `out`/curves.csv and `out`/curves.png; one row per epoch, with empty cells for what was not measured."""
    with AtomicReplacement(out / "curves.csv") as path, open(path, "w", newline="") as file:
        table = csv.DictWriter(file, fieldnames=list(history[0]))
        table.writeheader()
        table.writerows({k: "" if math.isnan(v) else v for k, v in row.items()} for row in history)
    with AtomicReplacement(out / "curves.png") as path:
        _plot(path, history)


def _plot(path: Path, history: list[dict[str, float]]) -> None:
    from matplotlib.figure import Figure  # the pyplot interface would open a display

    figure = Figure(figsize=(8, 4), layout="constrained")
    loss_axis = figure.add_subplot()
    epochs = [row["epoch"] for row in history]
    loss_axis.plot(epochs, [row["loss"] for row in history], color="tab:gray", label="loss")
    loss_axis.set(xlabel="epoch", ylabel="training loss")
    miou_axis = loss_axis.twinx()
    measured = [row for row in history if not math.isnan(row["val_miou"])]
    miou = [100 * row["val_miou"] for row in measured]
    miou_axis.plot([row["epoch"] for row in measured], miou, color="tab:green", marker=".", label="val mIoU")
    miou_axis.set(ylabel="val mIoU, %", ylim=(0, 100))
    figure.legend(loc="outside upper center", ncols=2)
    figure.savefig(path, format="png", dpi=120)
