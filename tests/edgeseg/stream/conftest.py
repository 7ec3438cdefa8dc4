"""Real files to read, and results to write."""

import os
import subprocess
from typing import Any

import numpy as np
import pytest

from edgeseg.palette import CAMVID
from edgeseg.segmentation import Segmentation
from edgeseg.stream.frame import Frame


def level(sequence):
    """Brightness that tells which frame a picture is."""
    return 20 + 8 * sequence


@pytest.fixture
def video(tmp_path):
    """A real video of 20 frames at 25 FPS, 96x64; frame k has the brightness 20 + 8 k."""
    cv2 = pytest.importorskip("cv2")
    path = str(tmp_path / "drive.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 25.0, (96, 64))
    assert writer.isOpened()
    for k in range(20):
        writer.write(np.full((64, 96, 3), level(k), np.uint8))
    writer.release()
    return path


@pytest.fixture
def images(tmp_path):
    """A folder with img1.png, img2.jpg, img10.png of brightness 20, 28, 36, and a text file."""
    cv2 = pytest.importorskip("cv2")
    folder = tmp_path / "images"
    folder.mkdir()
    for k, name in enumerate(["img1.png", "img2.jpg", "img10.png"]):
        assert cv2.imwrite(str(folder / name), np.full((48, 64, 3), level(k), np.uint8))
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture
def make_frame():
    """Function (sequence, size) -> Frame, Segmentation, drawn picture (noise, which codecs cannot shrink)."""

    def make(sequence=0, size=(96, 64), name=None):
        rng = np.random.RandomState(sequence)
        mask = rng.randint(0, len(CAMVID), (size[1], size[0])).astype(np.uint8)
        mask[0, :5] = 255
        drawn = rng.randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)
        frame = Frame(drawn, sequence, 0.0, name or f"frame{sequence:06d}")
        no_logits: Any = None
        result = Segmentation(mask, CAMVID, no_logits, 1.0, no_logits)
        result.sequence = sequence
        return frame, result, drawn

    return make


@pytest.fixture
def tiny_disk(tmp_path):
    """The folder of a real file system of 3 MB; skips the test where this user cannot mount one."""
    folder = str(tmp_path / "disk")
    os.mkdir(folder)
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder]
    try:
        mounted = os.geteuid() == 0 and subprocess.call(command, stderr=subprocess.DEVNULL) == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("a small disk can only be mounted by root")
    yield folder
    subprocess.check_call(["umount", folder])
