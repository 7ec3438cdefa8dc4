"""A call of TensorRT may take minutes: show that it lives, and answer Ctrl-C as it is safe to."""

import atexit
import os
import shutil
import signal
import sys
import threading
import time
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Tuple

from edgeseg.errors import EXIT_INTERRUPTED

_PERIOD_TTY_S, _PERIOD_S = 1.0, 10.0


def write_error(text: str) -> None:
    """Write to standard error at once; a service may have none."""
    if sys.stderr is not None:
        sys.stderr.write(text)
        sys.stderr.flush()


class Progress:
    """What a build is doing: written from TensorRT's thread, read from another."""

    def __init__(self) -> None:
        self.cancelled = False
        self._phases: Dict[str, Tuple[int, int]] = {}  # open phases from the outer to the inner: step, steps

    def start(self, phase: str, steps: int) -> None:
        self._phases[phase] = (0, steps)

    def step(self, phase: str, step: int) -> None:
        if phase in self._phases:
            self._phases[phase] = (step + 1, self._phases[phase][1])

    def finish(self, phase: str) -> None:
        self._phases.pop(phase, None)

    @property
    def text(self) -> str:
        """The outermost and the innermost open phase, or "" where TensorRT does not tell."""
        phases = list(self._phases.items())
        return ", ".join("{} {}/{}".format(name, *counts) for name, counts in phases[:1] + phases[1:][-1:])


def watched(work: Callable[[], Any], title: str, progress: Progress) -> Any:
    """Do `work` on a thread of its own, with `title`, the time so far and the phase on standard error.

    Raises what `work` raises. On Ctrl-C the work is told to stop through `progress.cancelled` and not waited for.
    """
    outcome: List[Any] = []  # result, error
    done = threading.Event()  # is_alive() is wrong after Ctrl-C in join(): python/cpython#90882

    def run() -> None:
        try:
            outcome.extend((work(), None))
        except BaseException as error:  # raised again where it can be answered
            outcome.extend((None, error))
        finally:
            done.set()

    try:
        threading.Thread(target=run, name="edgeseg-build", daemon=True).start()
        _wait(done, title, progress)
    except BaseException:
        progress.cancelled = True
        _leave_before_teardown(done)
        raise
    result, error = outcome
    del outcome[:]
    if error is None:
        return result
    try:
        raise error
    finally:
        del error  # its traceback refers to this frame: the cycle would keep the objects of TensorRT in it alive


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Let Ctrl-C wait until the end of the block, which takes seconds.

    TensorRT logs through Python, on the thread that called it. On the main thread a KeyboardInterrupt could come out
    of the log: TensorRT 8.2 then ends the process (its PyLogger::log is noexcept), later versions lose it.
    """
    former = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(former):
        yield
        return
    received: List[Any] = []
    signal.signal(signal.SIGINT, lambda *arguments: received.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
        if received:
            former(*received[-1])


def _wait(done: threading.Event, title: str, progress: Progress) -> None:
    start = time.monotonic()
    tty = sys.stderr is not None and sys.stderr.isatty()
    try:
        while not done.wait(_PERIOD_TTY_S if tty else _PERIOD_S):
            seconds = int(time.monotonic() - start)
            line = "edgeseg: {}: {}:{:02d}  {}".format(title, seconds // 60, seconds % 60, progress.text).rstrip()
            columns = shutil.get_terminal_size().columns
            write_error("\r\x1b[K" + line[: columns - 1] if tty else line + "\n")
    finally:
        if tty:
            write_error("\r\x1b[K")


def _leave_before_teardown(done: threading.Event) -> None:
    """End the process, when it ends, without unloading the libraries in which the abandoned thread still computes."""

    def leave() -> None:
        if not done.is_set():
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
            os._exit(EXIT_INTERRUPTED)

    atexit.register(leave)
