"""A child ends when it should, always, and leaves nothing behind."""

import errno
import gc
import glob
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any, List

import pytest

from edgeseg.errors import EnvironmentFault

FOLDER = os.path.dirname(os.path.abspath(__file__))

# A program that uses a worker; `worker` is open and has given a result.
PROGRAM = """
import os, signal, sys, threading, time
sys.path[:0] = [{folder!r}]
from children import open_adder
{before}
worker = open_adder({counts!r}, {faults!r}, attempts=2)
worker.input[...] = 1
assert (worker.infer() == 2).all()
print(worker.pid, flush=True)
{after}
"""


@pytest.fixture
def program(tmp_path):
    """Function (after, before="", faults={}) -> a started program and the process number of its child."""
    programs: List[Any] = []

    def start(after, before="", faults=None):
        code = PROGRAM.format(folder=FOLDER, counts=str(tmp_path), before=before, after=after, faults=faults or {})
        command = [sys.executable, "-W", "error", "-c", code]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        programs.append(process)
        assert process.stdout
        return process, int(process.stdout.readline())

    yield start
    for process in programs:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.mark.parametrize("closed", [(0,), (0, 2)])
def test_a_program_without_standard_streams(program, closed):
    """Its files get their numbers, which are the child's streams."""
    process, _ = program("worker.close()", before="for n in {}: os.close(n)".format(closed))
    assert process.wait() == 0


def exists(pid):
    """Whether there is a process, be it a zombie."""
    return os.path.exists("/proc/{}".format(pid))


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def open_files():
    """What the descriptors of this process lead to."""
    folder = "/proc/self/fd/"
    return [os.readlink(folder + name) for name in os.listdir(folder) if os.path.islink(folder + name)]


def signal_when(condition, number):
    """Start a thread that sends this process a signal when something is so."""

    def send():
        wait_for(condition)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_closing_leaves_nothing(open_adder, run, tmp_path):
    gc.collect()
    before = sorted(open_files())
    worker = open_adder(tmp_path, {"2": "abort"})
    run(worker, range(3))
    assert not [path for path in open_files() if path.startswith("/dev/shm") and not path.endswith(" (deleted)")]
    pid = worker.pid
    worker.close()
    assert not exists(pid)
    worker.close()
    with pytest.raises(RuntimeError, match="the adder is closed"):
        worker.infer()
    worker = None
    gc.collect()
    assert sorted(open_files()) == before


@pytest.mark.parametrize("fault", ["hang", "hang-with-the-lock", "stop"])
def test_closing_while_another_thread_waits(fault, open_worker, count):
    worker = open_worker({"*": fault}, close_s=0.1)
    raised = []

    def wait():
        try:
            worker.infer()
        except RuntimeError as error:
            raised.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    wait_for(lambda: count("called"))
    pid = worker.pid
    worker.close()
    thread.join(20)
    assert not thread.is_alive() and not exists(pid)
    assert len(raised) == 1 and "closed" in raised[0]


def test_closing_in_a_signal_handler_while_it_waits(open_worker, count):
    worker = open_worker({"*": "hang"}, close_s=0.1)
    before = signal.signal(signal.SIGUSR1, lambda *_: worker.close())
    try:
        thread = signal_when(lambda: count("called"), signal.SIGUSR1)
        with pytest.raises(RuntimeError, match="closed"):
            worker.infer()
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_forgotten_worker_ends_its_child(open_adder, run, tmp_path):
    worker = open_adder(tmp_path, {"1": "exit"})
    run(worker, range(2))
    pid = worker.pid
    worker = None
    gc.collect()
    assert not exists(pid)


@pytest.mark.parametrize("fault", ["none", "hang", "hang-with-the-lock", "stop"])
def test_the_child_ends_with_a_killed_parent(fault, program, count):
    parent, child = program("worker.infer()" if fault != "none" else "time.sleep(1000)", faults={"2": fault})
    wait_for(lambda: fault == "none" or count("called") == 2)
    parent.kill()
    parent.wait()
    wait_for(lambda: not exists(child))


KEEP = "threading.Thread(target=lambda kept=worker: time.sleep(1000), daemon=True).start(); del worker"
ENDS = {
    "the end": "",
    "an exception": "raise ValueError('ours')",
    "exit": "sys.exit(0)",
    "a thread that keeps it": KEEP,
    "a thread that waits": "threading.Thread(target=worker.infer, daemon=True).start(); time.sleep(0.5)",
}


@pytest.mark.parametrize("end", sorted(ENDS))
def test_the_child_ends_with_the_program(end, program, count):
    parent, child = program(ENDS[end], faults={"2": "hang"})
    errors = parent.communicate(timeout=60)[1].decode()
    wait_for(lambda: not exists(child))
    assert count("closed") == (end != "a thread that waits")  # in order, where it can
    assert "warning" not in errors.lower()  # nothing is left open, and nothing is started again
    assert parent.returncode == (1 if end == "an exception" else 0)


