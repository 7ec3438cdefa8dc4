"""A drive along a generated street: 11 classes of CamVid with exact labels. Feeds `pattern:`.

A pinhole camera 1.4 m above the left lane looks along a street that repeats every 144 m. Ground, houses and
railing are planes, drawn with one perspective warp each; everything else is a picture that faces the camera.
Picture and labels go through the same geometry, so the labels are exact. Positions depend on time alone.
"""

from typing import Any, Callable, List, NamedTuple, Tuple

import numpy as np

from edgeseg.opencv import load_cv2
from edgeseg.stream import props, surfaces
from edgeseg.stream.canvas import CLEAR, Canvas, Level, pick_level
from edgeseg.stream.frame import Array

PERIOD = 144.0  # metres after which the street repeats
FAR = 90.0  # metres to the farthest thing that moves
SPEED = 7.0  # metres per second of the camera
EYE = 1.4  # metres above the road
LANE = -1.9  # metres right of the middle of the road: they drive on the left, as in CamVid
FENCE_X = 5.25


class Prop(NamedTuple):
    """A thing that faces the camera. Two `poses` take turns twice a second."""

    poses: List[List[Level]]
    x: float  # metres right of the middle of the road
    z: float  # metres along the street at time 0
    speed: float  # metres per second along the street
    sway: float  # metres by which it moves to and fro along the street


