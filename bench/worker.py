"""What the child process of an accelerator costs: `python -m edgeseg.bench.worker`.

The same work, which only copies a frame in and logits out, is called in this process and in a supervised child. The
difference is what the child adds to each frame: two messages, and waking up twice.
"""

import argparse
import os
import time
from typing import Any, Callable, Dict, List, NamedTuple

import numpy as np

from edgeseg.bench.latency import percentiles
from edgeseg.worker.child import Work
from edgeseg.worker.process import Job
from edgeseg.worker.shared import TensorSpec
from edgeseg.worker.supervisor import Limits, Worker

FRAME = TensorSpec((360, 480, 3), "uint8")
LOGITS = TensorSpec((45, 60, 11), "int8")
CAMERA_PAUSE_S = 1 / 30


class Copies(Work):
    """A network that does nothing: its tensors are filled and read, as those of a runtime are."""

    def open(self, payload: bytes, options: Dict[str, Any]) -> Dict[str, Any]:
        self._frame, self._logits = np.zeros(FRAME.shape, FRAME.dtype), np.zeros(LOGITS.shape, LOGITS.dtype)
        return {}

    def infer(self, source: Any, sink: Any) -> None:
        np.copyto(self._frame, source)
        np.copyto(sink, self._logits)


class Overhead(NamedTuple):
    """Milliseconds of one frame, p50, p90 and p99, in this process and in a child, taken in turns."""

    here: Dict[str, float]
    child: Dict[str, float]


def measure_overhead(frames: int, pause_s: float) -> Overhead:
    """With a pause before each frame, as a camera makes, or without."""
    image = np.random.RandomState(0).randint(0, 256, FRAME.shape).astype(FRAME.dtype)
    source, sink = np.zeros(FRAME.shape, FRAME.dtype), np.zeros(LOGITS.shape, LOGITS.dtype)
    work = Copies()
    work.open(b"", {})
    worker = Worker("the bench", Job("edgeseg.bench.worker:Copies", {}, b"", FRAME, LOGITS), "", Limits())

    def here() -> None:
        np.copyto(source, image)
        work.infer(source, sink)

    def child() -> None:
        np.copyto(worker.input, image)
        worker.infer()

    times: Dict[str, List[float]] = {"here": [], "child": []}
    try:
        for _ in range(frames):
            for name, call in (("here", here), ("child", child)):
                times[name].append(_milliseconds(call, pause_s))
    finally:
        worker.close()
    return Overhead(percentiles(times["here"]), percentiles(times["child"]))


def _milliseconds(call: Callable[[], None], pause_s: float) -> float:
    if pause_s:
        time.sleep(pause_s)
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def to_lines(title: str, overhead: Overhead) -> List[str]:
    """Three rows of the table: here, in the child, and what the child adds."""
    added = {name: overhead.child[name] - overhead.here[name] for name in overhead.here}
    rows = (("in this process", overhead.here), ("in the child", overhead.child), ("added", added))
    figures = "  ".join("{} {{{}:6.3f}} ms".format(name, name) for name in overhead.here)
    return ["{:<14}{:<17}{}".format(title, name, figures.format(**values)) for name, values in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description="what a supervised child process adds to a frame of 480x360")
    parser.add_argument("--frames", type=int, default=1000)
    frames = parser.parse_args().frames
    load = os.getloadavg()[0]
    print("{} frames on {} cores, load {:.1f}".format(frames, len(os.sched_getaffinity(0)), load))
    for title, count, pause_s in (("one by one", frames, 0.0), ("30 a second", frames // 10, CAMERA_PAUSE_S)):
        for line in to_lines(title, measure_overhead(max(2, count), pause_s)):
            print(line)


if __name__ == "__main__":
    main()
