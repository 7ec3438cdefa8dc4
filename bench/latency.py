"""How fast: bare inference, and the whole run from a video file to an overlay video."""

import os
import resource
import time
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np

from edgeseg.bundle import Bundle
from edgeseg.draw import Painter
from edgeseg.opencv import load_cv2
from edgeseg.segmentation import Segmentation
from edgeseg.segmenter import Segmenter
from edgeseg.stream import open_source
from edgeseg.stream.frame import Frame
from edgeseg.stream.pipeline import Pipeline, open_segmenters
from edgeseg.stream.sinks import open_output

STAGES = ("capture", "preprocess", "infer", "postprocess", "draw")
WARM_UP = 10  # frames and inferences that are not counted


class RunFigures(NamedTuple):
    """One run from a source to an overlay video."""

    frames: int
    fps: float
    latency_ms: Dict[str, float]  # capture to written: p50, p90, p99
    stages_ms: Dict[str, float]  # mean of each stage
    cpu_ms: float  # processor time of one frame, all threads together
    cores: int

    @property
    def fps_limit(self) -> float:
        """What the cores allow: cores / CPU seconds of a frame."""
        return self.cores * 1e3 / self.cpu_ms


def percentiles(values_ms: List[float]) -> Dict[str, float]:
    """p50, p90 and p99 of milliseconds."""
    return {"p{}".format(p): float(np.percentile(values_ms, p)) for p in (50, 90, 99)}


def bare_inference_ms(bundle: Bundle, device: str, threads: int, calls: int = 60) -> float:
    """Median milliseconds of the bare inference call, its input already in place."""
    with Segmenter(bundle, device, threads) as segmenter:
        times = []
        for call in range(calls + WARM_UP):
            start = time.perf_counter()
            segmenter.backend.infer()
            if call >= WARM_UP:
                times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times))


def run_figures(bundle: Bundle, uri: str, device: str, threads: int, frames: Optional[int], folder: str) -> RunFigures:
    """Run `uri` to an overlay video in `folder`, as `edgeseg run URI -o out.mp4` does, and measure it."""
    stages: Dict[str, List[float]] = {}
    latencies: List[float] = []
    marks: List[Any] = []

    def observe(_: Frame, result: Segmentation) -> None:
        for stage, ms in result.latency_ms.items():
            stages.setdefault(stage, []).append(ms)
        latencies.append(1e3 * result.age_s)
        marks.append((time.perf_counter(), _cpu_s()))

    with open_source(uri) as source:
        segmenters = open_segmenters(bundle, device, threads, 0.0, source.live)
        with open_output(os.path.join(folder, "overlay.mp4"), source.size, source.fps) as sink:

            def painter() -> Painter:
                return Painter(bundle.manifest.classes)

            Pipeline(source, segmenters, [sink], painter, frames, observe).run()
        for segmenter in segmenters:
            segmenter.close()
    skip = min(WARM_UP, len(marks) // 2)
    counted = len(marks) - 1 - skip
    seconds = marks[-1][0] - marks[skip][0]
    return RunFigures(
        len(marks),
        counted / seconds,
        percentiles(latencies[skip:]),
        {stage: float(np.mean(stages[stage][skip:])) for stage in STAGES if stage in stages},
        1e3 * (marks[-1][1] - marks[skip][1]) / counted,
        len(os.sched_getaffinity(0)),
    )


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def record_pattern(folder: str, frames: int) -> str:
    """Write the generated street scene as a video file, so that decoding is part of what is measured."""
    path = os.path.join(folder, "pattern.mp4")
    with open_source("pattern:?frames={}".format(frames)) as source:
        cv2 = load_cv2()
        writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"mp4v"), 30.0, source.size)
        for frame in source:
            writer.write(frame.image)
        writer.release()
    return path