class Street:
    """A street of one frame size (pixels) and seed; `draw` gives it as seen at any time."""

    def __init__(self, width: int, height: int, seed: int = 0) -> None:
        self._cv2 = load_cv2()
        rng = Random(seed)
        self._size = (width, height)
        self._focal = 0.95 * width  # a view of 56 degrees
        self._centre = 0.5 * width
        self._horizon = 0.42 * height
        length = PERIOD + FAR
        self._sky, self._sky_label = surfaces.sky(rng, self._size, int(self._horizon))
        self._ground = _looped(surfaces.ground(rng, PERIOD), along_rows=True, length=length)
        self._walls = [
            (_looped(surfaces.terrace(rng, PERIOD), False, length), x) for x in (-surfaces.WALL, surfaces.WALL)
        ]
        self._fence = _looped(surfaces.railing(rng, PERIOD), False, length)
        self._props = _furnish(rng)
        self._noise = np.clip(rng.normal(12, 5, (height + 64, width + 64, 3)), 0, 255).astype(np.uint8)

    def draw(self, time: float) -> Tuple[Array, Array]:
        """The street at `time` seconds: image (H, W, 3) uint8 BGR, label (H, W) uint8; new arrays each time."""
        image, label = self._sky.copy(), self._sky_label.copy()
        travelled = SPEED * time
        self._draw_ground(image, label, travelled % PERIOD)
        for wall, x in self._walls:
            self._draw_upright(image, label, wall, (x, surfaces.WALL_HEIGHT), travelled % PERIOD)
        placed = []
        for prop in self._props:
            z = (prop.z + prop.speed * time - travelled + prop.sway * np.sin(0.7 * time + prop.z)) % PERIOD
            if 2.5 < z < FAR:
                placed.append((z, prop))
        placed.sort(key=lambda item: -item[0])
        pose = int(time * 4)
        for z, prop in placed:
            if prop.x > FENCE_X:
                self._draw_prop(image, label, prop, pose, z)
        self._draw_upright(image, label, self._fence, (FENCE_X, surfaces.FENCE_HEIGHT), travelled % PERIOD)
        for z, prop in placed:
            if prop.x <= FENCE_X:
                self._draw_prop(image, label, prop, pose, z)
        return self._photograph(image, int(time * 1000)), label

    def _photograph(self, image: Array, tick: int) -> Array:
        """Soften and add sensor noise, which changes from frame to frame."""
        cv2 = self._cv2
        width, height = self._size
        cv2.GaussianBlur(image, (3, 3), 0, dst=image)
        y, x = (tick * 37) % 64, (tick * 53) % 64
        cv2.add(image, self._noise[y : y + height, x : x + width], dst=image)
        return cv2.subtract(image, (12, 12, 12, 0), dst=image)

    def _draw_ground(self, image: Array, label: Array, travelled: float) -> None:
        texture, ids, ppm = self._ground
        near, f = 2.0, self._focal
        first = int((travelled + near) * ppm)
        start = first / ppm - travelled
        top = int(self._horizon) + 1
        shift = -surfaces.WALL - LANE
        # Texel (u, v) lies at X = u/ppm + shift, Z = v/ppm + start; x = centre + f X/Z, y = horizon + f EYE/Z.
        matrix = np.array(
            [
                [f / ppm, self._centre / ppm, self._centre * start + f * shift],
                [0, (self._horizon - top) / ppm, (self._horizon - top) * start + f * EYE],
                [0, 1 / ppm, start],
            ]
        )
        rows = slice(first, first + int((FAR - near) * ppm))
        self._warp(texture[rows], ids[rows], matrix, (image[top:], label[top:]))

    def _draw_upright(
        self, image: Array, label: Array, plane: Level, place: Tuple[float, float], travelled: float
    ) -> None:
        """Draw a plane along the street: `place` is its x and its height in metres."""
        texture, ids, ppm = plane
        x, height = place[0] - LANE, place[1]
        near, f = 3.0, self._focal
        first = int((travelled + near) * ppm)
        start = first / ppm - travelled
        middle = int(self._centre)
        # Only the half that the plane is in: the warp would mirror it into the other one.
        half, left = (slice(0, middle), 0) if x < 0 else (slice(middle, None), middle)
        centre = self._centre - left
        top = int(self._horizon) if height < EYE else 0
        horizon = self._horizon - top
        matrix = np.array(
            [
                [centre / ppm, 0, centre * start + f * x],
                [horizon / ppm, f / ppm, horizon * start + f * (EYE - height)],
                [1 / ppm, 0, start],
            ]
        )
        columns = slice(first, first + int((FAR - near) * ppm))
        # Its foot is lowest where it leaves the frame at the side.
        bottom = int(self._horizon + EYE * self._centre / abs(x)) + 2
        area = (image[top:bottom, half], label[top:bottom, half])
        self._warp(texture[:, columns], ids[:, columns], matrix, area)

    def _warp(self, texture: Array, ids: Array, matrix: Array, area: Tuple[Array, Array]) -> None:
        cv2 = self._cv2
        size = (area[1].shape[1], area[1].shape[0])
        labels = cv2.warpPerspective(
            ids, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=CLEAR
        )
        pixels = cv2.warpPerspective(texture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        _paste(cv2, pixels, labels, area)

    def _draw_prop(self, image: Array, label: Array, prop: Prop, pose: int, z: float) -> None:
        cv2 = self._cv2
        ppm = self._focal / z
        picture, ids, own_ppm = pick_level(prop.poses[(pose + int(prop.z)) % len(prop.poses)], ppm)
        scale = ppm / own_ppm
        width, height = ids.shape[1] * scale, ids.shape[0] * scale
        left = self._centre + self._focal * (prop.x - LANE) / z - width / 2
        top = self._horizon + self._focal * EYE / z - height
        x0, y0 = max(0, int(left)), max(0, int(top))
        x1, y1 = min(self._size[0], int(left + width) + 1), min(self._size[1], int(top + height) + 1)
        if x0 >= x1 or y0 >= y1:
            return
        # From pixel to texel, both at their centres.
        matrix = np.array(
            [[1 / scale, 0, (x0 + 0.5 - left) / scale - 0.5], [0, 1 / scale, (y0 + 0.5 - top) / scale - 0.5]]
        )
        size = (x1 - x0, y1 - y0)
        how = cv2.WARP_INVERSE_MAP
        labels = cv2.warpAffine(
            ids, matrix, size, flags=how | cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=CLEAR
        )
        pixels = cv2.warpAffine(picture, matrix, size, flags=how | cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        _paste(cv2, pixels, labels, (image[y0:y1, x0:x1], label[y0:y1, x0:x1]))


def _paste(cv2: Any, pixels: Array, labels: Array, area: Tuple[Array, Array]) -> None:
    opaque = (labels != CLEAR).view(np.uint8)  # cv2.compare takes an array of 1x1 for a number
    cv2.copyTo(pixels, opaque, area[0])
    cv2.copyTo(labels, opaque, area[1])


def _looped(canvas: Canvas, along_rows: bool, length: float) -> Level:
    """Repeat a texture to `length` metres, so that a view never meets its end."""
    image, label = canvas.image, canvas.label
    if along_rows:
        image, label = image[::-1], label[::-1]  # y of a canvas runs up, the street runs away
    more = int((length - PERIOD) * canvas.ppm)
    if along_rows:
        return np.concatenate([image, image[:more]]), np.concatenate([label, label[:more]]), canvas.ppm
    return np.hstack([image, image[:, :more]]), np.hstack([label, label[:, :more]]), canvas.ppm


class Random:
    """The few draws that are needed, in the words of numpy.random.Generator, which NumPy 1.13 has not got.

    RandomState gives the same numbers in every version of NumPy.
    """

    def __init__(self, seed: int) -> None:
        state = np.random.RandomState(seed % 2**32)
        self.uniform, self.normal = state.uniform, state.normal
        self.integers, self.random = state.randint, state.random_sample


def _furnish(rng: Any) -> List[Prop]:
    """Everything that stands and moves along the 144 m. A car and a cyclist always ride ahead."""
    people = [_poses(rng, props.person) for _ in range(8)]
    riders = [_poses(rng, props.cyclist) for _ in range(3)]
    rears, fronts = ([[props.car(rng, front)] for _ in range(4)] for front in (False, True))
    trees = [[props.tree(rng)] for _ in range(4)]
    signs = [[props.sign(rng, kind)] for kind in range(4)]
    placed = [Prop(rears[0], LANE, 20.0, SPEED, 4.0), Prop(riders[0], LANE - 1.1, 11.0, SPEED, 2.0)]
    for i in range(4):
        placed.append(Prop(fronts[i], -LANE, 36.0 * i + rng.uniform(0, 15), -8.0, 0.0))
        placed.append(Prop(rears[i], -4.0, 36.0 * i + rng.uniform(0, 20), 0.0, 0.0))
        placed.append(Prop(fronts[i], 4.1, 36.0 * i + rng.uniform(0, 20), 0.0, 0.0))
    for i in range(2):
        placed.append(Prop(riders[1 + i], 3.0, 72.0 * i + rng.uniform(0, 30), -4.0, 0.0))
    for i in range(24):
        side = 1 if i % 3 == 0 else -1
        placed.append(Prop(people[i % 8], side * rng.uniform(5.6, 7.2), 6.0 * i, rng.uniform(-1.4, 1.4), 0.0))
    for i in range(12):
        side = 1 if i % 2 else -1
        placed.append(Prop([props.lamp(rng, side)], side * 5.4, 12.0 * i, 0.0, 0.0))
        placed.append(Prop(signs[int(rng.integers(4))], side * 5.45, 12.0 * i + 5, 0.0, 0.0))
        if i % 3:
            placed.append(Prop(trees[i % 4], side * 7.0, 12.0 * i + rng.uniform(2, 10), 0.0, 0.0))
    return placed


def _poses(rng: Any, draw: Callable[[Any, int], List[Level]]) -> List[List[Level]]:
    """The same figure (the same draws) in its two poses."""
    seed = int(rng.integers(2**31 - 1))
    return [draw(Random(seed), pose) for pose in (0, 1)]
