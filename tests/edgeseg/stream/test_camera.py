"""Camera URIs: what is refused, and what the user is told to do."""

import platform

import pytest

from edgeseg.errors import CameraError, EnvironmentFault, UsageError
from edgeseg.stream import camera, gstreamer, open_source, pipelines

pytest.importorskip("cv2")


@pytest.mark.parametrize(
    "uri, reason",
    [
        ("csi://", "csi:// is not a camera"),
        ("csi://front", "csi://front is not a camera"),
        ("csi://-1", "csi://-1 is not a camera"),
        ("csi://0?flip=8", "flip=8 is not valid"),
        ("csi://0?flip=", "flip= is not valid"),
        ("csi://0?flip=01", "flip=01 is not valid"),
        ("csi://0?out=640", "out=640 is not a size"),
        ("csi://0?out=0x360", "out=0x360 is not a size"),
        ("csi://0?width=wide", "width=wide is not a valid value"),
        ("csi://0?gstreamer=mjpg", "'gstreamer' is not an option"),
        ("gst:", "is empty"),
    ],
)
def test_what_is_refused(uri, reason):
    with pytest.raises(UsageError) as caught:
        open_source(uri)
    assert reason in caught.value.message
    assert caught.value.fix


def test_encodings_of_a_usb_camera():
    with pytest.raises(UsageError, match="gstreamer=h264 is not what a camera sends") as caught:
        open_source("camera:0?gstreamer=h264")
    assert "gstreamer=yuy2 or mjpg" in caught.value.fix
    with pytest.raises(CameraError, match="/dev/video63 does not exist"):
        open_source("camera:63?gstreamer=mjpg")


@pytest.fixture
def opened(monkeypatch):
    """What would be run: a list of (pipeline, name) of each source that is opened, as if on a Jetson."""
    calls = []
    monkeypatch.setattr(camera, "_is_jetson", lambda: True)
    monkeypatch.setattr(camera, "_check_present", lambda path: None)
    monkeypatch.setattr(gstreamer, "is_usable", lambda: True)
    monkeypatch.setattr(gstreamer, "open_pipeline", lambda pipeline, name, fix: calls.append((pipeline, name)))
    return calls


@pytest.mark.parametrize(
    "uri, pipeline, name",
    [
        ("csi://0", pipelines.csi(0, (1280, 720), 30, 0, None), "csi://0"),
        (
            "csi://1?width=1640&height=1232&fps=20&flip=2&out=480x352",
            pipelines.csi(1, (1640, 1232), 20, 2, (480, 352)),
            "csi://1",
        ),
        (
            "camera:0?gstreamer=mjpg",
            pipelines.usb("/dev/video0", "mjpg", {"width": 640, "height": 480}, True),
            "camera:0",
        ),
        ("/dev/video1?gstreamer=yuy2&fps=5", pipelines.usb("/dev/video1", "yuy2", {"fps": 5}, True), "camera:1"),
        ("RTSP://u:secret@h/x", pipelines.rtsp("RTSP://u:secret@h/x", True), "RTSP://***@h/x"),
        (
            "gst: rtspsrc location=rtsp://u:secret@h/x ! decodebin ! appsink",
            pipelines.custom("rtspsrc location=rtsp://u:secret@h/x ! decodebin"),
            "gst:rtspsrc",
        ),
    ],
)
def test_from_uri_to_pipeline_on_a_jetson(opened, uri, pipeline, name):
    open_source(uri)
    assert opened == [(pipeline, name)]


@pytest.mark.skipif(gstreamer.has_element("nvarguscamerasrc"), reason="this is a Jetson")
def test_csi_away_from_a_jetson_names_the_missing_element(capfd):
    with pytest.raises(EnvironmentFault, match="csi://0 needs nvarguscamerasrc") as caught:
        open_source("csi://0")
    assert caught.value.exit_code == 3
    hint = "nvidia-l4t-gstreamer" if platform.machine() == "aarch64" else "use camera:0"
    assert hint in caught.value.fix
    assert capfd.readouterr().err == ""


def test_an_element_of_nvidia_on_a_jetson_and_one_of_debian(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(gstreamer, "has_element", lambda name: False)
    with pytest.raises(EnvironmentFault, match="needs nvarguscamerasrc") as caught:
        open_source("csi://0")
    assert "sudo apt install nvidia-l4t-gstreamer" in caught.value.fix
    with pytest.raises(EnvironmentFault, match="gst:rtspsrc needs rtspsrc") as caught:
        open_source("gst: rtspsrc ! appsink")
    assert "gstreamer1.0-plugins-good" in caught.value.fix


def test_python_without_a_way_to_gstreamer(monkeypatch):
    if gstreamer.is_usable():
        pytest.skip("this Python has PyGObject, or its OpenCV has GStreamer")
    monkeypatch.setattr(gstreamer, "has_element", lambda name: True)
    with pytest.raises(EnvironmentFault, match=r"OpenCV [0-9.]+ \(.*\) is built without it, and PyGObject") as caught:
        open_source("gst: videotestsrc ! appsink")
    assert not isinstance(caught.value, CameraError)
    for command in ("apt install python3-gi", "--system-site-packages", "pip uninstall -y opencv-python"):
        assert command in caught.value.fix


def test_a_csi_sensor_opened_as_a_usb_camera_is_told_its_uri(tmp_path, monkeypatch):
    label = tmp_path / "name"
    label.write_text("vi-output, imx219 9-0010\n")
    monkeypatch.setattr(camera, "_LABEL", str(label))
    monkeypatch.setattr(camera, "_check_present", lambda path: None)
    with pytest.raises(CameraError, match="camera:63 cannot be opened") as caught:
        open_source("camera:63")
    assert caught.value.fix == "it is a CSI sensor (vi-output, imx219 9-0010): use csi://0"


def test_opencv_without_ffmpeg_has_no_network_cameras(monkeypatch):
    monkeypatch.setattr(gstreamer, "opencv_has", lambda feature: False)
    with pytest.raises(EnvironmentFault, match=r"http://\*\*\*@h/x needs an OpenCV with FFmpeg"):
        open_source("http://u:secret@h/x")
