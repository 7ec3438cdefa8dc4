"""What label images hold: their values, colours and palettes; and classes made of those, as NVIDIA DIGITS offers.

DIGITS takes the palette or the greys of label images as the colour map unless it gets one as a file
(digits/extensions/data/imageSegmentation/forms.py, colormap_method). Here coloured labels may go without a file too.
"""

from typing import List, NamedTuple, Optional, Sequence

import numpy as np

from edgeseg.datasets.pixels import read_colours, read_ids, read_palette, unpacked
from edgeseg.datasets.plain.class_file import Legend, default_color
from edgeseg.errors import UsageError
from edgeseg.palette import UNLABELED, Color, SegClass

_MOST = 64  # classes that are believed without a class file
_TOO_MANY = 1000  # colours of one image: more are not counted


class Content(NamedTuple):
    """What some label images hold together."""

    ids: Optional[List[int]]  # values, sorted; None where an image is in colours
    colours: List[Color]  # sorted
    palette: List[Color]  # of the first image, if it has one


def look(paths: Sequence[str]) -> Content:
    """Read label images. Faulty files are passed over; raises the UsageError of the first if all are faulty."""
    looks, faults = [], []
    for path in paths:
        try:
            looks.append(_look_at(path))
        except UsageError as error:
            faults.append(error)
    if not looks:
        raise faults[0]
    ids = None if any(one.ids is None for one in looks) else sorted({id for one in looks for id in one.ids or ()})
    return Content(ids, sorted({color for one in looks for color in one.colours}), looks[0].palette)


def _look_at(path: str) -> Content:
    try:
        ids = [int(id) for id in np.flatnonzero(np.bincount(read_ids(path).ravel()))]
    except UsageError:  # in colours, or faulty
        seen = np.zeros(1 << 24, bool)  # by packed colour; memory is taken only where colours are
        seen[read_colours(path).ravel()] = True
        return Content(None, [unpacked(code) for code in np.flatnonzero(seen)[:_TOO_MANY]], [])
    palette = read_palette(path)
    return Content(
        ids, [palette[id] for id in ids if id < len(palette)] if palette else [(id, id, id) for id in ids], palette
    )


def legend_of(content: Content, labels: str, advice: str) -> Legend:
    """Classes for what label images hold: class0, class1, ... up to the largest value, or one for each colour.

    Args:
        content: what they hold.
        labels: their folder, for messages.
        advice: the fix where that is no sensible set of classes.

    Raises UsageError for more than 64 colours, and for greys that do not look like ids.
    """
    if content.ids is None:
        if len(content.colours) > _MOST:
            raise UsageError(
                "the labels in {} have {} colours, too many for classes".format(labels, len(content.colours)),
                "they come from smooth borders, resizing or JPEG; " + advice,
            )
        classes = [SegClass(id, "#{:02x}{:02x}{:02x}".format(*c), c) for id, c in enumerate(content.colours)]
        return Legend(labels, advice, tuple(classes), {}, [], {c.color: c.id for c in classes}, [])
    values = [value for value in content.ids if value != UNLABELED]
    if not values or max(values) >= _MOST:
        raise UsageError(
            "the labels in {} hold the values {}, which do not look like class ids".format(
                labels, ", ".join(map(str, content.ids[:8]))
            ),
            advice,
        )
    count = max(values) + 1
    colors = palette_colors(content.palette, range(count)) or [default_color(id, "background") for id in range(count)]
    named = tuple(SegClass(id, "class{}".format(id), colors[id]) for id in range(count))
    return Legend(labels, advice, named, {id: id for id in range(count)}, [], {}, [])


def palette_colors(palette: Sequence[Color], values: Sequence[int]) -> List[Color]:
    """Colours of `values` in a palette; none where it is too short or does not tell them apart."""
    if not values or max(values) >= len(palette):
        return []
    colors = [palette[value] for value in values]
    return colors if len(set(colors)) == len(colors) else []
