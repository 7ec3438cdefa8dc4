"""Keep a child process at work: find its faults, start it again, run the same frame again, know when to stop."""

import atexit
import collections
import os
import sys
import threading
import time
import weakref
from typing import Any, Deque, Dict, NamedTuple, Optional

from edgeseg.errors import EnvironmentFault
from edgeseg.worker.process import Child, ChildFault, Job
from edgeseg.worker.shared import map_tensor, unlinked_file

Array = Any


class Limits(NamedTuple):
    """How long, in seconds, and how often."""

    start_s: float = 30.0  # until it is ready: imports, 3 s for the firmware of an Edge TPU, the first inference
    infer_s: float = 10.0  # of one inference; libedgetpu gives a USB transfer 6 s
    silent_s: float = 5.0  # without a sign of life: stopped, or it gets no processor
    close_s: float = 2.0
    pause_s: float = 0.5  # before it is started again; twice as long each time it fails again
    longest_pause_s: float = 8.0
    attempts: int = 5  # for one frame
    restarts: int = 20  # in `window_s`
    window_s: float = 600.0


class Counters(NamedTuple):
    frames: int  # results given
    faults: int  # crashes, hangs and reported errors
    restarts: int
    last_fault: str  # "" for none


class Worker:
    """Runs one network in a child process: fill `input`, then `infer()`.

    A child that crashes, hangs, stops or reports an error is killed, a new one is started, and the same frame is run
    again: `infer` gives the result of its own frame, late, or raises. Each restart is one line on stderr.

    Args:
        name: of what works there, for messages: "the Edge TPU".
        job: what the child does.
        fix: what the user can do when it keeps failing.
        limits: how long and how often.

    Raises the EdgesegError that the child raised when it was opened, or EnvironmentFault.
    """

    _is_open = False

    def __init__(self, name: str, job: Job, fix: str, limits: Limits) -> None:
        self._name, self._job, self._fix, self._limits = name, job, fix, limits
        self._source = unlinked_file(job.input.bytes)
        self.input: Array = map_tensor(self._source.fileno(), job.input)
        self._owner = os.getpid()
        self._lock = threading.RLock()  # one that a signal handler may take again
        self._closed = threading.Event()
        self._child: Optional[Child] = None
        self._sequence = self._frames = self._faults = self._restarts = 0
        self._last_fault = self._last_fix = ""
        self._pause_s = limits.pause_s
        self._recent: Deque[float] = collections.deque()  # when it was started again
        self._is_open = True
        _OPEN.add(self)
        try:
            self._child = self._start()
        except ChildFault as fault:
            self.close()
            raise fault.error or EnvironmentFault("{} cannot be started: its process {}".format(name, fault), fix)
        except BaseException:
            self.close()
            raise
        self.found: Dict[str, Any] = self._child.found

    @property
    def counters(self) -> Counters:
        return Counters(self._frames, self._faults, self._restarts, self._last_fault)

    @property
    def pid(self) -> Optional[int]:
        """Process number of the child; None while there is none."""
        child = self._child
        return None if child is None else child.pid

    def infer(self) -> Array:
        """The result for what is in `input`; the next call overwrites it.

        Raises EnvironmentFault when the frame failed too often or the child was started too often, RuntimeError
        when this is closed, by another thread as well.
        """
        with self._lock:
            attempts = 0
            while True:
                try:
                    output = self._try()
                except ChildFault as fault:
                    attempts += 1
                    self._drop_child(fault)
                    if attempts >= self._limits.attempts:
                        raise self._no_more("failed {} times on one frame".format(attempts))
                else:
                    self._frames += 1
                    self._pause_s = self._limits.pause_s
                    return output

    def close(self) -> None:
        """End the child; at most `close_s` later it is gone. From any thread. Nothing in a process that was forked."""
        if os.getpid() != self._owner:  # the lock may be held by a thread that only the other process has
            return
        self._closed.set()  # seen by `infer` of another thread, which lets go of the lock
        with self._lock:
            child, self._child = self._child, None
            if child is not None:
                child.close(self._limits.close_s)
            self._source.close()
            self._is_open = False
            _OPEN.discard(self)

    def __del__(self) -> None:
        if self._is_open:
            self.close()

    def _try(self) -> Array:
        if self._closed.is_set():
            raise RuntimeError("{} is closed".format(self._name))
        if os.getpid() != self._owner:  # both processes would take each other's results
            raise RuntimeError("{} was opened before a fork: open it again in the new process".format(self._name))
        if self._child is None:
            self._child = self._start_again()
        self._sequence += 1
        return self._child.infer(self._sequence, self._limits.infer_s, self._limits.silent_s)

    def _start(self) -> Child:
        return Child(self._job, self._source, self._limits.start_s, self._closed.is_set)

    def _start_again(self) -> Child:
        now = time.monotonic()
        while self._recent and now - self._recent[0] > self._limits.window_s:
            self._recent.popleft()
        if len(self._recent) >= self._limits.restarts:
            raise self._no_more("failed more than {} times in {:g} s".format(len(self._recent), self._limits.window_s))
        self._recent.append(now)
        self._restarts += 1
        if sys.stderr:
            told = "edgeseg: warning: {}'s process {}; restart {}\n"
            sys.stderr.write(told.format(self._name, self._last_fault, self._restarts))
            sys.stderr.flush()
        self._closed.wait(self._pause_s)
        self._pause_s = min(2 * self._pause_s, self._limits.longest_pause_s)
        return self._start()

    def _drop_child(self, fault: ChildFault) -> None:
        self._faults += 1
        self._last_fault, self._last_fix = str(fault), fault.error.fix if fault.error else ""
        child, self._child = self._child, None
        if child is not None:
            child.kill()

    def _no_more(self, problem: str) -> EnvironmentFault:
        return EnvironmentFault(
            "{} {}; the last time its process {}".format(self._name, problem, self._last_fault),
            "; or ".join(filter(None, [self._last_fix, self._fix])),
        )


_OPEN: "weakref.WeakSet[Worker]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for worker in list(_OPEN):
        worker.close()
