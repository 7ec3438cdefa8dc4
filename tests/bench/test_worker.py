"""The figures of the child process: there, and in their places."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("cv2")


def test_the_table():
    command = [sys.executable, "-W", "error", "-m", "edgeseg.bench.worker", "--frames", "20"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr.decode()
    title, *rows = done.stdout.decode().splitlines()
    assert title.startswith("20 frames on ")
    assert [row[:31].split("  ")[0] for row in rows] == 3 * ["one by one"] + 3 * ["30 a second"]
    here, child, added = (np.array([float(word) for word in row[31:].split() if "." in word]) for row in rows[:3])
    assert len(here) == 3 and here.min() > 0
    np.testing.assert_allclose(added, child - here, atol=0.002)
