"""From a camera frame to the network's input tensor."""

from typing import Any, Optional, Tuple

import numpy as np

from edgeseg.errors import UsageError
from edgeseg.manifest import InputInfo
from edgeseg.opencv import load_cv2

Array = Any


def resize(image: Array, size: Tuple[int, int], out: Optional[Array] = None) -> Array:
    """Resize (H, W, 3) uint8 to `size` (height, width), half-pixel centres, into `out` if given.

    Bilinear; area averaging where the image is at least twice as large, which bilinear would alias.
    """
    cv2 = load_cv2()
    shrinks = image.shape[0] >= 2 * size[0] and image.shape[1] >= 2 * size[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (size[1], size[0]), dst=out, interpolation=method)


def check_image(image: Array, color: str) -> None:
    """Raise UsageError unless `image` is (H, W, 3) uint8 and `color` is "bgr" or "rgb"."""
    if color not in ("bgr", "rgb"):
        raise UsageError("color {!r} is not a channel order".format(color), 'use "bgr" (OpenCV) or "rgb"')
    shape, dtype = getattr(image, "shape", None), getattr(image, "dtype", type(image).__name__)
    if shape is None or len(shape) != 3 or shape[2] != 3 or dtype != np.uint8 or not image.size:
        raise UsageError(
            "an image must be an array (height, width, 3) of uint8, not {} of {}".format(shape, dtype),
            "convert a grey image with cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)",
        )


class InputWriter:
    """Writes frames into the input tensor of a network; scratch memory and tables are made once."""

    def __init__(self, info: InputInfo, imgsz: Tuple[int, int]) -> None:
        self._info = info
        self._imgsz = imgsz
        self._is_float = info.dtype == "float32"
        self._scratch = np.empty(imgsz + (3,), np.uint8) if self._is_float or info.layout != "nhwc" else None
        self._table = None if self._is_float else _table(info)
        self._scale, self._offset = _row(info.scale, imgsz[1]), _row(info.offset, imgsz[1])

    def covered(self, size: Tuple[int, int]) -> Tuple[int, int]:
        """Height and width of the input that a frame of `size` (height, width) fills, in pixels.

        All of it for fit "stretch". For "letterbox" the frame keeps its aspect ratio, at the top left.
        """
        if self._info.fit == "stretch":
            return self._imgsz
        scale = min(self._imgsz[0] / size[0], self._imgsz[1] / size[1])
        return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))

    def write(self, image: Array, color: str, tensor: Array) -> None:
        """Resize `image` (H, W, 3) uint8 straight into `tensor`, in the network's colours and range."""
        cv2 = load_cv2()
        pixels = tensor[0].view(np.uint8) if self._scratch is None else self._scratch
        height, width = self.covered(image.shape[:2])
        if (height, width) == self._imgsz:
            resize(image, self._imgsz, out=pixels)
        else:
            pixels[:] = 128
            pixels[:height, :width] = resize(image, (height, width))
        if color != self._info.color:
            cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
        target = tensor[0] if self._info.layout == "nhwc" else tensor[0].transpose(1, 2, 0)
        if self._is_float:
            self._fill_floats(pixels, target)
        else:
            self._fill_bytes(pixels, target)

    def _fill_floats(self, pixels: Array, target: Array) -> None:
        if self._info.scale == (1, 1, 1) and self._info.offset == (0, 0, 0):
            np.copyto(target, pixels, casting="unsafe")
        else:
            np.multiply(pixels, self._scale, out=target, casting="unsafe")
            target += self._offset

    def _fill_bytes(self, pixels: Array, target: Array) -> None:
        if self._table is not None:
            load_cv2().LUT(pixels, self._table, dst=pixels)
        elif self._info.dtype == "int8":
            np.bitwise_xor(pixels, 128, out=pixels)  # pixel - 128 in two's complement
        if pixels is self._scratch:
            np.copyto(target.view(np.uint8), pixels)


def _row(values: Tuple[float, float, float], width: int) -> Array:
    """One float32 if the channels are alike, which is fastest; else a row of pixels (width, 3)."""
    return np.float32(values[0]) if len(set(values)) == 1 else np.tile(np.array(values, np.float32), (width, 1))


def _table(info: InputInfo) -> Optional[Array]:
    """(1, 256, 3) uint8: the bytes that stand for each pixel value. None where they are pixel, or pixel - 128."""
    if info.scale == (1, 1, 1) and info.offset == ((0, 0, 0) if info.dtype == "uint8" else (-128, -128, -128)):
        return None
    limits = np.iinfo(info.dtype)
    values = np.arange(256)[None, :, None] * np.array(info.scale) + np.array(info.offset)
    return np.rint(values).clip(limits.min, limits.max).astype(info.dtype).view(np.uint8)
