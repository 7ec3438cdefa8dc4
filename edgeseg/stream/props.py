"""What stands and moves in the generated street: cars, people, trees, poles, signs."""

from typing import Any, List, Sequence

import numpy as np

from edgeseg.stream.canvas import BGR, Canvas, Level, shade

CAR_PAINTS = [(60, 60, 65), (150, 150, 155), (40, 30, 120), (110, 60, 30), (35, 35, 35), (190, 190, 190), (60, 80, 50)]
CLOTHES = [(40, 40, 45), (70, 50, 40), (40, 40, 90), (90, 90, 95), (50, 65, 60), (30, 30, 30), (120, 60, 50)]
SKIN = (120, 150, 190)
METAL = (95, 98, 100)


def _pick(rng: Any, choices: Sequence[BGR]) -> BGR:
    return choices[int(rng.integers(len(choices)))]


def car(rng: Any, front: bool) -> List[Level]:
    """A car from ahead or behind, 2.0 m x 1.6 m."""
    paint = _pick(rng, CAR_PAINTS)
    c = Canvas(2.2, 1.7, 60, paint)
    c.ellipse(1.1, 0.10, 1.05, 0.10, (35, 33, 32), "Road")  # its shadow is still road
    for x in (0.22, 1.72):
        c.rect(x, 0.02, 0.26, 0.5, (22, 22, 22), "Car")
    c.poly([(0.15, 0.3), (2.05, 0.3), (2.1, 0.6), (2.02, 0.95), (0.18, 0.95), (0.1, 0.6)], paint, "Car")
    c.poly([(0.18, 0.93), (2.02, 0.93), (1.72, 1.52), (1.5, 1.6), (0.7, 1.6), (0.48, 1.52)], paint, "Car")
    c.poly([(0.36, 0.97), (1.84, 0.97), (1.62, 1.46), (0.58, 1.46)], (62, 55, 48))
    c.poly([(0.36, 0.97), (1.0, 0.97), (0.8, 1.46), (0.58, 1.46)], (105, 98, 88))  # sky in the glass
    c.rect(0.14, 0.28, 1.92, 0.16, shade(paint, 0.6))
    c.rect(0.85, 0.46, 0.5, 0.12, (225, 225, 225) if front else (70, 190, 215))
    for x in (0.16, 1.72):
        c.rect(x, 0.62, 0.32, 0.18, (235, 235, 225) if front else (45, 35, 170))
    if front:
        c.rect(0.6, 0.62, 1.0, 0.16, (35, 35, 35))
    c.grain(rng, 6, 0.1)
    return c.levels()


def person(rng: Any, pose: int) -> List[Level]:
    """A pedestrian, 1.75 m tall; the two poses make a walk."""
    top, legs = _pick(rng, CLOTHES), _pick(rng, CLOTHES[:3])
    c = Canvas(0.8, 1.85, 80, top)
    stride = 0.16 if pose else 0.04
    c.poly([(0.30, 0.9), (0.42, 0.9), (0.34 - stride, 0.02), (0.22 - stride, 0.02)], legs, "Pedestrian")
    c.poly([(0.38, 0.9), (0.52, 0.9), (0.58 + stride, 0.02), (0.46 + stride, 0.02)], shade(legs, 0.8), "Pedestrian")
    c.poly([(0.22, 1.45), (0.58, 1.45), (0.55, 0.82), (0.26, 0.82)], top, "Pedestrian")
    c.poly([(0.20, 1.43), (0.28, 1.43), (0.24 - stride / 2, 0.85), (0.15 - stride / 2, 0.85)], top, "Pedestrian")
    c.poly([(0.52, 1.43), (0.60, 1.43), (0.65 + stride / 2, 0.85), (0.56 + stride / 2, 0.85)], top, "Pedestrian")
    c.ellipse(0.4, 1.60, 0.11, 0.15, SKIN, "Pedestrian")
    c.ellipse(0.4, 1.67, 0.12, 0.10, shade(_pick(rng, CLOTHES), 0.6), "Pedestrian")
    c.grain(rng, 8, 0.05)
    return c.levels()


