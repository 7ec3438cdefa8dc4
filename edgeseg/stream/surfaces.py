"""The flat parts of the generated street: ground, terraces of houses, railing, sky."""

from typing import Any, Tuple

import numpy as np

from edgeseg.stream.canvas import BGR, ID, Canvas, shade
from edgeseg.stream.frame import Array

ROAD = 5.0  # metres from the middle of the road to the kerb
WALL = 8.0  # metres from the middle of the road to the houses
WALL_HEIGHT = 13.0
FENCE_HEIGHT = 1.1

BRICKS = [
    (70, 85, 125),
    (95, 115, 140),
    (150, 165, 175),
    (115, 120, 125),
    (55, 70, 100),
    (175, 185, 190),
    (85, 95, 105),
]
SHOPS = [(40, 40, 120), (70, 90, 30), (120, 60, 40), (50, 50, 50), (60, 130, 150)]


def ground(rng: Any, length: float, ppm: float = 16) -> Canvas:
    """Road, kerbs and pavements from above: x across (0 at the left wall), y along the street."""
    left, right = WALL - ROAD, WALL + ROAD
    c = Canvas(2 * WALL, length, ppm, (118, 116, 114), ID["Pavement"])
    for y in np.arange(0, length, 0.9):
        for x0 in (0.0, right):
            c.rect(x0, y, WALL - ROAD, 0.06, (92, 90, 88))
    for x in list(np.arange(0.7, left, 0.75)) + list(np.arange(right + 0.7, 2 * WALL, 0.75)):
        c.rect(x, 0, 0.06, length, (96, 94, 92))
    c.rect(left, 0, right - left, length, (84, 80, 78), "Road")
    for _ in range(int(length / 6)):  # mended asphalt
        x, y, light = rng.uniform(left, right - 2), rng.uniform(0, length), rng.uniform(0.75, 1.15)
        c.rect(x, y, min(rng.uniform(0.5, 3), right - x), rng.uniform(1, 6), shade((84, 80, 78), light))
    c.grain(rng, 5, 1.5)
    c.grain(rng, 6, 0.2)
    c.grain(rng, 9)
    for y in np.arange(0, length, 6.0):
        c.rect(WALL - 0.08, y, 0.16, 2.5, (215, 215, 215))
    for x in (left + 0.3, left + 0.5, right - 0.38, right - 0.58):
        c.rect(x, 0, 0.08, length, (70, 150, 165))
    for x in (left - 0.2, right):
        c.rect(x, 0, 0.2, length, (150, 150, 150), "Pavement")
    return c


def terrace(rng: Any, length: float, ppm: float = 16) -> Canvas:
    """A row of houses from the road: x along the street, y up. Gaps have a garden fence and a hedge."""
    c = Canvas(length, WALL_HEIGHT, ppm, (90, 95, 100))
    x, since_gap = 0.0, 0
    while x < length:
        width = min(float(rng.uniform(7, 13)), length - x)
        if since_gap >= 2 and rng.random() < 0.5:
            width = min(width, 7.0)
            _garden(c, rng, x, width)
            since_gap = 0
        else:
            _house(c, rng, x, width)
            since_gap += 1
        x += width
    c.grain(rng, 8, 0.4)
    c.grain(rng, 7)
    return c


def _house(c: Canvas, rng: Any, x: float, width: float) -> None:
    floors = int(rng.integers(2, 4))
    top = floors * 3.1 + 0.6
    wall = BRICKS[int(rng.integers(len(BRICKS)))]
    c.rect(x, 0, width, top, wall, "Building")
    roof = float(rng.uniform(0.3, 2.0))
    c.poly([(x, top), (x + width, top), (x + width - 0.4, top + roof), (x + 0.4, top + roof)], (75, 72, 72), "Building")
    for y in np.arange(0.3, top, 0.3):  # courses of bricks
        c.rect(x, y, width, 0.04, shade(wall, 0.88))
    columns = max(2, int(width / 2.6))
    pitch = width / columns
    frame = (210, 212, 212) if rng.random() < 0.7 else shade(wall, 0.6)
    for floor in range(1, floors):
        for column in range(columns):
            _window(c, rng, (x + pitch * (column + 0.5) - 0.6, floor * 3.1 + 0.9), (1.2, 1.6), frame)
    if rng.random() < 0.6:  # a shop
        c.rect(x + 0.3, 0.4, width - 0.6, 2.3, (52, 50, 48))
        for bay in np.arange(x + 0.3, x + width - 0.6, 1.9):
            c.rect(bay, 0.4, 0.12, 2.3, frame)
        c.rect(x + 0.15, 2.7, width - 0.3, 0.6, SHOPS[int(rng.integers(len(SHOPS)))])
        c.rect(x + width * 0.3, 2.85, width * 0.4, 0.28, (200, 205, 205))
    else:
        for column in range(1, columns):
            _window(c, rng, (x + pitch * (column + 0.5) - 0.6, 0.9), (1.2, 1.5), frame)
        c.rect(x + pitch * 0.5 - 0.5, 0, 1.0, 2.2, SHOPS[int(rng.integers(len(SHOPS)))])
    c.rect(x, 0, 0.12, top, shade(wall, 0.55))


