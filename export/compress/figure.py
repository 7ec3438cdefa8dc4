"""The steps of compression as a picture: accuracy above bytes."""

from collections.abc import Sequence
from pathlib import Path

from edgeseg.export.compress.measure import Row


def draw_steps(path: Path, rows: Sequence[Row], title: str) -> None:
    """Write a PNG: after each step the mIoU of the exported file, and below it the bytes of its bundle."""
    from matplotlib.figure import Figure  # the pyplot interface would open a display

    figure = Figure(figsize=(1.5 + 1.3 * len(rows), 5), layout="constrained")
    accuracy, sizes = figure.subplots(2, sharex=True, height_ratios=(2, 3))
    places = range(len(rows))
    miou = [float("nan") if row.miou is None else 100 * row.miou for row in rows]
    accuracy.plot(places, miou, color="tab:green", marker="o")
    for place, value in zip(places, miou, strict=True):
        accuracy.annotate(f"{value:.1f}", (place, value), (0, 6), textcoords="offset points", ha="center", fontsize=8)
    accuracy.set(ylabel="val mIoU of the\nexported file, %", ylim=(0, 100), title=title)
    accuracy.grid(axis="y", alpha=0.3)
    kilobytes = [row.bundle_bytes / 1e3 for row in rows]
    bars = sizes.bar(places, kilobytes, width=0.6, color="tab:gray", alpha=0.6)
    sizes.bar_label(
        bars, [f"{size:,.0f}\n{row.ratio:.1f}x" for size, row in zip(kilobytes, rows, strict=True)], fontsize=8
    )
    sizes.set(yscale="log", ylabel="bundle, kB", ylim=(min(kilobytes) / 2, max(kilobytes) * 3))
    sizes.set_xticks(places, [row.step for row in rows], rotation=20)
    figure.savefig(path, format="png", dpi=120)
