"""What the border-only upsampling saves, on real logits."""

import itertools
import time
from typing import Any, Callable, Dict, List

import numpy as np

from edgeseg.bundle import Bundle
from edgeseg.opencv import load_cv2
from edgeseg.postprocess import ClassSampler
from edgeseg.segmenter import Segmenter
from edgeseg.stream import open_source

Array = Any

FRAMES = 20


def upsampling_ms(bundle: Bundle, uri: str, device: str) -> Dict[str, float]:
    """Median milliseconds from logits to mask, three ways, on the first frames of `uri`.

    "border_only" is what edgeseg does; "every_pixel" gives the same mask by interpolating all pixels;
    "opencv" is cv2.resize of all channels and numpy.argmax, as most programs do it. A network that gives class ids
    has one way, "nearest".
    """
    cv2 = load_cv2()
    grids: List[Array] = []
    with open_source(uri) as source, Segmenter(bundle, device) as segmenter:
        for frame in itertools.islice(source, FRAMES):
            grids.append(segmenter.logits(frame.image)[0])
            size = frame.image.shape[:2]
        upsampler = segmenter.sampler(size)
    if isinstance(upsampler, ClassSampler):
        return {"nearest": _median_ms(upsampler, grids)}

    def opencv(logits: Array) -> Array:
        large = cv2.resize(logits.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
        return large.argmax(axis=-1).astype(np.uint8)

    ways: Dict[str, Callable[[Array], Array]] = {
        "border_only": upsampler,
        "every_pixel": upsampler.full,
        "opencv": opencv,
    }
    return {name: _median_ms(way, grids) for name, way in ways.items()}


def _median_ms(way: Callable[[Array], Array], grids: List[Array]) -> float:
    times = []
    for grid in grids + grids:  # the first round warms up as well
        start = time.perf_counter()
        way(grid)
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times))
