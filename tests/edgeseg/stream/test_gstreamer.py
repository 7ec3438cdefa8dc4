"""Pipelines in a real GStreamer, both ways: PyGObject, and an OpenCV that was built with GStreamer.

Both belong to the system's Python (Debian and Ubuntu: python3-gi gir1.2-gst-plugins-base-1.0
gir1.2-gst-rtsp-server-1.0 python3-opencv gstreamer1.0-plugins-{base,good,bad,ugly} gstreamer1.0-libav), so the tests
run there, in a process of their own.
"""

import json
import os
import subprocess
from typing import Any

import numpy as np
import pytest

from edgeseg.errors import CameraError
from edgeseg.stream import open_source
from edgeseg.stream.gstreamer import copy_bgr

SYSTEM_PYTHON = "/usr/bin/python3"
HERE = os.path.dirname(os.path.abspath(__file__))
ENCODINGS = ["h264", "h265", "mjpg"]
SERVER = os.path.join(HERE, "rtsp_server.py")
BLUE = "videotestsrc is-live=true pattern=blue ! video/x-raw,width={},height=64,framerate=30/1"
# The bars move by 2 pixels a frame: where they stand tells how many frames went by.
MOVING = "videotestsrc is-live=true pattern=smpte horizontal-speed=2 ! video/x-raw,width=320,height=32,framerate=30/1"
SILENT = 'appsrc is-live=true format=time caps="video/x-raw,format=RGB,width=8,height=8,framerate=1/1"'
PREAMBLE = """
import json, os, sys, time
import numpy as np
if {way!r} == "opencv":
    sys.modules["gi"] = None
from edgeseg.errors import EdgesegError
from edgeseg.stream import gstreamer, open_source, pipelines

def fault(call):
    start = time.monotonic()
    try:
        call()
    except EdgesegError as error:
        return [type(error).__name__, error.message, error.fix, time.monotonic() - start]

def say(value):
    print(json.dumps(value))
"""


def run_in_system_python(way, code):
    """The JSON that `code` says. Raises CalledProcessError if it fails."""
    repository = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
    environment = dict(os.environ, PYTHONPATH=repository, LC_ALL="C")
    command = [SYSTEM_PYTHON, "-c", PREAMBLE.format(way=way) + code]
    return json.loads(subprocess.check_output(command, env=environment, timeout=60).decode())


@pytest.fixture(scope="module", params=["pygobject", "opencv"])
def real(request):
    """Function (code) -> what the code says, run with one of the two ways to GStreamer; `real.way` names it."""
    way = request.param
    probe = [SYSTEM_PYTHON, "-c", "import cv2, numpy"]
    if not os.path.exists(SYSTEM_PYTHON) or subprocess.call(probe, stderr=subprocess.DEVNULL):
        pytest.skip("there is no {} with NumPy and OpenCV (python3-opencv)".format(SYSTEM_PYTHON))
    usable = {"pygobject": "gstreamer._pygobject_fault() is None", "opencv": "gstreamer.opencv_has('GStreamer')"}[way]
    needed = "('videotestsrc', 'videoconvert', 'appsink', 'v4l2src', 'rtspsrc', 'avdec_h264')"
    found = run_in_system_python(way, "say({} and all(map(gstreamer.has_element, {})))".format(usable, needed))
    if not found:
        pytest.skip("the system has not got GStreamer, its plugins, or the way to it: " + way)

    def run(code):
        return run_in_system_python(way, code)

    run.way = way  # type: ignore[attr-defined]
    return run


def test_frames_have_the_size_and_colour_of_the_camera_and_memory_of_their_own(real):
    widths = [320, 321, 322, 323]  # rows are padded to 4 bytes
    cameras = real(
        """
said = []
for width in {}:
    with open_source("gst: {} ! appsink".format(width)) as source:
        image = source.read().image
        before = image.copy()
        image[0] = 7  # writable
        image[0] = before[0]
        while source.read().sequence < 5:
            pass
        colours = np.unique(image.reshape(-1, 3), axis=0).tolist()
        said.append([image.shape, colours, source.fps, source.live, source.name, bool((image == before).all())])
say(said)
""".replace("{}", str(widths), 1).replace("{} !", BLUE + " !")
    )
    blue = [[255, 0, 0]]  # BGR
    assert cameras == [[[64, width, 3], blue, 30.0, True, "gst:videotestsrc", True] for width in widths]