def cyclist(rng: Any, pose: int) -> List[Level]:
    """A person on a bicycle seen from behind, 1.8 m tall; the two poses turn the pedals."""
    top = (60, 210, 215) if rng.random() < 0.5 else _pick(rng, CLOTHES)
    c = Canvas(0.9, 1.9, 80, top)
    c.rect(0.41, 0.0, 0.08, 0.7, (25, 25, 25), "Bicyclist")
    lift = 0.14 if pose else -0.14
    for x, y in ((0.27, 0.28 + lift), (0.51, 0.28 - lift)):
        c.rect(x, y, 0.13, 0.75 - lift / 4, (45, 38, 35), "Bicyclist")
        c.rect(x, y - 0.06, 0.13, 0.1, (30, 30, 30), "Bicyclist")
    c.poly([(0.25, 0.95), (0.65, 0.95), (0.68, 1.48), (0.22, 1.48)], top, "Bicyclist")
    c.poly([(0.14, 1.0), (0.24, 1.0), (0.30, 1.46), (0.22, 1.46)], shade(top, 0.8), "Bicyclist")
    c.poly([(0.66, 1.0), (0.76, 1.0), (0.68, 1.46), (0.60, 1.46)], shade(top, 0.8), "Bicyclist")
    c.rect(0.12, 0.98, 0.66, 0.04, (40, 40, 40), "Bicyclist")
    c.ellipse(0.45, 1.62, 0.11, 0.15, SKIN, "Bicyclist")
    c.ellipse(0.45, 1.70, 0.13, 0.10, (60, 60, 65), "Bicyclist")
    c.grain(rng, 8, 0.05)
    return c.levels()


def lamp(rng: Any, side: int) -> List[Level]:
    """A street lamp of 7 m whose arm hangs over the road (`side` -1: it stands left of it)."""
    c = Canvas(2.4, 7.2, 40, METAL)
    c.rect(1.12, 0, 0.18, 1.2, shade(METAL, 0.8), "Pole")
    c.rect(1.15, 0, 0.12, 7.0, METAL, "Pole")
    x = 1.2 if side < 0 else 0.1
    c.rect(x, 6.9, 1.1, 0.1, METAL, "Pole")
    c.rect(x + (0.7 if side < 0 else 0.0), 6.8, 0.45, 0.16, (170, 172, 172), "Pole")
    c.grain(rng, 6)
    return c.levels()


def sign(rng: Any, kind: int) -> List[Level]:
    """A pole with a round sign, a triangle, a yellow board, or a traffic light."""
    c = Canvas(1.0, 3.4, 60, METAL)
    c.rect(0.45, 0, 0.10, 3.2, METAL, "Pole")
    if kind == 0:
        c.ellipse(0.5, 2.85, 0.40, 0.40, (40, 35, 190), "SignSymbol")
        c.ellipse(0.5, 2.85, 0.29, 0.29, (235, 235, 235))
        c.rect(0.40, 2.72, 0.20, 0.26, (30, 30, 30))
    elif kind == 1:
        c.poly([(0.05, 2.45), (0.95, 2.45), (0.5, 3.3)], (40, 35, 190), "SignSymbol")
        c.poly([(0.22, 2.55), (0.78, 2.55), (0.5, 3.08)], (235, 235, 235))
    elif kind == 2:
        c.rect(0.05, 2.5, 0.9, 0.8, (40, 185, 225), "SignSymbol")
        for y in (2.65, 2.85, 3.05):
            c.rect(0.15, y, 0.7, 0.08, (30, 30, 30))
    else:
        c.rect(0.28, 2.4, 0.44, 0.95, (25, 25, 25), "SignSymbol")
        for y, color in ((2.55, (90, 200, 60)), (2.87, (30, 60, 70)), (3.19, (30, 30, 80))):
            c.ellipse(0.5, y, 0.12, 0.12, color)
    c.grain(rng, 6)
    return c.levels()


def tree(rng: Any) -> List[Level]:
    """A street tree of 7.5 m: a trunk and a crown of leaves with ragged edges."""
    green = shade((45, 85, 75), float(rng.uniform(0.7, 1.15)))
    c = Canvas(5.2, 7.6, 32, shade(green, 0.8))
    c.poly([(2.42, 0), (2.82, 0), (2.70, 3.6), (2.52, 3.6)], (48, 58, 66), "Tree")
    for _ in range(70):
        angle, radius = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform()) * 0.85
        x, y = 2.6 + 2.2 * radius * np.cos(angle), 5.0 + 2.2 * radius * np.sin(angle)
        light = 0.55 + 0.25 * (y - 2.8) / 4 + rng.uniform(0, 0.3)  # the sun stands above
        c.ellipse(x, y, rng.uniform(0.2, 0.55), rng.uniform(0.2, 0.45), shade(green, light), "Tree")
    c.grain(rng, 16, 0.12)
    c.grain(rng, 10)
    return c.levels()
