"""Videos that play, or are not there."""

import os
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

from edgeseg.errors import EnvironmentFault, UsageError
from edgeseg.stream import open_source
from edgeseg.stream.sinks import open_output

cv2 = pytest.importorskip("cv2")


def flat(value, size=(96, 64)):
    return np.full((size[1], size[0], 3), value, np.uint8)


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
@pytest.mark.parametrize("size", [(96, 64), (97, 65)])
def test_a_video_reads_back(tmp_path, make_frame, suffix, size):
    path = str(tmp_path / "out.") + suffix
    with open_output(path, size, 12.5) as sink:
        assert sink.needs_drawing
        for k in range(10):
            frame, result, _ = make_frame(k, size)
            sink.write(frame, result, flat(20 * k, size))
            assert not os.path.exists(path)
    with open_source(path) as source:
        assert (source.size, source.fps, source.frames) == ((96, 64), 12.5, 10)
        for k, frame in enumerate(source):
            assert abs(frame.image.mean() - 20 * k) < 6
    assert os.listdir(str(tmp_path)) == ["out." + suffix]


def test_unknown_fps_is_taken_as_30(tmp_path, make_frame):
    path = str(tmp_path / "out.mp4")
    with open_output(path, (96, 64), 0) as sink:
        sink.write(*make_frame())
    assert open_source(path).fps == 30


def test_dropped_frames_are_filled_so_that_time_stays_right(tmp_path, make_frame):
    path = str(tmp_path / "out.avi")
    with open_output(path, (96, 64), 30) as sink:
        for sequence in (5, 6, 9):
            frame, result, _ = make_frame(sequence)
            sink.write(frame, result, flat(20 * sequence))
    shown = [round(float(f.image.mean()) / 20) for f in open_source(path)]
    assert shown == [5, 6, 9, 9, 9]


def test_no_frame_no_file_and_what_was_there_stays(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"mine")
    with open_output(str(path), (96, 64), 30):
        pass
    assert path.read_bytes() == b"mine" and os.listdir(str(tmp_path)) == ["out.mp4"]


def test_an_error_leaves_what_was_there(tmp_path, make_frame):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"mine")
    with pytest.raises(ValueError):
        with open_output(str(path), (96, 64), 30) as sink:
            sink.write(*make_frame())
            raise ValueError
    assert path.read_bytes() == b"mine" and os.listdir(str(tmp_path)) == ["out.mp4"]


def test_pictures_of_another_size(tmp_path, make_frame):
    with pytest.raises(UsageError, match="64x48, but the video is 96x64"):
        with open_output(str(tmp_path / "out.mp4"), (96, 64), 30) as sink:
            sink.write(*make_frame())
            sink.write(*make_frame(1, (64, 48)))
    assert os.listdir(str(tmp_path)) == []


ENDLESS = """
import signal, sys, time
import numpy as np
from edgeseg.stream.frame import Frame
from edgeseg.stream.sinks import open_output
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
picture = np.full((64, 96, 3), 90, np.uint8)
with open_output(sys.argv[1], (96, 64), 30) as sink:
    for k in range(10 ** 6):
        sink.write(Frame(picture, k, 0.0, "f"), None, picture)
        if k == 40:
            print("running")
            sys.stdout.flush()
        time.sleep(0.001)
"""


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_videos_play(tmp_path, suffix, number):
    path = str(tmp_path / "out.") + suffix
    run: Any = subprocess.Popen([sys.executable, "-c", ENDLESS, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.stdout.readline() == b"running\n"
    time.sleep(0.1)
    run.send_signal(number)
    run.communicate()
    assert run.returncode != 0
    with open_source(path) as source:
        count = sum(1 for _ in source)
        assert count == source.frames and count > 40
    assert os.listdir(str(tmp_path)) == ["out." + suffix]


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
def test_full_disk(tiny_disk, make_frame, suffix):
    frame, result, drawn = make_frame(0, (640, 480))
    with pytest.raises(EnvironmentFault, match="disk full") as caught:
        with open_output(tiny_disk + "/out." + suffix, (640, 480), 30) as sink:
            for k in range(1000):
                sink.write(frame._replace(sequence=k), result, np.roll(drawn, k, axis=1))
    assert caught.value.exit_code == 3
    assert os.listdir(tiny_disk) == []


def test_a_disk_that_is_full_from_the_start(tiny_disk):
    with open(tiny_disk + "/ballast", "wb") as file:
        file.write(b"x" * (5 << 19))
    with pytest.raises(EnvironmentFault, match="disk full"):
        open_output(tiny_disk + "/out.mp4", (640, 480), 30)
    assert os.listdir(tiny_disk) == ["ballast"]


LIMITED = """
import resource, sys
import numpy as np
from edgeseg.errors import EnvironmentFault
from edgeseg.stream.frame import Frame
from edgeseg.stream.sinks import open_output
resource.setrlimit(resource.RLIMIT_FSIZE, (200000, 200000))
picture = np.random.RandomState(0).randint(0, 256, (480, 640, 3)).astype(np.uint8)
try:
    with open_output(sys.argv[1], (640, 480), 30) as sink:
        for k in range(20):
            sink.write(Frame(picture, k, 0.0, "f"), None, np.roll(picture, k, 1))
except EnvironmentFault as error:
    sys.exit("fault: {}".format(error.message))
"""


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
def test_a_quota_that_free_space_does_not_show(tmp_path, suffix):
    """OpenCV says nothing when its writes fail: the finished file is looked at."""
    path = tmp_path / ("out." + suffix)
    path.write_bytes(b"mine")
    run = subprocess.Popen([sys.executable, "-c", LIMITED, str(path)], stderr=subprocess.PIPE)
    errors = run.communicate()[1].decode()
    assert run.returncode == 1 and "fault: disk full" in errors, errors
    assert path.read_bytes() == b"mine" and os.listdir(str(tmp_path)) == ["out." + suffix]