def test_a_slow_reader_gets_the_newest_frame(real):
    frames, pixels = real(
        """
def moved(a, b):
    return int(np.argmin([np.abs(np.roll(a, -k, axis=1).astype(int) - b).sum() for k in range(a.shape[1])]))

with open_source("gst: {} ! appsink") as source:
    for _ in range(5):  # on a busy machine the appsink replaces frames before the thread that counts takes them
        first = source.read()
        time.sleep(1)
        second = source.read()
        frames, pixels = second.sequence - first.sequence, moved(first.image, second.image)
        if abs(pixels - 2 * frames) <= 2:
            break
say([frames, pixels])
""".format(MOVING)
    )
    assert frames > 15
    # Newest means: the picture is as many frames ahead as the counter says, none waited in a queue.
    assert abs(pixels - 2 * frames) <= 2


def test_the_pipeline_of_a_csi_camera_with_a_sensor_and_converter_that_a_pc_has(real):
    shape, top, bottom = real(
        """
text = pipelines.csi(0, (640, 480), 30, 2, (320, 176))
turn = "videoconvert ! videoflip video-direction=180 ! videoscale ! videoconvert"
for nvidia, here in [("nvarguscamerasrc sensor-id=0", "videotestsrc is-live=true pattern=gradient"),
                     ("(memory:NVMM)", ""), ("nvvidconv flip-method=2", turn)]:
    assert nvidia in text
    text = text.replace(nvidia, here)
with gstreamer.open_pipeline(text, "csi://0", "fix") as source:
    image = source.read().image
say([image.shape, float(image[:8].mean()), float(image[-8:].mean())])
"""
    )
    assert shape == [176, 320, 3]
    assert top > 200 and bottom < 40  # upright, the gradient goes from black to white


def test_a_camera_that_is_absent(real):
    code = "say(fault(lambda: open_source('gst: v4l2src device=/dev/video77 ! appsink')))"
    kind, message, fix, _ = real(code)
    assert kind == "CameraError" and fix
    if real.way == "pygobject":  # GStreamer's words and the system's
        assert "Cannot identify device '/dev/video77'. (system error: No such file or directory)" in message
    else:
        assert "GStreamer did not start" in message and "python3-gi" in message


def test_a_usb_camera_that_gives_no_video(real):
    # /dev/null stands for a device that is there and is no camera.
    faults = real(
        """
faults = []
for encoding in pipelines.ENCODINGS:
    text = pipelines.usb("/dev/null", encoding, {"width": 640, "height": 480, "fps": 30}, jetson=False)
    faults.append(fault(lambda: gstreamer.open_pipeline(text, "camera:0", "FIX")))
say(faults)
"""
    )
    for kind, message, fix, _ in faults:
        assert (kind, fix) == ("CameraError", "FIX")
        assert message.startswith("camera:0 cannot be opened: ")


def test_a_camera_that_sends_nothing_is_an_error_in_time(real):
    # OpenCV before 4.7 waits for ever in both cases.
    silent, wrong = real(
        """
gstreamer.OPEN_TIMEOUT_S = 0.5
say([fault(lambda: open_source("gst: " + text)) for text in ({!r}, "videotestsrc no-such-property=1")])
""".format(SILENT)
    )
    for kind, message, _, seconds in (silent, wrong):
        assert kind == "CameraError" and "cannot be opened" in message
        assert seconds < 10
    if real.way == "pygobject":
        assert "no frame for 0.5 s" in silent[1]
        assert 'no property "no-such-property"' in wrong[1]


def test_a_camera_that_goes_away(real):
    ended, failed = real(
        """
def drain(text):
    with open_source("gst: videotestsrc is-live=true num-buffers=20 ! video/x-raw,framerate=60/1 " + text) as source:
        source.read()
        list(source)

say([fault(lambda: drain("")), fault(lambda: drain("! identity error-after=12"))])
"""
    )
    assert ended[:2] == ["CameraError", "gst:videotestsrc stopped sending frames"]
    assert failed[0] == "CameraError"
    if real.way == "pygobject":
        assert failed[1] == "gst:videotestsrc failed: Failed after iterations as requested."


def test_closing_frees_threads_and_files(real):
    counts = real(
        """
import threading
counts = []
for _ in range(10):
    with open_source("gst: {} ! appsink") as source:
        source.read()
    assert threading.enumerate() == [threading.main_thread()]
    counts.append([len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))])
say(counts)
""".format(BLUE.format(320))
    )
    # A leak would add one or more with each camera; GLib keeps a thread or two for the next pipeline.
    (threads_before, files_before), (threads, files) = counts[1], counts[-1]
    assert threads - threads_before < 4 and files - files_before < 4


def test_copy_bgr_leaves_out_the_padding():
    rows = np.arange(2 * 16, dtype=np.uint8).reshape(2, 16)  # 5 pixels are 15 bytes, and one of padding
    image = copy_bgr(rows.tobytes(), 5, 2)
    assert image.shape == (2, 5, 3) and image.flags.writeable and image.flags.c_contiguous
    assert np.array_equal(image.reshape(2, 15), rows[:, :15])
    with pytest.raises(ValueError):
        copy_bgr(rows.tobytes(), 5, 3)