def test_ctrl_c_is_for_the_parent(open_worker, run):
    worker = open_worker()
    assert worker.found["session"] == worker.pid != os.getsid(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # as a service manager sends to all processes
        os.kill(worker.pid, number)
    run(worker, range(3))
    assert worker.counters.faults == 0


def test_a_frame_that_was_interrupted_is_never_the_next_one(open_worker, run, count):
    worker = open_worker({"2": "slow"})
    run(worker, [0])
    thread = signal_when(lambda: count("called") == 2, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(worker, [1])
    thread.join()
    run(worker, [10, 11, 12])
    assert worker.counters == (4, 0, 0, "")


@pytest.mark.parametrize(
    "handler",
    ["signal.SIG_IGN", "lambda *_: [os.waitpid(-1, os.WNOHANG) for _ in range(1)]"],
    ids=["ignored", "reaps all"],
)
def test_programs_that_look_after_children_themselves(handler, program):
    before = "signal.signal(signal.SIGCHLD, {})".format(handler)
    after = "worker.input[...] = 7; assert (worker.infer() == 8).all(); worker.close(); print(worker.counters)"
    parent, child = program(after, before, {"2": "abort"})
    output, errors = parent.communicate(timeout=60)
    assert b"frames=2, faults=1, restarts=1" in output, errors
    assert parent.returncode == 0 and not exists(child)


FORK = """
forked = os.fork()
if not forked:
    try:
        worker.infer()
    except RuntimeError as error:
        worker.close()
        os._exit(0 if "before a fork" in str(error) else 1)
    os._exit(2)
assert os.waitpid(forked, 0)[1] == 0
worker.input[...] = 7
assert (worker.infer() == 8).all() and worker.counters.faults == 0
"""


def test_after_a_fork_it_belongs_to_the_parent(program):
    parent, _ = program(FORK, "import warnings; warnings.simplefilter('ignore', DeprecationWarning)")
    errors = parent.communicate(timeout=60)[1]
    assert parent.returncode == 0, errors


# With the lock of the thread that waits, which the forked process does not have.
FORK_WHILE_ONE_WAITS = """
threading.Thread(target=worker.infer, daemon=True).start()
while os.stat({called!r}).st_size < 2:
    time.sleep(0.01)
forked = os.fork()
if forked:
    assert os.waitpid(forked, 0)[1] == 0
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_forked_process_ends_while_the_parent_waits(program, tmp_path):
    after = FORK_WHILE_ONE_WAITS.format(called=str(tmp_path / "called"))
    before = "import warnings; warnings.simplefilter('ignore', DeprecationWarning)"
    parent, child = program(after, before, {"2": "hang"})
    errors = parent.communicate(timeout=60)[1]
    assert parent.returncode == -signal.SIGKILL, errors
    wait_for(lambda: not exists(child))


def test_it_may_be_opened_in_a_thread_that_ends(open_worker, run):
    workers = []
    thread = threading.Thread(target=lambda: workers.append(open_worker()))
    thread.start()
    thread.join()
    run(workers[0], range(3))
    assert workers[0].counters.faults == 0


def test_an_idle_child_needs_no_processor(open_worker, run):
    worker = open_worker()
    run(worker, [0])

    def seconds():
        """All threads on a processor, to the nanosecond: /proc/PID/stat counts ticks, and each beat may meet one."""
        total = 0
        for thread in glob.glob("/proc/{}/task/*/schedstat".format(worker.pid)):
            with open(thread) as file:
                total += int(file.read().split()[0])
        assert total
        return 1e-9 * total

    time.sleep(0.5)  # threads of OpenBLAS spin for a moment after they are started
    before = seconds()
    time.sleep(1.5)
    assert seconds() - before <= 0.05


def test_a_program_with_an_embedded_python(open_worker, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/opt/robot/bin/robot")
    with pytest.raises(EnvironmentFault, match="'/opt/robot/bin/robot'") as caught:
        open_worker()
    assert "sys.executable = '/usr/bin/python3'" in caught.value.fix


def test_a_python_that_does_not_start(open_worker, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python3")
    with pytest.raises(EnvironmentFault, match="/nowhere/python3 cannot be started"):
        open_worker()


def test_modules_come_from_where_ours_do(open_worker, run, tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise ImportError('not the one')")
    monkeypatch.setattr(sys, "path", [os.path.abspath(folder) for folder in sys.path])  # "" is this folder
    monkeypatch.chdir(tmp_path)
    run(open_worker(), [0])


def test_shared_memory(open_worker, run, monkeypatch):
    reserve = os.posix_fallocate
    full: List[str] = []

    def refuse(descriptor, start, size):
        path = os.readlink("/proc/self/fd/{}".format(descriptor))
        if any(path.startswith(folder) for folder in full):
            raise OSError(errno.ENOSPC, "No space left on device")
        reserve(descriptor, start, size)

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    full.append("/dev/shm")
    run(open_worker(), range(3))  # the folder for temporary files does as well
    full.append("/")
    with pytest.raises(EnvironmentFault, match=r"12 bytes of shared memory .*No space left") as caught:
        open_worker()
    assert "--shm-size" in caught.value.fix