def _window(c: Canvas, rng: Any, corner: Tuple[float, float], size: Tuple[float, float], frame: BGR) -> None:
    (x, y), (width, height) = corner, size
    glass = shade((95, 85, 75), float(rng.uniform(0.45, 1.3)))
    c.rect(x - 0.1, y - 0.1, width + 0.2, height + 0.2, frame)
    c.rect(x, y, width, height, glass)
    c.rect(x + width / 2 - 0.04, y, 0.08, height, frame)
    c.rect(x, y + height * 0.55, width, 0.07, frame)


def _garden(c: Canvas, rng: Any, x: float, width: float) -> None:
    for _ in range(int(width * 9)):
        light = float(rng.uniform(0.5, 1.1))
        centre = rng.uniform(x + 0.4, x + width - 0.4), rng.uniform(0.8, 4.6)
        c.ellipse(centre[0], centre[1], 0.7, 0.6, shade((45, 80, 70), light), "Tree")
    c.rect(x, 0, width, 1.5, (50, 60, 68), "Fence")
    for post in np.arange(x, x + width, 0.25):
        c.rect(post, 0, 0.14, 1.5, (75, 88, 98))


def railing(rng: Any, length: float, ppm: float = 24) -> Canvas:
    """A railing at the kerb, with gaps; as in CamVid the label covers what one sees between its bars."""
    c = Canvas(length, FENCE_HEIGHT, ppm, (85, 88, 90))
    x = 0.0
    while x < length:
        run = min(float(rng.uniform(14, 26)), length - x)
        c.rect(x, 0, run, FENCE_HEIGHT, (88, 87, 86), "Fence")
        for bar in np.arange(x, x + run, 0.16):
            c.rect(bar, 0.05, 0.06, FENCE_HEIGHT - 0.1, (52, 54, 55))
        for post in np.arange(x, x + run, 2.0):
            c.rect(post, 0, 0.1, FENCE_HEIGHT, (48, 50, 52))
        for y in (0.08, FENCE_HEIGHT - 0.1):
            c.rect(x, y, run, 0.08, (48, 50, 52))
        x += run + float(rng.uniform(3, 9))
    return c


def sky(rng: Any, size: Tuple[int, int], horizon: int) -> Tuple[Array, Array]:
    """What is too far to move: sky with clouds, and the end of the street at the horizon.

    `size` is (width, height) in pixels. Returns image and label of the whole frame.
    """
    width, height = size
    c = Canvas(width, height, 1, (225, 215, 205), ID["Sky"])
    cv2 = c.cv2
    clouds = np.zeros((height, width), np.float32)
    for cells, weight in ((3, 0.5), (7, 0.3), (17, 0.2)):
        noise = rng.random((cells, cells)).astype(np.float32)
        clouds += weight * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    clouds = np.clip((clouds - 0.42) * 5, 0, 1)[:, :, None]
    fade = np.linspace(0, 1, max(2, horizon))[:, None, None]
    blue = np.array((228, 190, 150)) * (1 - fade) + np.array((240, 228, 215)) * fade
    c.image[:horizon] = blue[:horizon] * (1 - clouds[:horizon]) + 244 * clouds[:horizon]
    ground_y = height - horizon
    c.rect(0, 0, width, ground_y, (90, 87, 85), "Road")
    unit = width / 480.0
    for x in np.arange(0.42 * width, 0.58 * width, 4 * unit):
        top = float(rng.uniform(7, 19)) * unit
        c.rect(
            x, ground_y - 6 * unit, 5 * unit, top + 6 * unit, shade((128, 130, 132), rng.uniform(0.8, 1.2)), "Building"
        )
    for x in np.arange(0.40 * width, 0.60 * width, 5 * unit):
        y = ground_y + float(rng.uniform(-3, 5)) * unit
        c.ellipse(x, y, 5 * unit, float(rng.uniform(4, 8)) * unit, shade((75, 95, 88), rng.uniform(0.8, 1.2)), "Tree")
    return c.image, c.label
