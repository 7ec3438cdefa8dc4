"""The result of segmenting one frame."""

import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from edgeseg.opencv import load_cv2
from edgeseg.palette import SegClass
from edgeseg.postprocess import Sampler, margin_to_confidence

Array = Any


class Contour(NamedTuple):
    """The outline of one connected area of a class: points (n, 2) int32 as x, y in pixels."""

    label: SegClass
    points: Array
    area: float  # pixels


class Segmentation:
    """Classes of every pixel of one frame. It owns its arrays: later frames do not change it.

    Attributes:
        mask: (H, W) uint8, class ids; 255 where the confidence is under `min_confidence`, or the network gives
            an id that no class has.
        classes: the classes of the network.
        sequence: number of the frame in its source.
        captured: time.monotonic() at which the frame was captured, seconds.
        latency_ms: milliseconds that segmenting took, by stage.
    """

    def __init__(
        self,
        mask: Array,
        classes: Tuple[SegClass, ...],
        logits: Array,
        logit_scale: float,
        sampler: Sampler,
    ) -> None:
        self.mask = mask
        self.classes = classes
        self.sequence = 0
        self.captured = time.monotonic()
        self.latency_ms: Dict[str, float] = {}
        self._logits = logits
        self._logit_scale = logit_scale
        self._sampler = sampler
        self._counts: Optional[Array] = None

    @property
    def size(self) -> Tuple[int, int]:
        """Width and height of the mask in pixels."""
        return self.mask.shape[1], self.mask.shape[0]

    @property
    def age_s(self) -> float:
        """Seconds since the frame was captured."""
        return time.monotonic() - self.captured

    @property
    def confidence(self) -> Array:
        """(H, W) float32 in 0..1: lead of the winning class over the second, (p1 - p2) / (p1 + p2).

        Raises UsageError where the network gives classes instead of logits.
        """
        return margin_to_confidence(self._sampler.margin(self._logits) * self._logit_scale)

    def counts(self) -> Array:
        """Pixels of each class, (classes,) int64; pixels of 255 are in none."""
        if self._counts is None:
            # Half the time of numpy.bincount; (256, 1) or, from OpenCV 5 on, (256,) of float32.
            histogram = load_cv2().calcHist([self.mask], [0], None, [256], [0, 256]).ravel()
            self._counts = histogram[: len(self.classes)].astype(np.int64)
        return self._counts

    def shares(self) -> Dict[str, float]:
        """Share of the frame, 0..1, of each class that is present, by name, largest first."""
        counts = self.counts()
        order = np.argsort(-counts, kind="mergesort")  # stable, also by this old name
        return {self.classes[i].name: float(counts[i]) / self.mask.size for i in order if counts[i]}

    def contours(self, name: str, min_area: float = 0.0) -> List[Contour]:
        """Outer outlines of the areas of class `name` of at least `min_area` pixels, largest first.

        Raises KeyError for a name that the network does not have.
        """
        cv2 = load_cv2()
        label = self._class(name)
        found = cv2.findContours((self.mask == label.id).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        outlines = found[-2]  # OpenCV 3 returns an image before the contours
        result = [Contour(label, points[:, 0, :], float(cv2.contourArea(points))) for points in outlines]
        return sorted((c for c in result if c.area >= min_area), key=lambda c: -c.area)

    def draw(self, image: Array, opacity: float = 0.5, legend: bool = True) -> Array:
        """Overlay of the class colours on `image` (H, W, 3) uint8 BGR, as a new BGR image."""
        from edgeseg.draw import Painter

        painter = Painter(self.classes, opacity=opacity, legend=legend)
        return painter.draw(image, self.mask, self.shares()).copy()

    def save(self, path: str) -> None:
        """Write the mask as a PNG with the class ids as palette indices and the class colours as palette."""
        from edgeseg.stream.png import write_palette_png

        write_palette_png(path, self.mask, self.classes)

    def to_dict(self) -> Dict[str, Any]:
        """What JSON can hold of it: size, shares, unlabelled share, sequence, age, times."""
        return {
            "sequence": self.sequence,
            "width": self.size[0],
            "height": self.size[1],
            "age_ms": round(1e3 * self.age_s, 3),
            "shares": {name: round(share, 6) for name, share in self.shares().items()},
            "unlabeled": round(1.0 - float(self.counts().sum()) / self.mask.size, 6),
            "latency_ms": {stage: round(ms, 3) for stage, ms in self.latency_ms.items()},
        }

    def _class(self, name: str) -> SegClass:
        for label in self.classes:
            if label.name == name:
                return label
        raise KeyError("no class {!r}; classes: {}".format(name, ", ".join(c.name for c in self.classes)))
