"""Calibration images: from them the ranges of activations are taken, so they decide what int8 is worth."""

import hashlib
from typing import Any, NamedTuple

import numpy as np

from edgeseg.datasets import Dataset
from edgeseg.errors import UsageError
from edgeseg.frames import dataset_frames
from edgeseg.models.activations import DEFAULT_METHOD
from edgeseg.preprocess import resize

DEFAULT_COUNT = 100
RANDOM = "random"
TRAINING = "training"
_SEED = 7


class Calibration(NamedTuple):
    """RGB images (h, w, 3) uint8 of the network's size, and what the manifest says about them."""

    images: list[np.ndarray]
    report: dict[str, Any]


def parse_calibration(text: str) -> int | None:
    """The number of images that `--calibration` asks for, None for random data. Raises UsageError."""
    if text == RANDOM:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--calibration {text!r} is no number of images", "give a number above 0, or: random")
    return int(text)


def from_dataset(dataset: Dataset, imgsz: tuple[int, int], count: int) -> Calibration:
    """`count` images of the train split, evenly spread, the same on every call."""
    frames = dataset_frames(dataset, "train", count)
    images = []
    pixels = np.zeros(256, np.int64)
    for frame in frames.read():
        images.append(resize(frame.image, imgsz))
        pixels += np.bincount(np.asarray(frame.label).ravel(), minlength=256)
    labelled = pixels[: len(dataset.classes)]
    share = labelled / max(1, int(labelled.sum()))
    report = _report("dataset", images) | {
        "dataset": dataset.name,
        "split": "train",
        "coverage": {c.name: round(float(s), 6) for c, s in zip(dataset.classes, share, strict=True)},
    }
    return Calibration(images, report)


def from_noise(imgsz: tuple[int, int], count: int = DEFAULT_COUNT) -> Calibration:
    """Random colours in cells of 1 to 64 pixels: better than white noise, and no stand-in for real images."""
    rng = np.random.default_rng(_SEED)
    images = []
    for i in range(count):
        cell = 2 ** (i % 7)
        coarse = rng.integers(0, 256, (max(2, imgsz[0] // cell), max(2, imgsz[1] // cell), 3), np.uint8)
        images.append(resize(coarse, imgsz))
    return Calibration(images, _report(RANDOM, images))


def from_training(dataset: str) -> dict[str, Any]:
    """What the manifest says of ranges that a network was trained with (`edgeseg train --int8`) on `dataset`."""
    return {"kind": TRAINING, "dataset": dataset, "split": "train", "ranges": DEFAULT_METHOD}


def title(report: dict[str, Any] | None) -> str:
    """A manifest's calibration in a few words."""
    if not report:
        return "nothing"
    if report.get("kind") == RANDOM:
        return f"{report.get('images')} RANDOM images"
    if report.get("kind") == TRAINING:
        return f"the ranges of its training ({report.get('dataset')} {report.get('split')})"
    return f"{report.get('images')} images ({report.get('dataset')} {report.get('split')})"


def _report(kind: str, images: list[np.ndarray]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for image in images:
        digest.update(image.tobytes())
    return {"kind": kind, "images": len(images), "sha256": digest.hexdigest()}
