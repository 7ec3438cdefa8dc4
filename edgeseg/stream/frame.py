"""A frame of a source."""

from typing import Any, NamedTuple, Optional

Array = Any


class Frame(NamedTuple):
    """One picture and where it came from. It owns `image`: nothing overwrites it later."""

    image: Array  # (H, W, 3) uint8, BGR (OpenCV's order)
    sequence: int  # 0, 1, 2, ... as the device delivered them; a gap is a dropped frame
    captured: float  # time.monotonic() in seconds when the frame was grabbed, before it was decoded
    name: str  # base name for files made from this frame: "frame000012", or the stem of its image file
    label: Optional[Array] = None  # (H, W) uint8 ground truth, 255 unlabelled; only from `pattern:`
    dropped: int = 0  # frames of a live source that were skipped before this one, in total
