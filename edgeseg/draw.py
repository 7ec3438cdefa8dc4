"""Class colours over frames: overlay, mask, side by side, and a legend. Made for every frame of a video."""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from edgeseg.errors import UsageError
from edgeseg.opencv import load_cv2
from edgeseg.palette import UNLABELED, SegClass

Array = Any

VIEWS = ("overlay", "mask", "side-by-side")
_PANEL = (32, 32, 32)  # BGR behind the legend's text: dark, so that it reads on any frame
_TEXT = (240, 240, 240)


class Painter:
    """Draws masks over frames of one size at a time; all buffers are made at the first frame of a size.

    Args:
        classes: ids, names and RGB colours.
        view: "overlay" (frame and colours mixed), "mask" (colours only), "side-by-side" (frame | overlay).
        opacity: share of the colour in an overlay, 0..1. Pixels of 255 show the frame as it is.
        legend: list the classes that are present, with their share of the frame in percent.

    Raises UsageError for an unknown view or an opacity outside 0..1. One Painter per thread.
    """

    def __init__(
        self, classes: Sequence[SegClass], view: str = "overlay", opacity: float = 0.5, legend: bool = True
    ) -> None:
        if view not in VIEWS:
            raise UsageError("unknown view {!r}".format(view), "views: {}".format(", ".join(VIEWS)))
        if not 0.0 <= opacity <= 1.0:
            raise UsageError("opacity {} is outside 0..1".format(opacity), "0 shows the frame only, 1 the colours only")
        self._cv2 = load_cv2()
        self._view = view
        self._opacity = opacity
        self._classes = tuple(classes)
        self._lut = color_table(classes)[:, None, ::-1].copy()  # (256, 1, 3) BGR, as applyColorMap wants it
        self._canvas: Optional[Array] = None
        self._legend: Optional[_Legend] = None
        self._with_legend = legend

    def output_size(self, width: int, height: int) -> Tuple[int, int]:
        """Width and height of what `draw` returns for a frame of `width` x `height`."""
        return (2 * width if self._view == "side-by-side" else width), height

    def draw(self, image: Array, mask: Array, shares: Dict[str, float]) -> Array:
        """Draw a frame: image (H, W, 3) uint8 BGR, mask (H, W) uint8, shares 0..1 by class name.

        Returns (H, W, 3) uint8 BGR, (H, 2 W, 3) for side by side. The next call draws into the same array:
        copy it to keep it. `image` is not changed.
        """
        if image.shape[:2] != mask.shape:
            raise ValueError("frame {} and mask {} differ in size".format(image.shape[:2], mask.shape))
        canvas = self._prepare(mask.shape)
        cv2 = self._cv2
        width = mask.shape[1]
        target = canvas[:, -width:]
        cv2.applyColorMap(mask, self._lut, target)
        if self._view != "mask":
            cv2.addWeighted(image, 1 - self._opacity, target, self._opacity, 0, target)
            cv2.copyTo(image, (mask == UNLABELED).view(np.uint8), target)
        if self._view == "side-by-side":
            canvas[:, :width] = image
        if self._legend is not None:
            self._legend.draw(target, shares)
        return canvas

    def _prepare(self, size: Tuple[int, int]) -> Array:
        width, height = self.output_size(size[1], size[0])
        if self._canvas is None or self._canvas.shape[:2] != (height, width):
            self._canvas = np.empty((height, width, 3), np.uint8)
            self._legend = _Legend(self._classes, height) if self._with_legend else None
        return self._canvas


