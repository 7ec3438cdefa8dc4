"""`pattern:` - a generated street in motion with exact labels, for machines without camera or data."""

import re
import time
from typing import Optional, Tuple

from edgeseg.errors import UsageError
from edgeseg.palette import CAMVID
from edgeseg.stream.base import Source, frame_name
from edgeseg.stream.frame import Array, Frame
from edgeseg.stream.street import Street
from edgeseg.stream.uri import positive_int, split_query

FORM = "pattern:WIDTHxHEIGHT@FPS?seed=N&frames=N, for example pattern:480x360@30?seed=3&frames=100"
LIMITS = (32, 4096)  # pixels


class PatternSource(Source):
    """A drive along a generated street: every frame in order, as fast as they are asked for, with `label`.

    Frame k of a seed is the same however it is reached. Labels have the 11 classes of palette.CAMVID.
    """

    classes = CAMVID

    def __init__(
        self, size: Tuple[int, int] = (480, 360), fps: float = 30.0, seed: int = 0, frames: Optional[int] = None
    ) -> None:
        if not all(LIMITS[0] <= side <= LIMITS[1] for side in size) or not 0.1 <= fps <= 1000:
            raise UsageError(
                "pattern: cannot be {}x{} at {:g} FPS".format(size[0], size[1], fps),
                "sides are {} to {} pixels, FPS 0.1 to 1000".format(*LIMITS),
            )
        self.name = "pattern:{}x{}".format(*size)
        self.size = size
        self.fps = fps
        self.frames = frames
        self.seed = seed
        self._street = Street(size[0], size[1], seed)
        self._sequence = 0

    @classmethod
    def from_uri(cls, text: str) -> "PatternSource":
        """Build from what follows "pattern:". Raises UsageError."""
        rest, options = split_query(text, {"seed": int, "frames": positive_int})
        match = re.match(r"(?:(\d{1,5})x(\d{1,5}))?(?:@(\d{1,4}(?:\.\d+)?))?$", rest)
        if not match:
            raise UsageError("pattern:{} is not understood".format(rest), FORM)
        width, height, fps = match.groups()
        size = (int(width), int(height)) if width else (480, 360)
        return cls(size, float(fps or 30), options.get("seed", 0), options.get("frames"))

    def read(self) -> Optional[Frame]:
        sequence = self._sequence
        if self.frames is not None and sequence >= self.frames:
            return None
        self._sequence += 1
        captured = time.monotonic()
        image, label = self._street.draw(sequence / self.fps)
        return Frame(image, sequence, captured, frame_name(sequence), label)

    def close(self) -> None:
        self.frames = 0


def scene(width: int, height: int, index: int, seed: int = 0, fps: float = 30.0) -> Tuple[Array, Array]:
    """Frame `index` of a street: image (height, width, 3) uint8 BGR and labels (height, width) uint8.

    Builds the whole street for one picture; for a sequence use PatternSource.
    """
    return Street(width, height, seed).draw(index / fps)