@pytest.fixture
def rtsp():
    """Function (encoding, user, password) -> (server process, port); skips where there is no RTSP server."""
    servers = []

    def start(*arguments):
        if not os.path.exists(SYSTEM_PYTHON):
            pytest.skip("there is no " + SYSTEM_PYTHON)
        server: Any = subprocess.Popen(
            [SYSTEM_PYTHON, SERVER] + list(arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            universal_newlines=True,
        )
        servers.append(server)
        port = server.stdout.readline()
        if not port:
            pytest.skip("the system's Python has no RTSP server (gir1.2-gst-rtsp-server-1.0)")
        return server, int(port)

    yield start
    for server in servers:
        server.kill()
        server.wait()
        server.stdout.close()


def needs_ffmpeg():
    cv2 = pytest.importorskip("cv2")
    if "FFMPEG:                      YES" not in cv2.getBuildInformation():
        pytest.skip("this OpenCV has no FFmpeg")


def is_red(image):
    return abs(image.reshape(-1, 3).astype(int).mean(axis=0) - (0, 0, 255)).max() < 20


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_network_camera_through_ffmpeg_and_its_end(rtsp, encoding):
    needs_ffmpeg()
    server, port = rtsp(encoding)
    with open_source("rtsp://127.0.0.1:{}/live".format(port)) as source:
        frame = source.read()
        assert source.live and source.size == (320, 240)
        assert frame is not None and is_red(frame.image)
        server.kill()
        with pytest.raises(CameraError, match="stopped"):
            list(source)


def test_passwords_of_network_cameras_through_ffmpeg(rtsp, capfd):
    needs_ffmpeg()
    _, port = rtsp("mjpg", "bob", "s@cret:w/1")
    with open_source("rtsp://bob:s%40cret%3Aw%2F1@127.0.0.1:{}/live".format(port)) as source:
        assert source.size == (320, 240)
        assert "cret" not in source.name
    for login in ("bob:wrong@", "bob:s@cret:w/1@", ""):
        with pytest.raises(CameraError, match="password") as caught:
            open_source("rtsp://{}127.0.0.1:{}/live".format(login, port))
        assert "wrong@" not in str(caught.value) and "cret" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_network_cameras_through_gstreamer_and_their_end(real, rtsp):
    servers = [(server.pid, port) for server, port in map(rtsp, ENCODINGS)]
    cameras = real(
        """
said = []
for server, port in {}:
    url = "rtsp://127.0.0.1:%d/live" % port
    with gstreamer.open_pipeline(pipelines.rtsp(url, jetson=False), "cam", "FIX") as source:
        image = source.read().image
        os.kill(server, 9)
        said.append([image.shape, image.reshape(-1, 3).mean(axis=0).tolist(), fault(lambda: list(source))[:2]])
say(said)
""".format(servers)
    )
    assert len(cameras) == len(ENCODINGS)
    for shape, colour, fault in cameras:
        assert shape == [240, 320, 3] and is_red(np.array([[colour]]))
        assert fault == ["CameraError", "cam stopped sending frames"]


def test_passwords_of_network_cameras_through_gstreamer(real, rtsp):
    _, port = rtsp("mjpg", "bob", "s@cret:w/1")
    right, wrong = real(
        """
def open_url(login):
    url = "rtsp://{{}}@127.0.0.1:{}/live".format(login)
    with gstreamer.open_pipeline(pipelines.rtsp(url, jetson=False), "cam", "FIX") as source:
        source.read()

say([fault(lambda: open_url("bob:s%40cret%3Aw%2F1")), fault(lambda: open_url("bob:wrong"))])
""".format(port)
    )
    assert right is None
    assert wrong[0] == "CameraError" and wrong[2] == "FIX" and "bob" not in wrong[1]
    if real.way == "pygobject":
        assert "Unauthorized" in wrong[1]


def test_a_quoted_address_arrives_at_gstreamer_as_it_was(real):
    if real.way == "opencv":
        pytest.skip("only PyGObject can look into a pipeline")
    url = "rtsp://u:p!\"\\ 'x@h/a b?c=d&e=%20#f"
    assert url == real(
        """
text = pipelines.rtsp({!r}, jetson=False)
pipeline = gstreamer._load_gst().parse_launch(text.replace("rtspsrc ", "rtspsrc name=source "))
say(pipeline.get_by_name("source").get_property("location"))
""".format(url)
    )


def test_has_element_makes_the_element(real):
    assert real("say([gstreamer.has_element(name) for name in ('videotestsrc', 'nothing-of-this-name')])") == [
        True,
        False,
    ]