class _Legend:
    """A panel at the upper left. Each name and each percentage is written once and copied from then on."""

    def __init__(self, classes: Sequence[SegClass], height: int) -> None:
        self._cv2 = load_cv2()
        self._scale = max(0.35, height / 900.0)
        (_, text_height), baseline = self._measure("Wg100%")
        self._row = text_height + baseline + 2
        self._baseline = baseline
        self._pad = max(2, self._row // 4)
        names = [self._measure(c.name)[0][0] for c in classes]
        self._name_width = self._row + max(names + [0]) + 2 * self._pad
        self._share_width = self._measure("100%")[0][0] + self._pad
        self._names = [(c.name, self._name_strip(c)) for c in classes]
        self._shares: Dict[int, Array] = {}

    def draw(self, image: Array, shares: Dict[str, float]) -> None:
        """Copy the rows of the classes present, in the order of the classes, so that rows do not dance.

        Where not all fit, the largest stay.
        """
        present = [(shares[name], name, strip) for name, strip in self._names if shares.get(name, 0) > 0]
        fit = max(0, (image.shape[0] - 2 * self._pad) // self._row)
        largest = {name for _, name, _ in sorted(present, key=lambda row: -row[0])[:fit]}
        x, y = self._pad, self._pad
        for share, name, strip in present:
            if name not in largest:
                continue
            self._copy(image, strip, x, y)
            self._copy(image, self._share_strip(share), x + self._name_width, y)
            y += self._row

    @staticmethod
    def _copy(image: Array, strip: Array, x: int, y: int) -> None:
        width = min(strip.shape[1], image.shape[1] - x)
        if width > 0:
            image[y : y + strip.shape[0], x : x + width] = strip[:, :width]

    def _name_strip(self, label: SegClass) -> Array:
        strip = self._blank(self._name_width)
        side = self._row - 4
        strip[2 : 2 + side, 2 : 2 + side] = label.color[::-1]
        self._write(strip, label.name, self._row + self._pad)
        return strip

    def _share_strip(self, share: float) -> Array:
        percent = round(100 * share)
        if percent not in self._shares:
            text = "{}%".format(percent) if percent else "<1%"
            strip = self._blank(self._share_width)
            self._write(strip, text, self._share_width - self._pad - self._measure(text)[0][0])
            self._shares[percent] = strip
        return self._shares[percent]

    def _blank(self, width: int) -> Array:
        return np.full((self._row, width, 3), _PANEL, np.uint8)

    def _measure(self, text: str) -> Tuple[Tuple[int, int], int]:
        return self._cv2.getTextSize(text, self._cv2.FONT_HERSHEY_SIMPLEX, self._scale, 1)

    def _write(self, strip: Array, text: str, x: int) -> None:
        cv2 = self._cv2
        place = (x, self._row - self._baseline - 1)
        cv2.putText(strip, text, place, cv2.FONT_HERSHEY_SIMPLEX, self._scale, _TEXT, 1, cv2.LINE_AA)


def color_table(classes: Sequence[SegClass]) -> Array:
    """(256, 3) uint8 RGB: the colour of every mask value; black for values that are no class."""
    table = np.zeros((256, 3), np.uint8)
    for label in classes:
        table[label.id] = label.color
    return table


def check_palette(classes: Sequence[SegClass], nearest: float = 40.0) -> List[str]:
    """Problems of a palette, as sentences: names or colours used twice, colours that are hard to tell apart.

    `nearest` is the smallest distance allowed between two colours, and to the black of unlabelled pixels, as
    the weighted RGB distance of T. Riemersma, "Colour metric" (compuphase.com/cmetric.htm), 0 to about 765.
    """
    problems = []
    for i, a in enumerate(classes):
        if color_distance(a.color, (0, 0, 0)) < nearest:
            problems.append("{} {} is hard to tell from unlabelled (black)".format(a.name, a.color))
        for b in classes[i + 1 :]:
            distance = color_distance(a.color, b.color)
            if a.name == b.name:
                problems.append("classes {} and {} are both called {}".format(a.id, b.id, a.name))
            if distance == 0:
                problems.append("{} and {} have the same colour {}".format(a.name, b.name, a.color))
            elif distance < nearest:
                problems.append(
                    "{} {} and {} {} are hard to tell apart".format(a.name, tuple(a.color), b.name, tuple(b.color))
                )
    return problems


def color_distance(a: Sequence[int], b: Sequence[int]) -> float:
    """Distance of two RGB colours as the eye weighs them (Riemersma), 0 to about 765."""
    mean_red = (a[0] + b[0]) / 2.0
    red, green, blue = (float(a[i]) - b[i] for i in range(3))
    weighted = (2 + mean_red / 256) * red**2 + 4 * green**2 + (2 + (255 - mean_red) / 256) * blue**2
    return float(weighted) ** 0.5
