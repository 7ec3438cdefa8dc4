"""From a camera frame to the network's input tensor."""

from typing import Any, Optional, Tuple

from edgeseg.opencv import load_cv2

Array = Any


def resize(image: Array, size: Tuple[int, int], out: Optional[Array] = None) -> Array:
    """Resize (H, W, 3) uint8 to `size` (height, width), bilinear, half-pixel centres, into `out`."""
    cv2 = load_cv2()
    return cv2.resize(image, (size[1], size[0]), dst=out, interpolation=cv2.INTER_LINEAR)
