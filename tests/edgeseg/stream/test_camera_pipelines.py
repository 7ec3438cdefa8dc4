"""GStreamer pipelines as text: the exact strings, and what users may write themselves."""

import pytest

from edgeseg.errors import UsageError
from edgeseg.stream import pipelines

TO_BGR = "videoconvert ! video/x-raw,format=BGR ! appsink name=opencvsink drop=true max-buffers=1 sync=false"
FROM_NVMM = "nvvidconv ! video/x-raw,format=BGRx"


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (
            (0, (1280, 720), 30, 0, None),
            "nvarguscamerasrc sensor-id=0 ! "
            "video/x-raw(memory:NVMM),width=1280,height=720,format=NV12,framerate=30/1 ! "
            "nvvidconv flip-method=0 ! video/x-raw,format=BGRx ! " + TO_BGR,
        ),
        (
            (1, (1640, 1232), 29.97, 2, (480, 352)),
            "nvarguscamerasrc sensor-id=1 ! "
            "video/x-raw(memory:NVMM),width=1640,height=1232,format=NV12,framerate=2997/100 ! "
            "nvvidconv flip-method=2 ! video/x-raw,width=480,height=352,format=BGRx ! " + TO_BGR,
        ),
    ],
)
def test_csi(arguments, expected):
    assert pipelines.csi(*arguments) == expected


@pytest.mark.parametrize(
    "encoding, jetson, middle",
    [
        ("yuy2", False, "video/x-raw,format=YUY2,width=640,height=480,framerate=15/1"),
        (
            "yuy2",
            True,
            "video/x-raw,format=YUY2,width=640,height=480,framerate=15/1 ! "
            "nvvidconv ! video/x-raw(memory:NVMM),format=NV12 ! " + FROM_NVMM,
        ),
        ("mjpg", False, "image/jpeg,width=640,height=480,framerate=15/1 ! jpegdec"),
        ("mjpg", True, "image/jpeg,width=640,height=480,framerate=15/1 ! nvv4l2decoder mjpeg=1 ! " + FROM_NVMM),
    ],
)
def test_usb(encoding, jetson, middle):
    source = "v4l2src device=/dev/video2 do-timestamp=true"
    built = pipelines.usb("/dev/video2", encoding, {"width": 640, "height": 480, "fps": 15.0}, jetson)
    assert built == " ! ".join([source, middle, TO_BGR])


def test_usb_leaves_open_what_was_not_asked_for():
    assert "image/jpeg ! jpegdec" in pipelines.usb("/dev/video0", "mjpg", {}, False)


@pytest.mark.parametrize("jetson, decoder", [(False, "decodebin"), (True, "decodebin ! " + FROM_NVMM)])
def test_rtsp(jetson, decoder):
    source = 'rtspsrc location="rtsp://host/x" protocols=tcp latency=100 ! application/x-rtp,media=video'
    assert pipelines.rtsp("rtsp://host/x", jetson) == " ! ".join([source, decoder, TO_BGR])


@pytest.mark.parametrize(
    "text",
    [
        " v4l2src ! video/x-raw,format=GRAY8 ! appsink",
        "v4l2src ! video/x-raw,format=GRAY8 ! appsink name=x drop=1",
        "v4l2src ! video/x-raw,format=GRAY8 !appsink",
        "v4l2src ! video/x-raw,format=GRAY8",
        "v4l2src ! video/x-raw,format=GRAY8 ! ",
    ],
)
def test_the_appsink_of_a_users_pipeline_becomes_ours(text):
    assert pipelines.custom(text) == "v4l2src ! video/x-raw,format=GRAY8 ! " + TO_BGR


@pytest.mark.parametrize("text", ["", " ", "appsink", " ! appsink", "v4l2src ! tee name=t ! appsink t. ! filesink"])
def test_pipelines_without_a_place_for_the_appsink(text):
    with pytest.raises(UsageError, match="pipeline of gst:") as caught:
        pipelines.custom(text)
    assert "gst: v4l2src" in caught.value.fix


def test_elements_are_found_between_caps_branches_and_quotes():
    text = (
        'rtspsrc location="rtsp://u:a!b\\"!c@h/x" ! video/x-raw(memory:NVMM) ! tee name=t t. ! queue ! t. ! nvvidconv'
    )
    assert pipelines.elements(text) == ["rtspsrc", "tee", "queue", "nvvidconv"]
