"""Frames from a source, through segmenters, to sinks: every core busy, results in order.

Worker threads take a frame each, segment and draw it; the calling thread writes the results in order.
There are more workers than segmenters, so that while all of them infer the next frames are decoded,
resized and drawn: inference and OpenCV release the GIL. Measured on 2 cores: one spare worker is best for
one segmenter, two for two (0.96 of what the cores allow instead of 0.90); a third only disturbs.
"""

import os
import queue
import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from edgeseg.bundle import Bundle
from edgeseg.opencv import single_threaded_opencv
from edgeseg.segmentation import Segmentation
from edgeseg.segmenter import Segmenter
from edgeseg.stream.base import Source
from edgeseg.stream.frame import Frame

POLL_S = 0.05  # how often the calling thread looks up while it waits: signals, windows


class Scratch:
    """A worker's buffer for the resized frame."""

    small: Any = None


class Taken(NamedTuple):
    """A frame that was inferred."""

    frame: Frame
    ticket: int  # its place in the order
    segmenter: Segmenter
    logits: Any
    times: Dict[str, float]


class Done(NamedTuple):
    """A frame that is ready to be written."""

    frame: Frame
    result: Segmentation
    painter: Any
    drawn: Any  # (H, W, 3) uint8 BGR, a buffer of `painter`; None where no sink wants it


