"""Latency on the CPU of this machine: networks with random weights, converted to int8 .tflite files, timed in turns."""

import os
import time
from collections.abc import Callable, Sequence

import numpy as np

from edgeseg.export.litert import open_interpreter
from edgeseg.export.tflite import to_int8_untrained
from edgeseg.models.network import build
from edgeseg.models.spec import NetworkSpec

ROUNDS = 30
_WARM_UP = 3


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def busy_note() -> str:
    """A warning where other programs have half of the cores or more; to be asked for before anything is measured."""
    load = os.getloadavg()[0]
    if load < cores() / 2:
        return ""
    return f"this machine was busy (load {load:.1f} on {cores()} cores): what was measured is too long"


def random_int8(spec: NetworkSpec) -> bytes:
    """The network as an int8 .tflite file, random weights: the time of an inference does not depend on their values."""
    return to_int8_untrained(build(spec))


def measure_ms(
    files: Sequence[bytes], threads: int, rounds: int = ROUNDS, report: Callable[[str], None] | None = None
) -> list[float]:
    """Median milliseconds of the bare inference of each .tflite file by LiteRT.

    Raises EnvironmentFault without LiteRT.
    """
    return in_turns([open_interpreter(data, threads).invoke for data in files], rounds, report)


def in_turns(
    calls: Sequence[Callable[[], object]], rounds: int = ROUNDS, report: Callable[[str], None] | None = None
) -> list[float]:
    """Median milliseconds of each call. They take turns, so that what else the machine does falls on all alike."""
    times: list[list[float]] = [[] for _ in calls]
    for number in range(_WARM_UP + rounds):
        if report:
            report(f"round {number + 1} of {_WARM_UP + rounds}")
        for call, row in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            row.append(1e3 * (time.perf_counter() - start))
    return [float(np.median(row[_WARM_UP:])) for row in times]
