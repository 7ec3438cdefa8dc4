"""A long call on a thread of its own: results, errors, lines on standard error, Ctrl-C."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest

from edgeseg.trt import progress as module
from edgeseg.trt.progress import Progress, interrupts_deferred, watched


def test_result_and_error_come_through(capsys):
    assert watched(lambda: 42, "working", Progress()) == 42
    with pytest.raises(KeyError, match="missing"):
        watched(lambda: {"a": 1}["missing"], "working", Progress())
    assert capsys.readouterr().err == ""  # nothing to say of work that is done at once


def test_an_error_keeps_nothing_alive():
    alive = []

    class Builder:
        """Stands for an object of TensorRT, which must go while the GPU is ours."""

    def work():
        builder = Builder()
        alive.append(weakref.ref(builder))
        raise OSError("no memory")

    gc.disable()
    try:
        try:
            watched(work, "working", Progress())
        except OSError:
            pass
        assert alive[0]() is None
    finally:
        gc.enable()


def test_it_shows_that_it_lives(monkeypatch, capsys):
    monkeypatch.setattr(module, "_PERIOD_S", 0.01)
    progress = Progress()
    said = threading.Event()

    def work():
        progress.start("Building Engine", 4)
        progress.start("Tactic Selection", 120)
        progress.step("Tactic Selection", 11)
        said.wait(0.2)
        progress.finish("Tactic Selection")
        progress.step("Building Engine", 0)
        said.wait(0.2)

    watched(work, "building", progress)
    lines = capsys.readouterr().err.splitlines()
    assert "edgeseg: building: 0:00  Building Engine 0/4, Tactic Selection 12/120" in lines
    assert lines[-1] == "edgeseg: building: 0:00  Building Engine 1/4"


def test_one_line_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(module, "_PERIOD_TTY_S", 0.01)
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = Progress()
    progress.start("a phase with a very long name", 3)
    watched(lambda: time.sleep(0.2), "building", progress)
    text = capsys.readouterr().err
    assert "\n" not in text and text.endswith("\r\x1b[K")  # the line is gone when the work is done
    lines = text.split("\r\x1b[K")
    assert len(lines) > 2 and all(len(line) < 30 for line in lines)


def test_a_service_without_standard_error(monkeypatch):
    monkeypatch.setattr(module, "_PERIOD_S", 0.01)
    monkeypatch.setattr(sys, "stderr", None)

    def work():
        time.sleep(0.05)
        return 7

    assert watched(work, "building", Progress()) == 7


INTERRUPTED = """
import atexit, sys, time
atexit.register(print, "torn down")
import edgeseg.cli
from edgeseg.trt.progress import Progress, interrupts_deferred, watched

progress = Progress()

def work():
    print("started", flush=True)
    while {}:
        time.sleep(0.01)

def command(_):
    try:
        watched(work, "building", progress)
    finally:
        time.sleep(0.1)

edgeseg.cli._dispatch = command
sys.exit(edgeseg.cli.main([]))
"""


@pytest.mark.parametrize("condition, rest", [("True", b""), ("not progress.cancelled", b"torn down\n")])
def test_ctrl_c_is_answered_at_once(condition, rest):
    """Also while the work cannot be stopped; then the libraries that it runs in must not be torn down."""
    command = [sys.executable, "-c", INTERRUPTED.format(condition)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"started\n"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert b"interrupted" in errors and b"Traceback" not in errors and output == rest


def test_the_work_is_told_to_stop():
    progress = Progress()
    stopped = threading.Event()

    def work():
        os.kill(os.getpid(), signal.SIGINT)
        while not progress.cancelled:
            time.sleep(0.001)
        stopped.set()

    with pytest.raises(KeyboardInterrupt):
        watched(work, "building", progress)
    assert stopped.wait(10)


def test_ctrl_c_waits_for_a_call_that_it_would_break():
    steps = []
    with pytest.raises(KeyboardInterrupt):
        with interrupts_deferred():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            steps.append("loaded")
    assert steps == ["loaded"]
    with pytest.raises(KeyboardInterrupt):  # as before
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)


def test_deferring_is_for_the_main_thread_and_keeps_what_the_program_set():
    received = []
    former = signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        thread = threading.Thread(target=lambda: interrupts_deferred().__enter__())
        thread.start()
        thread.join()
        with interrupts_deferred():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            assert received == []
        assert received == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, former)
