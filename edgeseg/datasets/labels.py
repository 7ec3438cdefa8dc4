"""Label files of the known datasets, decoded to class ids.

A decoder is called with a path and returns labels (H, W) uint8, 0..classes-1 or 255 for unlabelled. It raises
UsageError for an unreadable file and for values or colours outside the classes, naming them.
"""

from typing import Any, Callable, Dict, Iterable, Sequence

import numpy as np

from edgeseg.datasets.pixels import packed, read_colours, read_ids, unpacked
from edgeseg.errors import UsageError
from edgeseg.palette import UNLABELED, Color

Array = Any  # numpy.ndarray; numpy of Python 3.6 has no type stubs

LabelDecoder = Callable[[str], Array]

_SHOWN_VALUES, _SHOWN_COLOURS = 8, 4  # of those that no class has, in a message
_FORGOTTEN = 16  # more colours than these do not belong to forgotten classes


def class_ids(classes: int, void: Iterable[int] = ()) -> LabelDecoder:
    """Labels that are 0..classes-1 already; the values `void`, and always 255, are unlabelled."""
    void = sorted(set(void) | {UNLABELED})
    meanings = "classes are 0..{}; {} mean{} unlabelled".format(
        classes - 1, " and ".join(str(v) for v in void), "s" if len(void) == 1 else ""
    )
    return mapped_ids({value: value for value in range(classes)}, void, meanings)


def mapped_ids(
    ids: Dict[int, int], void: Iterable[int], expected: str, read: Callable[[str], Array] = read_ids
) -> LabelDecoder:
    """Labels whose value `v` is class `ids[v]`; the values `void` and 255 are unlabelled.

    Args:
        ids: class id of each value.
        void: values without a class.
        expected: what values there should be: the fix for a file that has others.
        read: path -> values (H, W), uint8 or uint16.
    """
    table = np.full(1 << 16, UNLABELED, np.uint8)
    known = np.zeros(1 << 16, bool)
    for value, class_id in ids.items():
        table[value] = class_id
        known[value] = True
    known[list(void) + [UNLABELED]] = True
    classes = len(set(ids.values()))

    def decode_file(path: str) -> Array:
        values = read(path)
        count = np.bincount(values.ravel())
        wrong = np.flatnonzero((count > 0) & ~known[: len(count)])
        if wrong.size:
            listed = [str(v) for v in wrong[:_SHOWN_VALUES]] + ["..."] * (wrong.size > _SHOWN_VALUES)
            raise UsageError(
                "label {} holds value(s) {} outside the {} classes ({} pixels)".format(
                    path, ", ".join(listed), classes, int(count[wrong].sum())
                ),
                expected,
            )
        return table[values]

    return decode_file


def mapped_colours(ids: Dict[Color, int], void: Iterable[Color], expected: str) -> LabelDecoder:
    """Label images in which the RGB colour `c` is class `ids[c]`; the colours `void` are unlabelled.

    Args:
        ids: class id of each colour.
        void: colours without a class.
        expected: where the colours are listed: the fix for a file that has others.
    """
    known = dict(ids)
    known.update((color, UNLABELED) for color in void)
    # By packed colour: class id + 1, 0 for colours without a meaning. Memory is taken only where colours are.
    table = np.zeros(1 << 24, np.uint16)
    for color, class_id in known.items():
        table[packed(color)] = class_id + 1

    def decode_file(path: str) -> Array:
        codes = read_colours(path)
        found = table[codes]
        if not found.all():
            raise _strange_colours(path, codes[found == 0], list(known), expected)
        return (found - 1).astype(np.uint8)

    return decode_file


def _strange_colours(path: str, strange: Array, known: Sequence[Color], expected: str) -> UsageError:
    codes, count = np.unique(strange, return_counts=True)
    table = np.array(known, np.int64)

    def described(index: Any) -> str:
        color = unpacked(codes[index])
        nearest = known[int(np.argmin(((table - color) ** 2).sum(axis=1)))]
        return "{} ({} pixels, nearest known {})".format(color, count[index], nearest)

    most = np.argsort(-count, kind="mergesort")[:_SHOWN_COLOURS]
    message = "label {} holds {} colour(s) that no class has, RGB {} ({} pixels in all)".format(
        path, len(codes), ", ".join(described(i) for i in most), int(count.sum())
    )
    if len(codes) > _FORGOTTEN:
        expected = (
            "so many come from smooth borders, resizing or JPEG: save labels as PNG without anti-aliasing, and "
            "resize them with nearest neighbour; " + expected
        )
    return UsageError(message, expected)
