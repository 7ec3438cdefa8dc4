"""Work for child processes of the tests: it adds 1 to a frame, and fails when it is told to."""

import ctypes
import json
import os
import signal
import socket
import sys
import time

from edgeseg.errors import BundleError
from edgeseg.worker.child import Work
from edgeseg.worker.process import Job
from edgeseg.worker.shared import DONE, MESSAGE, TensorSpec
from edgeseg.worker.supervisor import Limits, Worker


def open_adder(folder, faults=None, payload=b"weights", **limits):
    """A Worker of an Adder, with much patience but for `limits`."""
    options = {"folder": str(folder), "faults": faults or {}}
    job = Job("children:Adder", options, payload, TensorSpec((4, 3), "uint8"), TensorSpec((2, 3), "uint8"))
    patience = dict({"infer_s": 20.0, "silent_s": 20.0, "pause_s": 0.01}, **limits)
    return Worker("the adder", job, "feed it", Limits(**patience))


def answer(sequence):
    """An answer of this child out of turn."""
    told = json.loads(sys.argv[1])
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=os.dup(told["socket"])) as connection:
        connection.send(MESSAGE.pack(sequence, DONE))


def abort():
    print("F driver/usb/usb_driver.cc:857] transfer on tag 1 failed. Abort.", file=sys.stderr)
    print("a backtrace\n" * 5, file=sys.stderr, flush=True)
    os.abort()


def answer_before():
    answer(1)
    time.sleep(0.3)


def hang_with_the_lock():
    ctypes.PyDLL(None).sleep(1000)


def refuse():
    raise BundleError("the network is too wide", "export a narrower one")


def fail():
    raise ValueError("the chip is tired")


FAULTS = {
    "abort": abort,
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: os._exit(3),
    "leave": lambda: sys.exit("goodbye"),
    "hang": lambda: time.sleep(1000),
    "hang-with-the-lock": hang_with_the_lock,
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "fail": fail,
    "refuse": refuse,
    "answer-before": answer_before,
    "slow": lambda: time.sleep(0.7),
    "chatter": lambda: print("chatter " * 40000, flush=True),
    "none": lambda: None,
}
IN_INFER = ("scribble", "answer-twice")


class Adder(Work):
    """Options: `faults` by number of the call over all processes, "0" at the opening, "*" always; `folder` to count."""

    def open(self, payload, options):
        self._options = options
        self._count("opened")
        self._fail("0")
        return {"payload": payload.decode("ascii"), "session": os.getsid(0)}

    def infer(self, source, sink):
        call = str(self._count("called"))
        self._fail(call)
        if self._options["faults"].get(call) == "scribble":
            source[...] = 99
        sink[...] = source[:2] + 1
        if self._options["faults"].get(call) == "answer-twice":
            answer(int(call))

    def close(self):
        self._count("closed")

    def _fail(self, call):
        name = self._options["faults"].get(call) or (call != "0" and self._options["faults"].get("*"))
        if name and name not in IN_INFER:
            FAULTS[name]()

    def _count(self, name):
        with open(os.path.join(self._options["folder"], name), "a+") as file:
            file.write("x")
            return file.tell()
