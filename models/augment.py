"""Augmentation for driving scenes: scale, crop, flip, colour. Deterministic for a given generator."""

import math
from typing import NamedTuple

import cv2
import numpy as np

from edgeseg.palette import UNLABELED

Pixels = np.ndarray


class Sizes(NamedTuple):
    """Height and width of the network's input, and of the crops that it is trained on."""

    imgsz: tuple[int, int]
    crop: tuple[int, int]


class Augmentation(NamedTuple):
    """Ranges to draw from. The defaults suit cameras on vehicles (upright scenes, one horizon)."""

    scale: tuple[float, float] = (0.6, 2.0)
    stretch: float = 0.1  # aspect ratio change, +- share
    flip: bool = True
    brightness: float = 0.25  # +- share of full range
    contrast: float = 0.45  # +- share
    saturation: float = 0.6  # +- share
    hue: float = 10.0  # +- degrees
    gamma: float = 0.7  # +- in log units: dusk to glare
    white_balance: float = 0.15  # +- in log units, each channel by itself
    blur: float = 0.1  # probability of a soft image
    rare_crop: float = 0.5  # probability that a crop is centred on a pixel of a rare class


def largest_used(imgsz: tuple[int, int], options: Augmentation) -> tuple[int, int]:
    """Height and width of images at the largest scale that is drawn: of larger ones no sample shows all pixels."""
    scale, stretch = options.scale[1], options.stretch
    return math.ceil(imgsz[0] * scale / (1 - stretch)), math.ceil(imgsz[1] * scale * (1 + stretch))


def augment(
    image: Pixels,
    label: Pixels,
    sizes: Sizes,
    class_weights: Pixels,
    rng: np.random.Generator,
    options: Augmentation,
) -> tuple[Pixels, Pixels]:
    """Draw one training sample: image (h, w, 3) float32 in [-1, 1], label (h, w) uint8, (h, w) = sizes.crop.

    `class_weights` (classes,) says how much each class is wanted in the middle of a crop.
    """
    crop = sizes.crop
    matrix = _crop_matrix(label, sizes, class_weights, rng, options)
    size = (crop[1], crop[0])
    image = cv2.warpAffine(
        image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(128, 128, 128)
    )
    label = cv2.warpAffine(
        label, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=UNLABELED
    )
    return _jitter(image, rng, options), label


def _crop_matrix(
    label: Pixels,
    sizes: Sizes,
    class_weights: Pixels,
    rng: np.random.Generator,
    options: Augmentation,
) -> Pixels:
    """The 2x3 affine map from image to crop: scale, stretch, flip, and where to cut."""
    imgsz, crop = sizes
    height, width = label.shape
    low, high = np.log(options.scale)
    scale = np.exp(rng.uniform(low, high))
    stretch = 1 + rng.uniform(-options.stretch, options.stretch)
    # Scale 1 is that of the network's input, whatever part of it a crop shows.
    sx = imgsz[1] / width * scale * stretch
    sy = imgsz[0] / height * scale / stretch
    focus = _focus(label, class_weights, rng) if rng.random() < options.rare_crop else None
    offsets = []
    for size, side, axis in ((width * sx, crop[1], 1), (height * sy, crop[0], 0)):
        slack = size - side
        if focus is None or slack < 0:
            offsets.append(rng.uniform(min(slack, 0), max(slack, 0)))
        else:
            centre = focus[axis] * size + rng.uniform(-0.3, 0.3) * side
            offsets.append(float(np.clip(centre - side / 2, 0, slack)))
    # Pixel centres are at half integers: map (x + 0.5) * s - offset - 0.5.
    matrix = np.array([[sx, 0, 0.5 * sx - 0.5 - offsets[0]], [0, sy, 0.5 * sy - 0.5 - offsets[1]]])
    if options.flip and rng.random() < 0.5:
        matrix[0] *= -1
        matrix[0, 2] += crop[1] - 1
    return matrix


def _focus(label: Pixels, class_weights: Pixels, rng: np.random.Generator) -> tuple[float, float] | None:
    """Relative (y, x) of a random pixel of a class drawn by weight among those present."""
    present = np.bincount(label.ravel(), minlength=256)[: len(class_weights)] > 0
    weights = class_weights * present
    if weights.sum() == 0:
        return None
    chosen = rng.choice(len(weights), p=weights / weights.sum())
    pixels = np.flatnonzero(label.ravel() == chosen)
    y, x = divmod(int(pixels[rng.integers(len(pixels))]), label.shape[1])
    return y / label.shape[0], x / label.shape[1]


def _jitter(image: Pixels, rng: np.random.Generator, options: Augmentation) -> Pixels:
    """Colour and sharpness changes; returns float32 in [-1, 1]."""
    if rng.random() < options.blur:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2))
    if options.hue or options.saturation:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        turn = round(rng.uniform(-options.hue, options.hue) / 2)  # OpenCV's unit is 2 degrees
        gain = 1 + rng.uniform(-options.saturation, options.saturation)
        hue = (hsv[..., 0].astype(np.int16) + turn) % 180
        hsv[..., 0] = hue.astype(np.uint8)
        hsv[..., 1] = cv2.convertScaleAbs(hsv[..., 1], alpha=gain)
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    ramp = np.arange(256, dtype=np.float32) / 255
    ramp = ramp ** np.exp(rng.uniform(-options.gamma, options.gamma))
    ramp = (ramp - 0.5) * (1 + rng.uniform(-options.contrast, options.contrast)) + 0.5
    ramp = ramp + rng.uniform(-options.brightness, options.brightness)
    gains = np.exp(rng.uniform(-options.white_balance, options.white_balance, 3))
    tables = (np.clip(ramp[:, None] * gains, 0, 1) * 2 - 1).astype(np.float32)  # (256, 3)
    return np.stack([tables[:, channel][image[..., channel]] for channel in range(3)], axis=-1)
