"""The confusion matrix as a PNG, drawn with OpenCV: a board has no plotting library."""

from typing import Any, Sequence, Tuple

import numpy as np

from edgeseg.opencv import load_cv2
from edgeseg.palette import SegClass
from edgeseg.stream.atomic import write_atomic
from edgeseg.stream.sinks import encode_image

Array = Any

CELL, MARGIN, FONT_SCALE = 56, 130, 0.45


def write_confusion_png(path: str, confusion: Array, classes: Sequence[SegClass]) -> None:
    """Draw (classes, classes + 1) pixel counts as percent of each labelled class; the last column is "none"."""
    cv2 = load_cv2()
    rows = confusion.sum(axis=1, keepdims=True)
    share = np.divide(confusion, rows, out=np.zeros(confusion.shape), where=rows > 0)
    columns = confusion.shape[1] if confusion[:, -1].any() else confusion.shape[1] - 1
    names = [c.name for c in classes] + ["none"]
    height, width = MARGIN + CELL * len(classes), MARGIN + CELL * columns
    image = np.full((height, width, 3), 255, np.uint8)
    for row in range(len(classes)):
        _text(cv2, image, names[row], (6, MARGIN + CELL * row + CELL // 2 + 5))
        for column in range(columns):
            _cell(cv2, image, share[row, column], (MARGIN + CELL * column, MARGIN + CELL * row))
    side = np.full((width, MARGIN, 3), 255, np.uint8)  # drawn lying, then turned upright
    for column in range(columns):
        _text(cv2, side, names[column], (6, MARGIN + CELL * column + CELL // 2 + 5))
    image[:MARGIN] = cv2.rotate(side, cv2.ROTATE_90_COUNTERCLOCKWISE)
    _text(cv2, image, "label", (6, MARGIN - 10))
    _text(cv2, image, "prediction, %", (6, 20))
    write_atomic(path, encode_image(image, ".png"))


def _cell(cv2: Any, image: Array, share: float, corner: Tuple[int, int]) -> None:
    x, y = corner
    blue = (255, int(255 - 155 * share), int(255 - 225 * share))
    cv2.rectangle(image, (x, y), (x + CELL - 2, y + CELL - 2), blue, -1)
    if share >= 0.005:
        color = (255, 255, 255) if share > 0.6 else (0, 0, 0)
        _text(cv2, image, "{:.0f}".format(100 * share), (x + CELL // 2 - 12, y + CELL // 2 + 5), color)


def _text(cv2: Any, image: Array, text: str, at: Tuple[int, int], color: Any = (0, 0, 0)) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, FONT_SCALE, color, 1, cv2.LINE_AA)
