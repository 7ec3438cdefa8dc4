"""Images that show the same thing: a perceptual hash, and the search for images whose hashes are near.

The hash is pHash (C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010) with 16x16
frequencies instead of 8x8: with 64 bits, roads of different drives come as near (6 bits) as frames of one.

Bits of 256 that differ, measured on CamVid and IDD-Lite, median (and range):

    the same image as JPEG of quality 10, half as large, brighter, darker, blurred, noisy    0 to 14 (0 to 28)
    cropped by 2 % at each side, with a time stamp, turned by 2 degrees                     24 to 39 (8 to 56)
    video frames 0.07 s apart                                                               20 (10 to 38)
                 0.13 s                                                                     34 (18 to 58)
                 0.35 s                                                                     68 (36 to 108)
                 1 s                                                                        92 (8 to 160)
    of different drives: 1,284,168 pairs of IDD-Lite, 55,977 of CamVid                     126 (68 and 92 at least)
"""

from typing import Any, Iterator, Tuple

import numpy as np

from edgeseg.opencv import load_cv2

Array = Any  # numpy.ndarray; numpy of Python 3.6 has no type stubs

BITS = 256
NEAR = 48  # bits; see above: well below what different places have, and above what copies have
_SIDE = 32  # pixels of the image whose frequencies are taken
_BLOCK = 512  # rows compared at a time: 51 MB against 25,000 images


def image_hash(image: Array) -> bytes:
    """The 32 bytes of the hash of an image (H, W, 3) uint8."""
    cv2 = load_cv2()
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32))[:16, :16]
    return np.packbits(low > np.median(low)).tobytes()


def scenes(hashes: Array) -> Array:
    """A number (n,) for each hash (n, 32) uint8, the same where images are chained by near-duplicates.

    Frames of a video that moves slowly are so one scene, though the first and the last may differ.
    """
    numbers = np.arange(len(hashes))
    for distance in _distances(hashes, hashes):
        near = distance <= NEAR
        for row in np.flatnonzero(near.sum(axis=1) > 1):
            linked = numbers[near[row]]
            if (linked != linked[0]).any():
                numbers[np.isin(numbers, linked)] = linked[0]
    return numbers


def nearest(hashes: Array, others: Array) -> Tuple[Array, Array]:
    """For hashes (n, 32) uint8 the index (n,) of the nearest of `others` (m, 32), m > 0, and the bits that differ."""
    index = [distance.argmin(axis=1) for distance in _distances(hashes, others)]
    nearest_of = np.concatenate(index) if index else np.zeros(0, int)
    return nearest_of, bits_between(hashes, others[nearest_of])


def bits_between(hashes: Array, others: Array) -> Array:
    """Bits (n,) that differ between hashes (n, 32) uint8 and those of the same row."""
    return np.unpackbits(hashes ^ others, axis=1).sum(axis=1)


def _distances(hashes: Array, others: Array) -> Iterator[Array]:
    """Bits that differ (rows, m) float32, block by block.

    As products of matrices of -1 and 1, which is exact; 25,000 against 25,000 took 7 s on one core of a PC.
    """
    signs = _signs(others).T
    for first in range(0, len(hashes), _BLOCK):
        yield (BITS - _signs(hashes[first : first + _BLOCK]).dot(signs)) / 2


def _signs(hashes: Array) -> Array:
    return 2 * np.unpackbits(hashes, axis=1).astype(np.float32) - 1
