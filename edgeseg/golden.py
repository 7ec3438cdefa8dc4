"""The golden frame of a bundle: one image and the logits it must give, to check an engine built on a board."""

import io
from typing import Any, NamedTuple

import numpy as np

from edgeseg.errors import BundleError

Array = Any


class Golden(NamedTuple):
    """`image` (H, W, 3) uint8 RGB of the network's size; `logits` (h, w, classes) float32 of the bundle's own graph."""

    image: Array
    logits: Array


def pack_golden(golden: Golden) -> bytes:
    """The bytes of the `golden` payload: an .npz archive, the same for the same content."""
    file = io.BytesIO()
    np.savez(file, image=golden.image, logits=golden.logits)
    return file.getvalue()


def unpack_golden(data: bytes) -> Golden:
    """Read a `golden` payload. Raises BundleError if it is damaged or not one."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            golden = Golden(archive["image"], archive["logits"])
    except Exception as error:  # zipfile, numpy's header parser and struct each raise their own
        raise BundleError("the golden frame is damaged: {}".format(error), "export the network again")
    image, logits = golden
    shapes = image.ndim == 3 and image.shape[2] == 3 and logits.ndim == 3
    if not shapes or image.dtype != np.uint8 or logits.dtype != np.float32 or not np.isfinite(logits).all():
        raise BundleError("the golden frame is not an image and its logits", "export the network again")
    return golden
