"""`edgeseg run`: segment a camera, video, image or folder."""

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from typing import Any, Iterator, List

from edgeseg.cli.options import add_runtime_options, fraction, positive
from edgeseg.draw import VIEWS, Painter
from edgeseg.errors import EXIT_INTERRUPTED, UsageError
from edgeseg.segmentation import Segmentation
from edgeseg.stream import open_source
from edgeseg.stream.atomic import check_not_input
from edgeseg.stream.base import Source
from edgeseg.stream.frame import Frame
from edgeseg.stream.pipeline import Pipeline, open_segmenters
from edgeseg.stream.sinks import JsonLinesSink, MaskSink, open_output
from edgeseg.stream.window import WindowSink, has_display
from edgeseg.zoo import open_bundle

SUMMARY = "segment a camera, video, image or folder"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle", nargs="?", help="bundle to run: a file, or a name of `edgeseg zoo` (default: fcn8-camvid)"
    )
    parser.add_argument(
        "--camera",
        "--source",
        dest="source",
        default="camera:0",
        metavar="SOURCE",
        help="0, /dev/video0, csi://0, rtsp://..., a video, an image, a folder, a glob, gst: PIPELINE, or pattern: "
        "(default 0)",
    )
    parser.add_argument("-o", "--output", metavar="OUT", help="overlay video, image, or folder/ for PNG frames")
    parser.add_argument("--masks", metavar="DIR", help="folder for masks as palette PNGs")
    parser.add_argument("--json", metavar="FILE", help="one JSON line a frame; - for standard output")
    parser.add_argument("--view", choices=VIEWS, default="overlay")
    parser.add_argument("--opacity", type=float, default=0.5, help="of the class colours, 0 to 1")
    parser.add_argument("--no-legend", dest="legend", action="store_false")
    parser.add_argument("--frames", type=positive, metavar="N", help="stop after N frames")
    parser.add_argument("--min-confidence", type=fraction, default=0.0, help="below it a pixel has no class")
    add_runtime_options(parser)


def run(args: argparse.Namespace) -> int:
    bundle = open_bundle(args.bundle)
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(open_source(args.source))
        segmenters = open_segmenters(bundle, args.device, args.threads, args.min_confidence, source.live)
        for segmenter in segmenters:
            stack.enter_context(segmenter)
        description = "{}, {} at a time".format(segmenters[0].backend.description, len(segmenters))
        print("edgeseg: {} on {}".format(bundle.manifest.network.architecture, description), file=sys.stderr)
        sinks = [stack.enter_context(sink) for sink in open_sinks(args, source, bundle.manifest.classes)]
        status = Status(source, quiet=bool(sinks) and not sys.stderr.isatty())

        def painter() -> Painter:
            return Painter(bundle.manifest.classes, args.view, args.opacity, args.legend)

        drawing = any(sink.needs_drawing for sink in sinks)
        pipeline = Pipeline(source, segmenters, sinks, painter if drawing else None, args.frames, status.observe)
        with ends_on_signals(pipeline) as received:
            pipeline.run()
    status.finish()
    return EXIT_INTERRUPTED if received == [signal.SIGINT] else 0


def open_sinks(args: argparse.Namespace, source: Source, classes: Any) -> Iterator[Any]:
    """What the arguments ask to write to; a window where they ask for nothing and there is a display."""
    for path in (args.output, args.masks, args.json):
        if path and path != "-":
            check_not_input(path, source.paths)
    if args.output and args.masks and os.path.realpath(args.output) == os.path.realpath(args.masks):
        raise UsageError("-o and --masks name the same folder", "give each a folder of its own")
    if args.output:
        painter = Painter((), args.view)
        yield open_output(args.output, painter.output_size(*source.size), source.fps)
    if args.masks:
        yield MaskSink(args.masks, classes)
    if args.json:
        yield JsonLinesSink(args.json)
    if not (args.output or args.masks or args.json) and has_display():
        yield WindowSink("edgeseg: {}".format(source.name))


@contextlib.contextmanager
def ends_on_signals(pipeline: Pipeline) -> Iterator[List[int]]:
    """Ctrl-C and SIGTERM end the pipeline in order; the list holds the signal that came."""
    received: List[int] = []

    def end(number: int, _: object) -> None:
        if received:
            raise KeyboardInterrupt("the output may be incomplete")
        received.append(number)
        pipeline.stop()

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = [(number, signal.signal(number, end)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield received
    finally:
        for number, handler in before:
            signal.signal(number, handler)


class Status:
    """One line a second on standard error: FPS, latency, drops, classes seen."""

    def __init__(self, source: Source, quiet: bool) -> None:
        self._source = source
        self._quiet = quiet
        self._start = self._last = time.monotonic()
        self._frames = self._since = 0
        self._latency_s = 0.0
        self._dropped = 0

    def observe(self, frame: Frame, result: Segmentation) -> None:
        self._frames += 1
        self._since += 1
        self._latency_s += result.age_s
        self._dropped = frame.dropped
        now = time.monotonic()
        if now - self._last >= 1 and not self._quiet:
            seen = ", ".join("{} {:.0%}".format(name, share) for name, share in result.shares().items())
            self._print(
                "{:6.1f} FPS  {:5.1f} ms  {} dropped  {}".format(
                    self._since / (now - self._last), 1e3 * self._latency_s / self._since, self._dropped, seen
                )
            )
            self._last, self._since, self._latency_s = now, 0, 0.0

    def finish(self) -> None:
        seconds = time.monotonic() - self._start
        self._print(
            "edgeseg: {} frames in {:.1f} s, {:.1f} FPS, {} dropped".format(
                self._frames, seconds, self._frames / seconds if seconds else 0.0, self._dropped
            )
        )

    @staticmethod
    def _print(line: str) -> None:
        print(line, file=sys.stderr)
        sys.stderr.flush()
