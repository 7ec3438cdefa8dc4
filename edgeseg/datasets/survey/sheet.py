"""The contact sheet of a dataset: images of each split beside their labels, and a legend."""

from typing import Any, List, Sequence, Tuple

import numpy as np

from edgeseg.datasets.base import Dataset, spread
from edgeseg.datasets.files import Pair
from edgeseg.datasets.survey import Split, Survey
from edgeseg.draw import Painter
from edgeseg.opencv import load_cv2
from edgeseg.palette import SegClass
from edgeseg.stream.atomic import write_atomic
from edgeseg.stream.sinks import encode_image

Array = Any

_COLUMNS, _IMAGES = 3, 6  # of a split
_TILE = (240, 180)  # width and height of an image; its labels have the same place to its right
_GAP, _LINE = 8, 20
_WIDTH = _COLUMNS * (2 * _TILE[0] + _GAP) + _GAP
_LEGEND_COLUMNS = 6
_PAPER, _INK, _MUTED = (255, 255, 255), (0, 0, 0), (150, 150, 150)


def write_sheet(path: str, survey: Survey) -> None:
    """Write the sheet as PNG, atomically. Raises EnvironmentFault if it cannot be written."""
    parts = [part for split in survey.splits for part in _split(survey.dataset, split)]
    write_atomic(path, encode_image(np.vstack(parts + [_legend(survey)]), ".png"))


def _split(dataset: Dataset, split: Split) -> List[Array]:
    title = _blank(_LINE + _GAP)
    _text(title, "{}: {} images".format(split.name, len(split.pairs)), (_GAP, _LINE), scale=0.6)
    painter = Painter(dataset.classes, "side-by-side", legend=False)
    tiles = [_tile(dataset, pair, painter) for pair in spread(split.pairs, _IMAGES)]
    rows = [tiles[i : i + _COLUMNS] for i in range(0, len(tiles), _COLUMNS)]
    return [title] + [_row(row) for row in rows]


def _tile(dataset: Dataset, pair: Pair, painter: Painter) -> Array:
    cv2 = load_cv2()
    image, label = dataset.read(pair)
    scale = min(_TILE[0] / image.shape[1], _TILE[1] / image.shape[0])
    size = (max(1, int(image.shape[1] * scale)), max(1, int(image.shape[0] * scale)))
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), size, interpolation=cv2.INTER_AREA)
    drawn = painter.draw(small, cv2.resize(label, size, interpolation=cv2.INTER_NEAREST), {})
    tile = np.full((_TILE[1] + _LINE, 2 * _TILE[0], 3), _PAPER, np.uint8)
    tile[: drawn.shape[0], : drawn.shape[1]] = drawn
    _text(tile, pair.name, (0, _TILE[1] + 14))
    return tile


def _row(tiles: Sequence[Array]) -> Array:
    row = _blank(_TILE[1] + _LINE + _GAP)
    for column, tile in enumerate(tiles):
        left = _GAP + column * (2 * _TILE[0] + _GAP)
        row[: tile.shape[0], left : left + tile.shape[1]] = tile
    return row


def _legend(survey: Survey) -> Array:
    """Classes with their colours and shares of the labelled pixels of all splits; those never seen in grey."""
    pixels = np.sum([split.pixels for split in survey.splits], axis=0)
    total = max(1, int(pixels.sum()))
    rows = -(-len(survey.dataset.classes) // _LEGEND_COLUMNS)
    legend = _blank(rows * _LINE + 2 * _GAP)
    for index, label in enumerate(survey.dataset.classes):
        count = int(pixels[index])
        text = "{} {:.1f} %".format(label.name, 100.0 * count / total) if count else label.name + " (never)"
        place = (_GAP + index // rows * (_WIDTH // _LEGEND_COLUMNS), _GAP + index % rows * _LINE)
        _entry(legend, label, text, place, _INK if count else _MUTED)
    return legend


def _entry(legend: Array, label: SegClass, text: str, place: Tuple[int, int], ink: Tuple[int, int, int]) -> None:
    x, y = place
    legend[y + 3 : y + _LINE - 3, x : x + 20] = _MUTED  # a frame, for colours like the paper's
    legend[y + 4 : y + _LINE - 4, x + 1 : x + 19] = label.color[::-1]
    _text(legend, text, (x + 26, y + 14), ink)


def _blank(height: int) -> Array:
    return np.full((height, _WIDTH, 3), _PAPER, np.uint8)


def _text(image: Array, text: str, at: Tuple[int, int], ink: Tuple[int, int, int] = _INK, scale: float = 0.42) -> None:
    cv2 = load_cv2()
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, 1, cv2.LINE_AA)
