"""What a child may do to us, and that every frame gets its own result all the same, once and in order."""

import itertools
import os
import threading
import time
import types

import pytest

from edgeseg.errors import BundleError, EnvironmentFault
from edgeseg.worker import process


def test_frames_and_what_the_child_found(open_worker, run):
    worker = open_worker()
    assert worker.found["payload"] == "weights"
    run(worker, range(100))
    assert worker.counters == (100, 0, 0, "")


FAULTS = {
    "patient": [
        ("abort", "was ended by SIGABRT (F driver/usb/usb_driver.cc:857] transfer on tag 1 failed. Abort.)"),
        ("crash", "was ended by SIGSEGV"),
        ("kill", "was ended by SIGKILL (by hand, or for want of memory)"),
        ("exit", "ended with exit code 3"),
        ("leave", "ended with exit code 1 "),
        ("fail", "reported: ValueError: the chip is tired"),
        ("scribble", "reported: ValueError: assignment destination is read-only"),
        ("refuse", "reported: the network is too wide"),
    ],
    "infer_s": [("hang", "gave no answer in 1.5 s")],
    "silent_s": [
        ("hang-with-the-lock", "showed no sign of life for 1.5 s"),
        ("stop", "showed no sign of life for 1.5 s"),
    ],
}


@pytest.mark.parametrize("limit", sorted(FAULTS))
def test_a_fault_costs_time_and_nothing_else(limit, open_worker, run, count, capfd):
    faults = FAULTS[limit]
    limits = {} if limit == "patient" else {limit: 1.5}
    worker = open_worker({str(3 * i + 2): fault for i, (fault, _) in enumerate(faults)}, **limits)
    for i, (_, told) in enumerate(faults):
        before = worker.pid
        run(worker, [2 * i, 2 * i + 1])
        last = worker.counters.last_fault
        assert worker.counters[:3] == (2 * i + 2, i + 1, i + 1) and last.startswith(told)
        assert (count("opened"), count("called")) == (i + 2, 3 * i + 3)  # the frame of the fault again, no other
        assert worker.pid != before
        captured = capfd.readouterr()
        assert captured.err == "edgeseg: warning: the adder's process {}; restart {}\n".format(last, i + 1)
        assert captured.out == ""


def test_answers_out_of_turn_are_never_a_result(open_worker, run, count):
    worker = open_worker({"2": "answer-before", "3": "answer-twice", "5": "answer-before"})
    run(worker, range(8))
    assert worker.counters == (8, 0, 0, "") and count("called") == 8


def test_what_a_slow_child_writes_later_goes_nowhere(open_worker, run):
    worker = open_worker({"2": "slow"}, infer_s=0.3)
    old = worker.infer()
    run(worker, [7, 8])
    assert worker.counters.faults >= 1
    time.sleep(1)
    assert (old == 1).all()  # the first child would have written 8


def test_faults_one_after_another(open_worker, run, capfd):
    worker = open_worker({"1": "abort", "2": "exit", "3": "fail", "6": "crash"})
    run(worker, range(4))
    assert worker.counters[:3] == (4, 4, 4)
    assert [line.split()[-1] for line in capfd.readouterr().err.splitlines()] == ["1", "2", "3", "4"]


def test_a_frame_that_never_works(open_worker, run, count):
    worker = open_worker({"3": "abort", "4": "exit", "5": "exit"}, attempts=3)
    run(worker, range(2))
    with pytest.raises(EnvironmentFault) as caught:
        worker.infer()
    assert (
        caught.value.message
        == "the adder failed 3 times on one frame; the last time its process ended with exit code 3"
    )
    assert caught.value.fix == "feed it"
    assert count("called") == 5
    run(worker, [5, 6])  # another frame may do
    assert worker.counters[:3] == (4, 3, 3)


def test_the_fix_of_the_child_comes_first(open_worker):
    worker = open_worker({"*": "refuse"}, attempts=2)
    with pytest.raises(EnvironmentFault) as caught:
        worker.infer()
    assert caught.value.fix == "export a narrower one; or feed it"


def test_the_budget_is_one_of_a_time(open_worker, run, count):
    worker = open_worker({"*": "exit"}, attempts=6, restarts=2, window_s=1000)
    for _ in range(3):
        with pytest.raises(EnvironmentFault, match=r"the adder failed more than 2 times in 1000 s; .* exit code 3"):
            worker.infer()
        assert count("opened") == 3 and worker.pid is None  # and no process is started for the next frames
    assert worker.counters == (0, 3, 2, "ended with exit code 3")


def test_restarts_of_long_ago_are_forgotten(open_worker, run):
    worker = open_worker({"1": "exit", "2": "exit"}, restarts=1, window_s=0.0)
    run(worker, range(2))
    assert worker.counters.restarts == 2


def test_pauses_grow_until_a_frame_works(open_worker, run, monkeypatch):
    worker = open_worker({"1": "exit", "2": "exit", "3": "exit", "5": "exit"}, longest_pause_s=0.03)
    pauses = []
    monkeypatch.setattr(threading.Event, "wait", lambda _, seconds=None: pauses.append(seconds))
    run(worker, range(2))
    assert pauses == [0.01, 0.02, 0.03, 0.01]


def test_a_pause_of_this_process_is_not_the_childs_fault(open_worker, run, monkeypatch):
    """A debugger, `docker pause`, a machine that sleeps: the clock has jumped when it goes on."""
    worker = open_worker({"2": "slow"}, infer_s=10.0, silent_s=10.0)
    clock = itertools.count(0, 1000)
    monkeypatch.setattr(process, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    run(worker, range(3))
    assert worker.counters.faults == 0


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("crash", "the adder cannot be started: its process was ended by SIGSEGV"),
        ("hang", "the adder cannot be started: its process gave no answer in 2 s"),
        ("fail", "the adder cannot be started: its process reported: ValueError: the chip is tired"),
    ],
)
def test_a_child_that_does_not_start(fault, told, open_worker, count):
    with pytest.raises(EnvironmentFault) as caught:
        open_worker({"0": fault}, start_s=2.0 if fault == "hang" else 60.0)
    assert (caught.value.message, caught.value.fix) == (told, "feed it")
    assert count("opened") == 1


def test_our_own_errors_of_the_child_arrive_whole(open_worker):
    with pytest.raises(BundleError) as caught:
        open_worker({"0": "refuse"})
    assert (caught.value.message, caught.value.fix) == ("the network is too wide", "export a narrower one")


def test_work_that_is_not_there(open_worker, monkeypatch):
    worker = open_worker()
    with pytest.raises(EnvironmentFault, match="ModuleNotFoundError: No module named 'nowhere'"):
        type(worker)("the ghost", worker._job._replace(work="nowhere:Ghost"), "", worker._limits)


def test_what_a_child_prints_does_not_fill_the_memory(open_worker, run, capfd):
    worker = open_worker({"2": "abort", "*": "chatter"})
    run(worker, [0])
    path = "/proc/{}/fd/2".format(worker.pid)
    deadline = time.monotonic() + 30
    while os.stat(path).st_size > 64 << 10 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert os.stat(path).st_size <= 64 << 10
    run(worker, [1])
    assert "F driver/usb" in worker.counters.last_fault
    captured = capfd.readouterr()
    assert captured.out == "" and "chatter" not in captured.err
