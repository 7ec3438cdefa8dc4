"""A labelled dataset of generated streets: to try the way from data to robot before there are images of one's own."""

import os
import shutil
from typing import NamedTuple

from edgeseg.errors import UsageError
from edgeseg.palette import CAMVID
from edgeseg.stream.atomic import check_folder_of, write_fault
from edgeseg.stream.pattern import PatternSource
from edgeseg.stream.png import encode_palette_png
from edgeseg.stream.sinks import encode_image
from edgeseg.stream.street import Street

SCHEME = "pattern:"
_FRAMES = 100  # unless the URI says how many
_APART = 2.5  # seconds between images, which makes no near-duplicates: see edgeseg.datasets.survey.similar
_PER_STREET = 8  # nearly once along the street, which takes 20.6 s


class Practice(NamedTuple):
    """What was written: numbers of images."""

    train: int
    val: int


def write_practice(uri: str, out: str) -> Practice:
    """Write images and labels of the streets of `uri`, "pattern:...", into the folder `out`, as a plain dataset.

    A fifth of the images is the split val, on streets that train has not got. Raises UsageError for another URI, too
    few frames, or an `out` that is there and not empty; EnvironmentFault if it cannot be written. Then nothing is left.
    """
    source = _pattern(uri)
    frames = source.frames or _FRAMES
    if frames < 2:
        raise UsageError("{} is one image, and a dataset has two splits".format(uri), "give frames=2 or more")
    out = os.path.abspath(os.path.expanduser(out))
    _check_free(out)
    counts = Practice(frames - max(1, frames // 5), max(1, frames // 5))
    temporary = "{}.{}.tmp".format(out, os.getpid())
    try:
        os.mkdir(temporary)
        next_seed = _write_split(temporary, "train", source, source.seed, counts.train)
        _write_split(temporary, "val", source, next_seed, counts.val)
        with open(os.path.join(temporary, "classes.txt"), "w", encoding="utf-8") as file:
            file.write("".join(c.name + "\n" for c in CAMVID))
        os.replace(temporary, out)
    except OSError as error:
        raise write_fault(out, error)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return counts


def _pattern(uri: str) -> PatternSource:
    if "@" in uri:
        raise UsageError(
            "{}: a dataset has no frames a second, its images are {} s apart".format(uri, _APART), "leave @FPS out"
        )
    return PatternSource.from_uri(uri[len(SCHEME) :])


def _check_free(out: str) -> None:
    if not os.path.exists(out):
        check_folder_of(out)
    elif not os.path.isdir(out) or os.listdir(out):
        raise UsageError("{} is there already, and nothing is overwritten".format(out), "give -o a new folder")


def _write_split(root: str, split: str, source: PatternSource, seed: int, count: int) -> int:
    """Write `count` images of the streets from `seed` on; returns the seed after the last."""
    for folder in ("images", "labels"):
        os.makedirs(os.path.join(root, folder, split))
    for index in range(count):
        if index % _PER_STREET == 0:
            street = Street(source.size[0], source.size[1], seed)
            seed += 1
        image, label = street.draw(_APART * (index % _PER_STREET))
        name = "street{}_{}.png".format(seed - 1, index % _PER_STREET)
        for folder, data in (("images", encode_image(image, ".png")), ("labels", encode_palette_png(label, CAMVID))):
            with open(os.path.join(root, folder, split, name), "wb") as file:
                file.write(data)
    return seed
