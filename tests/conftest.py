"""What every test may use."""

import os
import signal
import subprocess
import sys

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
