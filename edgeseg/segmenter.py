"""Segmenter: a bundle becomes a function from camera frames to masks."""

import os
import threading
import time
from typing import Any, Dict, Optional, Tuple, Union

import numpy as np

from edgeseg.backends import open_backend
from edgeseg.bundle import Bundle
from edgeseg.errors import UsageError
from edgeseg.postprocess import ClassSampler, Sampler, Upsampler, confidence_to_margin, no_confidence
from edgeseg.preprocess import InputWriter, check_image, resize
from edgeseg.segmentation import Segmentation
from edgeseg.zoo import open_bundle

Array = Any


class Segmenter:
    """Segments frames with the network of a bundle.

    Use it from one thread: buffers are allocated once and shared by its calls, and a call from a second
    thread while one is running raises RuntimeError. Make one Segmenter for each thread instead.

    Args:
        bundle: path of a bundle, a name of `edgeseg zoo`, an opened bundle, or None for the street network.
        device: "auto" for the best that is present, "cpu", or by name: "tensorrt", "onnxruntime:cuda", "usb:1", ...
        threads: CPU threads of the inference runtime; 0 for all cores.
        min_confidence: 0 up to 1; pixels with less confidence get the class 255.

    Raises UsageError, BundleError or EnvironmentFault, each saying what to do.

    Example:
        with Segmenter("network.edgeseg") as segmenter:
            result = segmenter(cv2.imread("street.jpg"))
            print(result.shares())
    """

    def __init__(
        self,
        bundle: Union[str, Bundle, None] = None,
        device: str = "auto",
        threads: int = 0,
        min_confidence: float = 0.0,
    ) -> None:
        if not 0 <= min_confidence < 1:
            raise UsageError(
                "min_confidence {} is outside 0..1".format(min_confidence), "0 turns it off, 0.5 is a fair start"
            )
        self.bundle = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        self.manifest = self.bundle.manifest
        if min_confidence and self.manifest.output.kind == "classes":
            raise no_confidence()
        self.classes = self.manifest.classes
        self.backend = open_backend(self.bundle, device, threads or len(os.sched_getaffinity(0)))
        self._writer = InputWriter(self.manifest.input, self.manifest.network.imgsz)
        self._margin = confidence_to_margin(min_confidence) / self.manifest.output.scale
        self._cells = self.manifest.network.cells
        self._samplers: Dict[Tuple[int, int], Sampler] = {}
        self._busy = threading.Lock()

    def __call__(self, image: Array, color: str = "bgr") -> Segmentation:
        """Segment `image`, (H, W, 3) uint8 of any size; `color` is its channel order, "bgr" (OpenCV) or "rgb".

        Raises UsageError for an image of another type, RuntimeError when called from two threads at once.
        """
        logits, times = self.logits(image, color)
        return self.finish(logits, image.shape[:2], times)

    def shrink(self, image: Array, out: Optional[Array] = None) -> Array:
        """What `logits` would resize `image` to, into `out`: work that may be done ahead, from any thread."""
        return resize(image, self.manifest.network.imgsz, out) if self.manifest.input.fit == "stretch" else image

    def logits(self, image: Array, color: str = "bgr") -> Tuple[Array, Dict[str, float]]:
        """The network's output for `image`, (h, w, classes), and the milliseconds of each stage.

        A network that ends at class ids gives those, (h, w).

        The first half of a call: what needs the inference runtime, and so one thread at a time.
        """
        check_image(image, color)
        if not self._busy.acquire(False):
            raise RuntimeError("a Segmenter serves one thread at a time: make one for each thread")
        try:
            start = time.perf_counter()
            self._writer.write(image, color, self.backend.input())
            filled = time.perf_counter()
            output = self.backend.infer()
            inferred = time.perf_counter()
            grid = np.array(self._grid(output), order="C")  # the result keeps it; the backend reuses its own
            del output
        finally:
            self._busy.release()
        return grid, {"preprocess": 1e3 * (filled - start), "infer": 1e3 * (inferred - filled)}

    def finish(self, logits: Array, size: Tuple[int, int], times: Dict[str, float]) -> Segmentation:
        """Logits to a result of `size` (height, width): the second half, from any thread."""
        start = time.perf_counter()
        sampler = self.sampler(size)
        mask = sampler(logits, self._margin)
        result = Segmentation(mask, self.classes, logits, self.manifest.output.scale, sampler)
        result.latency_ms = dict(times, postprocess=1e3 * (time.perf_counter() - start))
        return result

    def sampler(self, size: Tuple[int, int]) -> Sampler:
        """What makes masks of `size` (height, width) out of the network's output; made once for each size."""
        if size not in self._samplers:
            covered, output, count = self._writer.covered(size), self.manifest.output, len(self.classes)
            (height, width), (rows, columns) = self.manifest.network.imgsz, self._cells
            parts = (covered[0], height), (covered[1], width)
            if output.kind == "classes":
                self._samplers[size] = ClassSampler((rows, columns), count, size, parts, output.resize)
            else:
                self._samplers[size] = Upsampler((rows, columns, count), size, parts, output.resize)
        return self._samplers[size]

    def _grid(self, output: Array) -> Array:
        """The output tensor as (h, w, classes), or (h, w) of class ids."""
        if self.manifest.output.kind == "classes":
            return output.reshape(self._cells)
        return output[0] if self.manifest.output.layout == "nhwc" else output[0].transpose(1, 2, 0)

    def warm_up(self) -> None:
        """Run one inference, so that the first frame is as fast as the others."""
        self.backend.infer()

    def close(self) -> None:
        """Release the runtime."""
        self.backend.close()

    def __enter__(self) -> "Segmenter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
