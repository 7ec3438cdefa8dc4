"""One child process: start it, ask it, find out what ended it, end it."""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import time
from typing import IO, Any, Callable, Dict, NamedTuple, Optional, Tuple, Type

from edgeseg.errors import BundleError, CheckFailed, EdgesegError, EnvironmentFault, UsageError
from edgeseg.python_child import python_command, signal_name
from edgeseg.worker.shared import BEAT, FAILED, MAX_MESSAGE_BYTES, MESSAGE, TensorSpec, map_tensor, unlinked_file

Array = Any

SLICE_S = 0.25  # how often one that waits looks for other signs than an answer
EXIT_S = 1.0  # at most, from the end of the connection to that of the process
KILL_S = 5.0  # at most, for a killed process to be gone
LAST_BYTES, LAST_LINES = 4096, 3

_ERRORS: Dict[str, Type[EdgesegError]] = {
    kind.__name__: kind for kind in (UsageError, EnvironmentFault, BundleError, CheckFailed)
}


class Job(NamedTuple):
    """What a child does. `work` names a class like `edgeseg.worker.child.Work`: "module:Class"."""

    work: str
    options: Dict[str, Any]  # as JSON can express them
    payload: bytes
    input: TensorSpec
    output: TensorSpec


class ChildFault(Exception):
    """A child ended, hangs or reports an error; the text continues "its process ...".

    `error` is what it raised, if that is one of our own errors.
    """

    def __init__(self, reason: str, error: Optional[EdgesegError] = None) -> None:
        super().__init__(reason)
        self.error = error


