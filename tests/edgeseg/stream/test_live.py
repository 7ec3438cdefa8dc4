"""Live sources: the newest frame or an error, never an old frame."""

import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest

from edgeseg.errors import CameraError
from edgeseg.stream import open_source
from edgeseg.stream.live import LiveSource

cv2 = pytest.importorskip("cv2")


class Camera:
    """Sends a picture every `period` seconds whose pixels are its number; then fails, or hangs."""

    def __init__(self, period=0.005, count=10**6, hang=False, damaged=()):
        self._period, self._count, self._hang, self._damaged = period, count, hang, damaged
        self._number = -1
        self.released = threading.Event()

    def grab(self):
        time.sleep(self._period)
        if self._number + 1 >= self._count:
            if self._hang:
                self.released.wait(3)
            return False
        self._number += 1
        return True

    def retrieve(self):
        if self._number in self._damaged:
            return False, None
        return True, np.full((4, 6, 3), self._number % 256, np.uint8)

    def release(self):
        self.released.set()


def read(source):
    frame = source.read()
    assert frame is not None
    return frame


def rising(frames):
    return all(frames[k].sequence > frames[k - 1].sequence for k in range(1, len(frames)))


def test_a_slow_reader_gets_new_frames_and_the_count_of_the_dropped():
    with LiveSource(Camera(period=0.005), "cam") as source:
        assert source.live and source.size == (6, 4) and source.frames is None
        frames = []
        for _ in range(6):
            time.sleep(0.06)
            frames.append(read(source))
            # One period and some scheduling; a queue would give frames ever older.
            assert time.monotonic() - frames[-1].captured < 0.05
    for count, frame in enumerate(frames):
        assert frame.dropped == frame.sequence - count
        assert frame.name == f"frame{frame.sequence:06d}"
        assert (frame.image == frame.sequence % 256).all()  # it was not overwritten since
    assert rising(frames)
    assert frames[-1].dropped > 10


def test_a_fast_reader_gets_every_frame_once():
    with LiveSource(Camera(period=0.02), "cam") as source:
        sequences = [read(source).sequence for _ in range(10)]
    assert sequences == list(range(sequences[0], sequences[0] + 10))


def test_damaged_frames_count_as_dropped():
    with LiveSource(Camera(period=0.02, damaged=(2, 3)), "cam") as source:
        frames = [read(source) for _ in range(5)]
    assert [f.sequence for f in frames] == [0, 1, 4, 5, 6]
    assert [f.dropped for f in frames] == [0, 0, 2, 2, 2]


def test_a_camera_that_stops_is_an_error_even_if_a_frame_is_at_hand():
    camera = Camera(count=3)
    with LiveSource(camera, "cam") as source:
        assert camera.released.wait(2)
        for _ in range(2):
            with pytest.raises(CameraError, match="cam stopped sending"):
                source.read()


def test_a_camera_that_hangs_is_an_error_in_time():
    camera = Camera(count=3, hang=True)
    with LiveSource(camera, "cam", timeout_s=0.3) as source:
        time.sleep(0.5)  # now the newest frame is too old to be given
        start = time.monotonic()
        with pytest.raises(CameraError, match=r"no frame for 0\.3 s"):
            source.read()
        assert 0.2 < time.monotonic() - start < 1.5
        camera.released.set()


def test_a_camera_that_sends_nothing_cannot_be_opened():
    camera = Camera(count=0)
    with pytest.raises(CameraError):
        LiveSource(camera, "cam")
    assert camera.released.wait(2)


def test_a_driver_that_raises_is_reported():
    class Broken(Camera):
        def retrieve(self):
            raise RuntimeError("bus error")

    with pytest.raises(CameraError, match="bus error"):
        LiveSource(Broken(), "cam")


def test_closing_ends_a_reader_that_waits_and_frees_the_device():
    camera = Camera(period=0.01, count=2, hang=True)
    source = LiveSource(camera, "cam", timeout_s=30)
    source.read()
    got: Any = []
    reader = threading.Thread(target=lambda: got.extend(source))
    reader.start()
    time.sleep(0.1)
    threading.Timer(0.1, camera.released.set).start()
    source.close()
    reader.join(3)
    assert not reader.is_alive()
    assert all(frame.sequence == 1 for frame in got)
    assert source.read() is None


def test_a_real_capture_read_by_the_thread(video):
    class Paced:
        """A real capture of a file that sends at the pace of a camera."""

        def __init__(self):
            capture = cv2.VideoCapture(video)
            self.retrieve, self.release, self._grab = capture.retrieve, capture.release, capture.grab

        def grab(self):
            time.sleep(0.02)
            return self._grab()

    frames = []
    with LiveSource(Paced(), "clip") as source:
        with pytest.raises(CameraError, match="stopped"):
            while True:
                frames.append(read(source))
                time.sleep(0.05)
    assert 3 < len(frames) < 15
    for frame in frames:
        assert abs(frame.image.mean() - (20 + 8 * frame.sequence)) < 3


class Stream(BaseHTTPRequestHandler):
    """An IP camera: /live sends JPEG after JPEG (as many as `server.count`), /clip.avi is a file."""

    server: Any

    def do_GET(self):
        if self.path.startswith("/clip"):
            with open(self.server.clip, "rb") as file:
                data = file.read()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self._send(data)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for k in range(self.server.count):
            jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), k, np.uint8))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            if not self._send(head.encode() + jpeg + b"\r\n"):
                return
            time.sleep(0.01)

    def _send(self, data):
        try:
            self.wfile.write(data)
            return True
        except OSError:
            return False

    def log_message(self, *_):
        pass


@pytest.fixture
def server(video):
    if "FFMPEG:                      YES" not in cv2.getBuildInformation():
        pytest.skip("this OpenCV has no FFmpeg")
    server: Any = HTTPServer(("127.0.0.1", 0), Stream)
    server.clip, server.count = video, 250
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_an_ip_camera_is_live_and_its_end_is_an_error(server):
    with open_source(f"http://user:pw@127.0.0.1:{server.server_port}/live") as source:
        assert source.live and source.size == (64, 48)
        assert "pw" not in source.name
        frames = []
        with pytest.raises(CameraError, match="stopped"):
            while True:
                time.sleep(0.1)
                frames.append(read(source))
    assert frames and frames[-1].dropped > 0
    assert rising(frames)


def test_a_video_file_behind_http_has_an_end(server):
    with open_source(f"http://127.0.0.1:{server.server_port}/clip.avi") as source:
        assert not source.live and source.frames == 20
        assert sum(1 for _ in source) == 20
