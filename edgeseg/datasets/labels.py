"""Label files of the known datasets, decoded to class ids.

A decoder is called with a path and returns labels (H, W) uint8, 0..classes-1 or 255 for unlabelled. It raises
UsageError for an unreadable file and for values outside the classes, naming both.
"""

from typing import Any, Callable, Dict, Iterable

import numpy as np

from edgeseg.datasets.files import decoded
from edgeseg.errors import UsageError
from edgeseg.opencv import load_cv2
from edgeseg.palette import UNLABELED

Array = Any  # numpy.ndarray; numpy of Python 3.6 has no type stubs

LabelDecoder = Callable[[str], Array]


def class_ids(classes: int, void: Iterable[int] = ()) -> LabelDecoder:
    """Labels that are 0..classes-1 already; the values `void`, and always 255, are unlabelled."""
    void = sorted(set(void) | {UNLABELED})
    meanings = "classes are 0..{}; {} mean{} unlabelled".format(
        classes - 1, " and ".join(str(v) for v in void), "s" if len(void) == 1 else ""
    )
    return mapped_ids({value: value for value in range(classes)}, void, meanings)


def mapped_ids(ids: Dict[int, int], void: Iterable[int], expected: str) -> LabelDecoder:
    """Labels whose value `v` is class `ids[v]`; the values `void` and 255 are unlabelled."""
    table = np.full(256, UNLABELED, np.uint8)
    known = np.zeros(256, bool)
    for value, class_id in ids.items():
        table[value] = class_id
        known[value] = True
    known[list(void) + [UNLABELED]] = True
    classes = len(set(ids.values()))

    def decode(path: str) -> Array:
        label = decoded(path, load_cv2().IMREAD_UNCHANGED)
        if label is None or label.ndim != 2 or label.dtype != np.uint8:
            shape = "unreadable" if label is None else "shape {} of {}".format(label.shape, label.dtype)
            raise UsageError(
                "label {} is not a one-channel 8-bit image of class ids ({})".format(path, shape),
                "save labels as greyscale PNG, one value per class",
            )
        count = np.bincount(label.ravel(), minlength=256)
        wrong = np.flatnonzero((count > 0) & ~known)
        if wrong.size:
            raise UsageError(
                "label {} holds value(s) {} outside the {} classes ({} pixels)".format(
                    path, ", ".join(str(v) for v in wrong[:8]), classes, int(count[wrong].sum())
                ),
                expected,
            )
        return table[label]

    return decode