class Pipeline:
    """Runs a source through segmenters to sinks.

    Args:
        source: where frames come from.
        segmenters: one for each inference at a time; the pipeline uses but does not close them.
        sinks: what takes the results, in order.
        painters: factory of drawing buffers, or None where nothing is drawn.
        limit: stop after so many frames.
        observe: called in the calling thread with each result after it was written.
    """

    def __init__(
        self,
        source: Source,
        segmenters: Sequence[Segmenter],
        sinks: Sequence[Any] = (),
        painters: Optional[Callable[[], Any]] = None,
        limit: Optional[int] = None,
        observe: Optional[Callable[[Frame, Segmentation], None]] = None,
    ) -> None:
        self._source = source
        self._sinks = sinks
        self._limit = limit
        self._observe = observe
        self._stop = threading.Event()
        self._shrink = segmenters[0].shrink
        self._workers = len(segmenters) + min(2, len(segmenters))
        self._segmenters: Any = queue.Queue()
        for segmenter in segmenters:
            self._segmenters.put(segmenter)
        # As many drawing buffers as frames may be in flight; they bound how far ahead workers get.
        self._painters: Any = queue.Queue()
        for _ in range(self._workers + 1):
            self._painters.put(painters() if painters else None)
        self._reading = threading.Lock()
        self._changed = threading.Condition()
        self._taken = 0
        self._done: Dict[int, Done] = {}
        self._running = 0
        self._failure: Optional[BaseException] = None

    def stop(self) -> None:
        """Ask for an orderly end: frames in flight are finished and written. From any thread."""
        self._stop.set()

    def run(self) -> int:
        """Run until the source ends, the limit is reached or `stop`; returns the frames written.

        Raises what a source, segmenter or sink raised, after the other frames in flight were written.
        """
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._workers)]
        self._running = len(threads)
        for thread in threads:
            thread.start()
        try:
            with single_threaded_opencv():
                return self._write_all()
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _write_all(self) -> int:
        written = 0
        while True:
            with self._changed:
                if written not in self._done and self._running:
                    self._changed.wait(POLL_S)
                done = self._done.pop(written, None)
                finished = done is None and not self._running
            for sink in self._sinks:
                if getattr(sink, "stop", False):
                    self._stop.set()
            if done is not None:
                for sink in self._sinks:
                    sink.write(done.frame, done.result, done.drawn)
                written += 1
                self._painters.put(done.painter)
                if self._observe:
                    self._observe(done.frame, done.result)
            elif finished:
                if self._failure is not None:
                    raise self._failure
                return written

    def _work(self) -> None:
        try:
            scratch = Scratch()
            while self._step(scratch):
                pass
        except BaseException as error:  # handed to the calling thread, which raises it
            self._failure = self._failure or error
            self._stop.set()
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _step(self, scratch: "Scratch") -> bool:
        """Take one frame through; False at the end."""
        painter = self._take(self._painters)
        if painter is _STOPPED:
            return False
        taken = self._segment_newest() if self._source.live else self._segment_next(scratch)
        if taken is None:
            return False
        frame, ticket, segmenter, logits, times = taken
        result = segmenter.finish(logits, frame.image.shape[:2], times)
        result.sequence, result.captured = frame.sequence, frame.captured
        drawn = None
        if painter is not None:
            start = time.perf_counter()
            drawn = painter.draw(frame.image, result.mask, result.shares())
            result.latency_ms["draw"] = 1e3 * (time.perf_counter() - start)
        with self._changed:
            self._done[ticket] = Done(frame, result, painter, drawn)
            self._changed.notify_all()
        return True

    def _segment_next(self, scratch: "Scratch") -> Optional[Taken]:
        """The next frame of a recording, decoded and resized while all segmenters infer."""
        frame, ticket, read_ms = self._next_frame()
        if frame is None:
            return None
        start = time.perf_counter()
        scratch.small = self._shrink(frame.image, scratch.small)
        shrink_ms = 1e3 * (time.perf_counter() - start)
        segmenter = self._segmenters.get()
        try:
            logits, times = segmenter.logits(scratch.small)
        finally:
            self._segmenters.put(segmenter)
        times.update(capture=read_ms, preprocess=times["preprocess"] + shrink_ms)
        return Taken(frame, ticket, segmenter, logits, times)

    def _segment_newest(self) -> Optional[Taken]:
        """The newest frame of a camera, taken only when it can be segmented at once: waiting makes it old."""
        segmenter = self._segmenters.get()
        try:
            frame, ticket, read_ms = self._next_frame()
            if frame is None:
                return None
            logits, times = segmenter.logits(frame.image)
        finally:
            self._segmenters.put(segmenter)
        return Taken(frame, ticket, segmenter, logits, dict(times, capture=read_ms))

    def _next_frame(self) -> Tuple[Optional[Frame], int, float]:
        """The next frame (None at the end), its place in the order, and the milliseconds to read it."""
        with self._reading:
            if self._stop.is_set() or (self._limit is not None and self._taken >= self._limit):
                return None, 0, 0.0
            start = time.perf_counter()
            frame = self._source.read()
            if frame is None:
                self._stop.set()
                return None, 0, 0.0
            self._taken += 1
            return frame, self._taken - 1, 1e3 * (time.perf_counter() - start)

    def _take(self, pool: Any) -> Any:
        """An item of `pool`, or _STOPPED."""
        while not self._stop.is_set():
            try:
                return pool.get(timeout=POLL_S)
            except queue.Empty:
                continue
        return _STOPPED


_STOPPED = object()


def open_segmenters(bundle: Bundle, device: str, threads: int, min_confidence: float, live: bool) -> List[Segmenter]:
    """Segmenters that infer on `threads` cores (0 for all), for a live source or a recording.

    A camera wants each result soon: one inference on all threads. A recording wants many results: as many
    inferences at a time as threads, each on one, so that none waits for the slowest thread of another; on a
    GPU as many as keep it busy while others are prepared.
    """
    cores = threads or len(os.sched_getaffinity(0))
    each = cores if live else 1
    segmenters = [Segmenter(bundle, device, each, min_confidence)]
    try:
        count = 1 if live else min(cores, segmenters[0].backend.instances or cores)
        found = segmenters[0].backend.name  # "auto" need not look again
        while len(segmenters) < count:
            segmenters.append(Segmenter(bundle, found, each, min_confidence))
        for segmenter in segmenters:
            segmenter.warm_up()
    except BaseException:
        for segmenter in segmenters:
            segmenter.close()
        raise
    return segmenters