class Child:
    """A child process that is ready for frames; `found` is what its work returned from `open`.

    `source` is the file of the input tensor, which the child can only read. `given_up` is asked while it waits.

    Raises ChildFault if it does not get ready in `start_s`, EnvironmentFault if it cannot be started at all.
    """

    def __init__(self, job: Job, source: "IO[bytes]", start_s: float, given_up: Callable[[], bool]) -> None:
        self._given_up = given_up
        self._ours = contextlib.ExitStack()  # what is closed with the child
        try:
            self._process = self._start(job, source)
        except BaseException:
            self._ours.close()
            raise
        try:
            self.found: Dict[str, Any] = json.loads(self._answer(0, start_s, start_s))
        except BaseException:
            self.kill()
            raise

    def _start(self, job: Job, source: "IO[bytes]") -> "subprocess.Popen[bytes]":
        """Start the process; it gets copies of its ends, so ours of them are closed here."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = self._ours.enter_context(ours)
        self._socket.setblocking(False)
        self._poller = select.poll()
        self._poller.register(self._socket, select.POLLIN)
        with contextlib.ExitStack() as stack:
            files: Dict[str, Any] = {"socket": stack.enter_context(theirs), "source": source}
            for name, size in (("beat", BEAT.bytes), ("sink", job.output.bytes), ("payload", len(job.payload))):
                files[name] = stack.enter_context(unlinked_file(size))
            files["payload"].write(job.payload)
            read_end, write_end = os.pipe()
            files["lifeline"] = stack.enter_context(os.fdopen(read_end, "rb"))
            self._ours.enter_context(os.fdopen(write_end, "wb"))
            self._printed = self._ours.enter_context(unlinked_file(0))
            self._beat = map_tensor(files["beat"].fileno(), BEAT)
            self.output = map_tensor(files["sink"].fileno(), job.output)
            return _spawn(job, {name: file.fileno() for name, file in files.items()}, self._printed)

    @property
    def pid(self) -> int:
        return self._process.pid

    def infer(self, sequence: int, limit_s: float, silent_s: float) -> Array:
        """Run frame `sequence`; the output, which the next call overwrites.

        Raises ChildFault if there is no result in `limit_s`, or no sign of life for `silent_s`.
        """
        try:
            self._socket.send(MESSAGE.pack(sequence, 0))
        except OSError:  # it has ended; what it said before is read first
            pass
        self._answer(sequence, limit_s, silent_s)
        return self.output

    def _answer(self, sequence: int, limit_s: float, silent_s: float) -> str:
        """Wait for the reply to `sequence`; those to others are of no use any more."""
        waited = silent = 0.0
        before, beats = time.monotonic(), int(self._beat[0])
        while True:
            heard = self._poller.poll(1e3 * SLICE_S)
            if self._given_up():
                raise RuntimeError("closed while it was busy")
            if heard:
                found, status, words = self._receive()
                if found == sequence:
                    if status == FAILED:
                        raise _reported(words)
                    return words
            elif self._process.poll() is not None:  # another process still holds the connection
                raise self._ended()
            # A longer slice is a pause of this process, or of both: not the child's fault.
            now = time.monotonic()
            passed, before = min(now - before, 2 * SLICE_S), now
            waited, silent = waited + passed, silent + passed
            if self._beat[0] != beats:
                beats, silent = int(self._beat[0]), 0.0
            if silent > silent_s:
                raise self._fault("showed no sign of life for {:g} s".format(silent_s))
            if waited > limit_s:
                raise self._fault("gave no answer in {:g} s".format(limit_s))

    def _receive(self) -> Tuple[int, int, str]:
        try:
            message = self._socket.recv(MAX_MESSAGE_BYTES)
        except OSError:
            message = b""
        if len(message) < MESSAGE.size:
            raise self._ended()
        sequence, status = MESSAGE.unpack_from(message)
        return sequence, status, message[MESSAGE.size :].decode("ascii")

    def _ended(self) -> ChildFault:
        try:
            status = self._process.wait(EXIT_S)
        except subprocess.TimeoutExpired:
            return self._fault("closed its connection")
        if status >= 0:  # 0 also where the program itself has taken the exit codes of all its children
            return self._fault("ended" + (" with exit code {}".format(status) if status else ""))
        hint = " (by hand, or for want of memory)" if status == -signal.SIGKILL else ""
        return self._fault("was ended by {}{}".format(signal_name(-status), hint))

    def _fault(self, reason: str) -> ChildFault:
        """With the last lines that the child printed."""
        size = os.fstat(self._printed.fileno()).st_size
        tail = os.pread(self._printed.fileno(), LAST_BYTES, max(0, size - LAST_BYTES))
        lines = [line.strip() for line in tail.decode("utf-8", "replace").splitlines() if line.strip()]
        fatal = [line for line in lines if line.startswith("F ")]  # of Google's loggers; a backtrace may follow
        words = " | ".join((fatal or lines)[-LAST_LINES:])
        return ChildFault("{} ({})".format(reason, words) if words else reason)

    def close(self, limit_s: float) -> None:
        """Let the child end in order; after `limit_s` kill it."""
        self._socket.close()
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """End the child at once, whatever it does."""
        try:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait(KILL_S)
        except subprocess.TimeoutExpired:
            pass  # stuck in a driver: the kernel ends it as soon as the driver lets go
        finally:
            self._ours.close()


def _reported(words: str) -> ChildFault:
    told = json.loads(words)
    kind = _ERRORS.get(told["kind"])
    return ChildFault("reported: " + told["message"], kind(told["message"], told["fix"]) if kind else None)


def _spawn(job: Job, descriptors: Dict[str, int], printed: "IO[bytes]") -> "subprocess.Popen[bytes]":
    """Not a fork, since programs have threads, and in a session of its own, where no Ctrl-C of the terminal comes."""
    told = {"parent": os.getpid(), "work": job.work, "options": job.options, "input": job.input, "output": job.output}
    with contextlib.ExitStack() as stack:
        copies = {}
        for name, descriptor in descriptors.items():  # ours may be 0 to 2, which are the child's standard streams
            copies[name] = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
            stack.callback(os.close, copies[name])
        command = python_command("edgeseg.worker.child") + [json.dumps(dict(told, **copies))]
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                pass_fds=tuple(copies.values()),
                start_new_session=True,
            )
        except OSError as error:
            raise EnvironmentFault("{} cannot be started: {}".format(command[0], error), "free memory and processes")
