"""Damaged .tflite files through the public path: each is refused with one of our errors, or runs.

EDGESEG_FUZZ_FILES says how many (1000), EDGESEG_FUZZ_FIRST the seed of the first (0).
"""

import collections
import os
import subprocess
import sys
from typing import Counter

import pytest
from libedgetpu import FOLDER

from edgeseg.backends import BACKENDS, available_package, edgetpu

FILES = int(os.environ.get("EDGESEG_FUZZ_FILES", "1000"))
FIRST = int(os.environ.get("EDGESEG_FUZZ_FIRST", "0"))
ON_TPU = 8  # of a thousand: each takes a second


@pytest.mark.skipif(available_package(BACKENDS[0]) not in edgetpu.PACKAGES, reason="no interpreter with delegates")
def test_damaged_files(bundles, libedgetpu):
    fates: Counter[str] = collections.Counter()
    first, end = FIRST, FIRST + FILES
    problems = []
    while first < end:
        script = os.path.join(FOLDER, "fuzz.py")
        numbers = [str(n) for n in (first, end - first, -(-ON_TPU * FILES // 1000))]
        done = subprocess.run(
            [sys.executable, script, os.path.join(bundles, "int8.edgeseg")] + numbers,
            check=False,
            env=dict(os.environ, EDGESEG_LIBEDGETPU=libedgetpu),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )
        lines = [line.split(": ") for line in done.stdout.splitlines()]
        assert lines, done.stderr
        fates.update(line[2] for line in lines if len(line) == 3)
        first = int(lines[-1][0]) + 1
        if done.returncode:
            problems.append("{}: exit {}: {}".format(": ".join(lines[-1]), done.returncode, done.stderr[-1000:]))
    print("\n{} damaged files: {}".format(FILES, dict(fates)))
    assert problems == []
    assert sum(fates.values()) == FILES
    assert all(fates[fate] for fate in ("refused", "run on cpu", "run on usb"))
