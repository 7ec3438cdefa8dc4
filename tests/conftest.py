"""What every test may use."""

import os
import runpy
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from edgeseg.palette import CAMVID

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a background job; what the tests start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data():
    """Function (*parts) -> path in the folder of real data; skips the test where it is absent.

    The folder is $EDGESEG_TEST_DATA, by default ../shared/data beside the repository.
    """
    repository = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    root = os.environ.get("EDGESEG_TEST_DATA") or os.path.join(repository, "..", "shared", "data")

    def find(*parts):
        path = os.path.abspath(os.path.join(root, *parts))
        if not os.path.exists(path):
            pytest.skip(f"no test data at {path} (set EDGESEG_TEST_DATA)")
        return path

    return find


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """Folder with onnx.edgeseg, int8.edgeseg and fp32.edgeseg of tests/device_bundles.py."""
    folder = os.environ.get("EDGESEG_TEST_BUNDLES")
    if folder:
        return folder
    pytest.importorskip("keras", reason="no EDGESEG_TEST_BUNDLES, and no Keras to make the bundles")
    made = str(tmp_path_factory.mktemp("bundles"))
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "device_bundles.py")
    subprocess.run([sys.executable, script, made], check=True, stderr=subprocess.DEVNULL)
    return made


@pytest.fixture
def painting():
    """An image in class colours (64, 96, 3) uint8 RGB, and its labels: patches of 16x16 pixels."""
    labels = np.random.RandomState(3).randint(0, len(CAMVID), (4, 6)).repeat(16, 0).repeat(16, 1).astype(np.uint8)
    colors = np.array([c.color for c in CAMVID], np.uint8)
    return colors[labels], labels


@pytest.fixture
def edgetpu_compiler(monkeypatch, tmp_path):
    """Function (mode="", version="16") -> path of a file that gets a line of arguments for each run.

    The PATH then has the double of tests/edgetpu_double/edgetpu_compiler.py, which says what modes there are.
    """
    tests = os.path.dirname(os.path.abspath(__file__))
    double = runpy.run_path(os.path.join(tests, "edgetpu_double", "edgetpu_compiler.py"))
    folder, runs = tmp_path / "compiler", tmp_path / "runs.txt"
    folder.mkdir()
    double["install"](folder)
    monkeypatch.setenv("PATH", "{}{}{}".format(folder, os.pathsep, os.environ["PATH"]))
    monkeypatch.setenv("EDGETPU_COMPILER_DOUBLE_RUNS", str(runs))
    for name in ("EDGETPU_COMPILER", "EDGETPU_COMPILER_IMAGE"):
        monkeypatch.delenv(name, raising=False)

    def use(mode="", version="16"):
        monkeypatch.setenv("EDGETPU_COMPILER_DOUBLE", mode)
        monkeypatch.setenv("EDGETPU_COMPILER_DOUBLE_VERSION", version)
        return runs

    use()
    return use


@pytest.fixture(scope="session")
def wait_for_process():
    """Function (text, there): wait until a process, or none, has `text` in its command line; fails after 30 s."""

    def command_lines():
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    yield file.read().decode("utf-8", "replace")
            except OSError:  # it ended
                pass

    def wait(text, there):
        deadline = time.monotonic() + 30
        while any(text in line for line in command_lines()) != there:
            assert time.monotonic() < deadline, "{} process with {}".format("no" if there else "a", text)
            time.sleep(0.02)

    return wait
