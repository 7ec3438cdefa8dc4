"""The steps of compression as a picture: bytes and accuracy."""

from collections.abc import Sequence
from pathlib import Path

from edgeseg.export.compress.measure import Row


def draw_steps(path: Path, rows: Sequence[Row], title: str) -> None:
    """Write a PNG: the bundle's size after each step as bars, on a scale of powers, and its mIoU as a line."""
    from matplotlib.figure import Figure  # the pyplot interface would open a display

    figure = Figure(figsize=(1.5 + 1.3 * len(rows), 4.5), layout="constrained")
    sizes = figure.add_subplot()
    places = range(len(rows))
    kilobytes = [row.bundle_bytes / 1e3 for row in rows]
    bars = sizes.bar(places, kilobytes, width=0.6, color="tab:gray", alpha=0.6, label="bundle, kB")
    sizes.bar_label(
        bars, [f"{size:,.0f}\n{row.ratio:.1f}x" for size, row in zip(kilobytes, rows, strict=True)], fontsize=8
    )
    sizes.set(yscale="log", ylabel="bundle, kB", title=title, ylim=(min(kilobytes) / 2, max(kilobytes) * 3))
    sizes.set_xticks(places, [row.step for row in rows], rotation=20)
    accuracy = sizes.twinx()
    miou = [float("nan") if row.miou is None else 100 * row.miou for row in rows]
    accuracy.plot(places, miou, color="tab:green", marker="o", label="val mIoU of the exported file")
    for place, value in zip(places, miou, strict=True):
        accuracy.annotate(f"{value:.1f}", (place, value), (0, 6), textcoords="offset points", ha="center", fontsize=8)
    accuracy.set(ylabel="val mIoU, %", ylim=(0, 100))
    figure.legend(loc="outside lower center", ncols=2)
    figure.savefig(path, format="png", dpi=120)
