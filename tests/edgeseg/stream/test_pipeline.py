"""Frames come out in order, each once, whatever the threads do; faults end a run cleanly."""

import os
import threading
import time

import numpy as np
import pytest

from edgeseg.bundle import read_bundle
from edgeseg.errors import CameraError
from edgeseg.stream.base import Sink, Source
from edgeseg.stream.frame import Frame
from edgeseg.stream.pipeline import Pipeline, open_segmenters


class Numbers(Source):
    """Frames whose number can be read off their pixels; raises `fault` at the end, if given."""

    size = (96, 64)

    def __init__(self, count, live=False, fault=None):
        self.live = live
        self._count = count
        self._fault = fault
        self._next = 0

    def read(self):
        if self._next == self._count:
            if self._fault:
                raise self._fault
            return None
        number = self._next
        self._next += 1
        image = np.full((64, 96, 3), number, np.uint8)
        return Frame(image, number, time.monotonic(), "frame{}".format(number))


class Keep(Sink):
    """Remembers what it was given."""

    needs_drawing = True

    def __init__(self, stop_after=None):
        self.frames = []
        self.results = []
        self.drawn = []
        self.threads = set()
        self._stop_after = stop_after

    def write(self, frame, result, drawn):
        self.frames.append(frame.sequence)
        self.results.append(result)
        self.drawn.append(None if drawn is None else int(drawn[0, 0, 0]))
        self.threads.add(threading.current_thread())
        self.stop = len(self.frames) == self._stop_after


class Echo:
    """A painter that copies the image: shows that a buffer belongs to the frame it is written with."""

    def __init__(self):
        self._buffer = np.zeros((64, 96, 3), np.uint8)

    def draw(self, image, mask, shares):
        self._buffer[:] = image
        time.sleep(0.002)
        return self._buffer


@pytest.fixture
def segmenters(bundles):
    bundle = read_bundle(os.path.join(bundles, "int8.edgeseg"))
    return open_segmenters(bundle, "fake", 2, 0.0, live=False)


@pytest.mark.parametrize("live", [False, True])
def test_order_and_buffers(segmenters, live):
    sink = Keep()
    assert Pipeline(Numbers(60, live), segmenters, [sink], Echo).run() == 60
    assert sink.frames == sink.drawn == list(range(60))
    assert [result.sequence for result in sink.results] == list(range(60))
    assert sink.threads == {threading.current_thread()}
    assert set(sink.results[0].latency_ms) == {"capture", "preprocess", "infer", "postprocess", "draw"}


def test_limit_and_nothing_drawn(segmenters):
    sink = Keep()
    source = Numbers(60)
    assert Pipeline(source, segmenters, [sink], limit=5).run() == 5
    assert sink.frames == list(range(5)) and sink.drawn == [None] * 5
    assert source._next == 5  # nothing was read that is not written


def test_sink_that_stops_the_run(segmenters):
    sink = Keep(stop_after=3)
    written = Pipeline(Numbers(1000), segmenters, [sink], Echo).run()
    assert written == len(sink.frames) < 20


def test_lost_camera_after_the_last_frames(segmenters):
    sink = Keep()
    with pytest.raises(CameraError, match="gone"):
        Pipeline(Numbers(7, fault=CameraError("gone")), segmenters, [sink], Echo).run()
    assert sink.frames == list(range(7))


def test_sink_that_fails(segmenters):
    class Full(Keep):
        def write(self, frame, result, drawn):
            if frame.sequence == 4:
                raise OSError("disk full")

    before = threading.active_count()
    with pytest.raises(OSError, match="disk full"):
        Pipeline(Numbers(100), segmenters, [Full()], Echo).run()
    assert threading.active_count() == before


def test_recordings_use_all_cores_and_cameras_one_inference(bundles):
    bundle = read_bundle(os.path.join(bundles, "int8.edgeseg"))
    recorded = open_segmenters(bundle, "fake", 3, 0.0, live=False)
    assert [segmenter.backend.threads for segmenter in recorded] == [1, 1, 1]
    live = open_segmenters(bundle, "fake", 3, 0.0, live=True)
    assert [segmenter.backend.threads for segmenter in live] == [3]


@pytest.mark.parametrize("threads, live", [(1, False), (2, False), (2, True)])
def test_no_more_inferences_at_a_time_than_threads(bundles, monkeypatch, threads, live):
    bundle = read_bundle(os.path.join(bundles, "int8.edgeseg"))
    segmenters = open_segmenters(bundle, "fake", threads, 0.0, live)
    running, most = [], []
    for segmenter in segmenters:

        def infer(real=segmenter.backend.infer):
            running.append(1)
            most.append(len(running))
            time.sleep(0.005)
            running.pop()
            return real()

        monkeypatch.setattr(segmenter.backend, "infer", infer)
    Pipeline(Numbers(20, live), segmenters, [Keep()], Echo).run()
    assert max(most) == len(segmenters) == (1 if live else threads)
