"""What runs in the child process of a worker: one work object, and a thread that shows that it is alive."""

import fcntl
import importlib
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from typing import Any, Dict, Optional

from edgeseg.errors import EdgesegError
from edgeseg.worker.shared import BEAT, BEAT_S, DONE, FAILED, MAX_MESSAGE_BYTES, MESSAGE, TensorSpec, map_tensor

MAX_CAPTURE_BYTES = 64 << 10  # of what the child has printed; more is cut to the last of it
LAST_CAPTURE_BYTES = 4 << 10
MAX_WORDS = 2000  # characters of an error


class Work:
    """The contract of a work object, made anew in each child process. What it raises ends the child."""

    def open(self, payload: bytes, options: Dict[str, Any]) -> Dict[str, Any]:
        """Get ready; what it returns, and JSON can express, is `Worker.found`."""
        raise NotImplementedError

    def infer(self, source: Any, sink: Any) -> None:
        """Read the array `source`, which must not be written to, and write the result into the array `sink`."""
        raise NotImplementedError

    def close(self) -> None:
        """Release what there is; the parent waits for it a little while."""


def main() -> None:
    """Serve until the parent closes the connection. `sys.argv[1]` is the JSON that `process.Child` wrote."""
    told = json.loads(sys.argv[1])
    _end_with_parent(told["lifeline"])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a service manager tells all processes; the parent ends this one
    beat = map_tensor(told["beat"], BEAT)
    threading.Thread(target=_show_life, args=(beat, told["parent"]), daemon=True).start()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=told["socket"])
    status = 1
    try:
        _serve(connection, told)
        status = 0
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(status)  # at once: native threads may hang in an orderly end


def _serve(connection: socket.socket, told: Dict[str, Any]) -> None:
    source = map_tensor(told["source"], TensorSpec(*told["input"]), writable=False)
    sink = map_tensor(told["sink"], TensorSpec(*told["output"]))
    work: Optional[Work] = None
    sequence = 0
    while True:
        status, words = DONE, ""
        try:
            if work is None:
                work = _make(told["work"])
                words = json.dumps(work.open(_read_all(told["payload"]), told["options"]))
            else:
                work.infer(source, sink)
        except Exception as error:  # the parent ends this process when it reads them
            traceback.print_exc()
            status, words = FAILED, _in_words(error)
        connection.send(MESSAGE.pack(sequence, status) + words.encode("ascii"))
        request = connection.recv(MAX_MESSAGE_BYTES)
        if not request:
            break
        sequence, _ = MESSAGE.unpack(request)
    if work is not None:
        work.close()


def _read_all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return file.read()


def _make(name: str) -> Work:
    module, _, kind = name.partition(":")
    return getattr(importlib.import_module(module), kind)()


def _in_words(error: Exception) -> str:
    if isinstance(error, EdgesegError):
        kind, message, fix = type(error).__name__, error.message, error.fix
    else:
        kind, message, fix = "", "{}: {}".format(type(error).__name__, str(error).strip()), ""
    return json.dumps({"kind": kind, "message": message[:MAX_WORDS], "fix": fix[:MAX_WORDS]})


def _end_with_parent(lifeline: int) -> None:
    """Let the kernel kill this process when the other end of the pipe is closed, which it is when the parent ends.

    No thread of ours could do so while native code holds the interpreter lock, nor in a stopped process.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def _show_life(beat: Any, parent: int) -> None:
    # The parent's number changes when it ends, also where one that it forked still holds the lifeline.
    while os.getppid() == parent:
        beat[0] += 1
        _shorten_capture()
        time.sleep(BEAT_S)
    os._exit(1)


def _shorten_capture() -> None:
    size = os.fstat(2).st_size
    if size > MAX_CAPTURE_BYTES:
        last = os.pread(2, LAST_CAPTURE_BYTES, size - LAST_CAPTURE_BYTES)
        os.ftruncate(2, 0)
        os.lseek(2, 0, os.SEEK_SET)
        os.write(2, last)
