"""Drawing picture and labels at once, in metres: the raw material of the generated street."""

from typing import Any, List, Sequence, Tuple

import numpy as np

from edgeseg.opencv import load_cv2
from edgeseg.palette import CAMVID
from edgeseg.stream.frame import Array

CLEAR = 255  # label of a texel where one sees through
ID = {c.name: c.id for c in CAMVID}
BGR = Tuple[int, int, int]
Level = Tuple[Array, Array, float]  # image (h, w, 3), label (h, w), pixels per metre


class Canvas:
    """A picture `width` x `height` metres with labels; x runs right and y up from its lower left corner."""

    def __init__(self, width: float, height: float, ppm: float, fill: BGR, label: int = CLEAR) -> None:
        self.cv2 = load_cv2()
        self.width, self.height, self.ppm = width, height, ppm
        size = (max(1, round(height * ppm)), max(1, round(width * ppm)))
        self.image = np.empty(size + (3,), np.uint8)
        self.image[:] = fill
        self.label = np.full(size, label, np.uint8)

    def poly(self, points: Any, color: BGR, name: str = "") -> None:
        """Fill a polygon of (x, y) points; without the name of a class only the picture changes."""
        pixels = np.array([(x * self.ppm, (self.height - y) * self.ppm) for x, y in points])
        fixed = np.round((pixels - 0.5) * 16).astype(np.int32)
        self.cv2.fillPoly(self.image, [fixed], color, shift=4)
        if name:
            self.cv2.fillPoly(self.label, [fixed], ID[name], shift=4)

    def rect(self, x: float, y: float, width: float, height: float, color: BGR, name: str = "") -> None:
        """Fill a rectangle whose lower left corner is (x, y)."""
        self.poly([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], color, name)

    def ellipse(self, x: float, y: float, rx: float, ry: float, color: BGR, name: str = "") -> None:
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        self.poly(np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1), color, name)

    def grain(self, rng: Any, strength: float, size_m: float = 0.0) -> None:
        """Vary the brightness by about +-`strength` levels in blotches of `size_m` metres (0: single pixels)."""
        height, width = self.label.shape
        step = max(1, int(size_m * self.ppm))
        small = rng.normal(0, strength, (height // step + 2, width // step + 2)).astype(np.float32)
        noise = self.cv2.resize(small, (width, height), interpolation=self.cv2.INTER_LINEAR)
        self.cv2.add(self.image, self.cv2.merge([noise] * 3), dst=self.image, dtype=self.cv2.CV_8U)  # saturates

    def levels(self) -> List[Level]:
        """The picture at full, half, quarter... size, so that shrinking it does not alias.

        A texel that is partly opaque stays opaque: thin poles never vanish.
        """
        cv2 = self.cv2
        levels: List[Level] = [(self.image, self.label, self.ppm)]
        while min(levels[-1][1].shape) >= 4 and len(levels) < 6:
            image, label, ppm = levels[-1]
            height, width = (side // 2 for side in label.shape)
            half = cv2.resize(image[: height * 2, : width * 2], (width, height), interpolation=cv2.INTER_AREA)
            tiles = label[: height * 2, : width * 2].reshape(height, 2, width, 2)
            levels.append((half, tiles.min(axis=(1, 3)), ppm / 2))
        return levels


def pick_level(levels: List[Level], ppm: float) -> Level:
    """The smallest level that still has `ppm` pixels per metre, else the largest."""
    fine_enough = [level for level in levels if level[2] >= ppm]
    return fine_enough[-1] if fine_enough else levels[0]


def shade(color: Sequence[float], factor: float) -> BGR:
    b, g, r = (int(min(255, max(0, c * factor))) for c in color)
    return b, g, r
