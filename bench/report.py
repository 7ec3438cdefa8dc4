"""`edgeseg bench`: what is measured, in which order, and how it is shown."""

import os
import tempfile
from typing import Any, Dict, List, NamedTuple, Optional

from edgeseg.bench.accuracy import Accuracy
from edgeseg.bench.latency import RunFigures, bare_inference_ms, record_pattern, run_figures
from edgeseg.bench.plain_loop import plain_loop_fps
from edgeseg.bench.upsampling import upsampling_ms
from edgeseg.bundle import Bundle
from edgeseg.errors import EnvironmentFault
from edgeseg.metrics import BOUNDARY_PIXELS
from edgeseg.segmenter import Segmenter

DEFAULT_FRAMES = 200


class Speed(NamedTuple):
    """All speed figures of a bundle on this machine, taken in one run so that they compare."""

    device: str  # what ran, for people
    bare_ms: Dict[int, float]  # bare inference call by number of threads
    one: RunFigures  # a run with one inference thread
    all: RunFigures  # a run with all cores
    alone: bool  # the device takes one frame at a time: threads of the CPU make no difference
    plain_fps: Optional[float]  # the plain loop on the same video, all cores; None where it cannot run
    upsampling_ms: Dict[str, float]  # the network's output to a mask, by way


def measure_speed(bundle: Bundle, source: Optional[str], device: str, threads: int, frames: Optional[int]) -> Speed:
    """Measure on `source`, or on a video of the generated street scene."""
    cores = threads or len(os.sched_getaffinity(0))
    with Segmenter(bundle, device, cores) as segmenter:
        backend = segmenter.backend
        runtime, description, alone = backend.name, backend.description, backend.instances == 1
    if device == "auto":
        device = runtime  # found once, warned of once
    with tempfile.TemporaryDirectory(prefix="edgeseg-bench-") as folder:
        uri = source or record_pattern(folder, frames or DEFAULT_FRAMES)
        bare = {n: bare_inference_ms(bundle, device, n) for n in ({1} if alone else sorted({1, cores}))}
        one = run_figures(bundle, uri, device, 1, frames, folder)
        every = run_figures(bundle, uri, device, cores, frames, folder) if cores > 1 and not alone else one
        plain = None
        if os.path.isfile(uri) and runtime == "tflite":  # on an accelerator it would compare another thing
            try:
                plain = plain_loop_fps(bundle, uri, cores, folder)
            except EnvironmentFault:
                pass  # the loop knows int8 networks with logits only
        upsampling = upsampling_ms(bundle, uri, device)
    return Speed(description, bare, one, every, alone, plain, upsampling)


def to_dict(speed: Speed, accuracy: Optional[Accuracy]) -> Dict[str, Any]:
    """The figures as JSON; the accuracy keys are there only if it was measured. Fractions are 0..1."""
    best = speed.all
    result: Dict[str, Any] = {
        "device": speed.device,
        "one_frame_at_a_time": speed.alone,
        "fps": best.fps,
        "latency_ms": best.latency_ms,
        "stages_ms": best.stages_ms,
        "bare_inference_ms": speed.bare_ms[1],
        "bare_inference_ms_by_threads": {str(n): ms for n, ms in speed.bare_ms.items()},
        "frames": best.frames,
        "cpu_ms_per_frame": best.cpu_ms,
        "fps_limit": best.fps_limit,
        "one_thread": {
            "fps": speed.one.fps,
            "latency_ms": speed.one.latency_ms,
            "stages_ms": speed.one.stages_ms,
            "share_of_bare": speed.one.fps * speed.bare_ms[1] / 1e3,
        },
        "share_of_limit": best.fps / best.fps_limit,
        "plain_loop_fps": speed.plain_fps,
        "upsampling_ms": speed.upsampling_ms,
    }
    if accuracy is not None:
        result.update(
            accuracy.scores._asdict(),
            images=accuracy.images,
            boundary_pixels=BOUNDARY_PIXELS,
            confusion=accuracy.confusion.tolist(),
        )
    return result


def to_lines(figures: Dict[str, Any]) -> List[str]:
    """The table for people, from `to_dict`."""
    bare, one = figures["bare_inference_ms_by_threads"], figures["one_thread"]
    lines = ["device           " + figures["device"]]
    if figures["one_frame_at_a_time"]:
        lines.append("bare inference   {:.1f} ms ({:.0f} FPS)".format(bare["1"], 1e3 / bare["1"]))
        lines.append("run              {:6.1f} FPS   {:.2f} of the bare call".format(one["fps"], one["share_of_bare"]))
    else:
        lines.append("bare inference   " + "   ".join(_bare(n, ms) for n, ms in bare.items()))
        lines.append("run, 1 thread    {:6.1f} FPS   {:.2f} of the bare call".format(one["fps"], one["share_of_bare"]))
        lines.append(
            "run, all cores   {:6.1f} FPS   {:.2f} of what the cores allow ({:.1f} ms CPU a frame)".format(
                figures["fps"], figures["share_of_limit"], figures["cpu_ms_per_frame"]
            )
        )
    if figures["plain_loop_fps"]:
        ratio = figures["fps"] / figures["plain_loop_fps"]
        lines.append("plain loop       {:6.1f} FPS   edgeseg is {:.2f}x".format(figures["plain_loop_fps"], ratio))
    for title, values in (("latency", figures["latency_ms"]), ("stages", one["stages_ms"])):
        lines.append("{:<17}".format(title) + "   ".join("{} {:.2f} ms".format(*item) for item in values.items()))
    ways = ["{:.2f} ms {}".format(ms, _WAYS[way]) for way, ms in figures["upsampling_ms"].items()]
    lines.append("upsampling       " + ", ".join(ways))
    if "miou" in figures:
        lines += _accuracy_lines(figures)
    return lines


def _accuracy_lines(figures: Dict[str, Any]) -> List[str]:
    lines = [
        "accuracy         mIoU {}   within {} pixels of class borders {}   pixels {} %   ({} images)".format(
            _percent(figures["miou"]),
            figures["boundary_pixels"],
            _percent(figures["boundary_miou"]),
            _percent(figures["pixel_accuracy"]),
            figures["images"],
        ),
        "  {:<15}{:>6}{:>9}".format("class", "IoU", "borders"),
    ]
    for name, value in figures["iou"].items():
        lines.append("  {:<15}{:>6}{:>9}".format(name, _percent(value), _percent(figures["boundary_iou"][name])))
    return lines


def _percent(share: Optional[float]) -> str:
    return "-" if share is None else "{:.1f}".format(100 * share)


_WAYS = {
    "border_only": "at class borders only",
    "every_pixel": "at every pixel",
    "opencv": "with OpenCV and argmax",
    "nearest": "for class ids",
}


def _bare(threads: str, ms: float) -> str:
    return "{} thread{} {:.2f} ms ({:.1f} FPS)".format(threads, "" if threads == "1" else "s", ms, 1e3 / ms)
