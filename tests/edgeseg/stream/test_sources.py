"""Files as sources, and URIs that lead nowhere."""

import os

import numpy as np
import pytest

from edgeseg.errors import CameraError, UsageError
from edgeseg.stream import open_source
from edgeseg.stream.files import VIDEO_SUFFIXES
from edgeseg.stream.uri import redact

cv2 = pytest.importorskip("cv2")


def brightness(frame):
    return float(frame.image.mean())


def test_a_video_gives_every_frame_in_order_and_then_none(video):
    with open_source(video) as source:
        assert (source.live, source.size, source.fps, source.frames) == (False, (96, 64), 25.0, 20)
        assert source.paths == (video,)
        frames = list(source)
        assert source.read() is None
    assert [f.sequence for f in frames] == list(range(20))
    assert [f.name for f in frames[:2]] == ["frame000000", "frame000001"]
    for k, frame in enumerate(frames):
        assert abs(brightness(frame) - (20 + 8 * k)) < 3
        assert frame.image.shape == (64, 96, 3) and frame.image.dtype == np.uint8
    assert sorted(f.captured for f in frames) == [f.captured for f in frames]


def test_frames_are_not_overwritten_by_later_ones(video):
    with open_source(video) as source:
        frames = iter(source)
        first = next(frames).image
        before = first.copy()
        list(frames)
    assert np.array_equal(first, before)


def test_camvid_clip(shared_data):
    with open_source(shared_data("video", "camvid_0016E5_val_15fps.mp4")) as source:
        assert (source.size, source.fps, source.frames) == ((480, 360), 15.0, 101)
        assert sum(1 for _ in source) == 101


def test_a_closed_source_ends(video, images):
    for uri in (video, str(images), "pattern:64x48"):
        source = open_source(uri)
        source.close()
        source.close()
        assert source.read() is None


def test_a_folder_gives_its_images_in_natural_order(images):
    with open_source(str(images)) as source:
        assert (source.frames, source.size, source.name) == (3, (64, 48), "images")
        frames = list(source)
    assert [f.name for f in frames] == ["img1", "img2", "img10"]
    assert [round(brightness(f) / 4) * 4 for f in frames] == [20, 28, 36]


def test_image_glob_and_file_url(images):
    assert [f.name for f in open_source(str(images / "img1.png"))] == ["img1"]
    assert [f.name for f in open_source(str(images / "*.png"))] == ["img1", "img10"]
    assert [f.name for f in open_source("file://" + str(images / "img2.jpg"))] == ["img2"]


def test_images_of_the_same_name_keep_apart(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "x.png"), np.zeros((8, 8, 3), np.uint8))
    names = [f.name for f in open_source(str(tmp_path / "*" / "x.png"))]
    assert len(set(names)) == 2


def test_grey_and_16_bit_images_become_bgr(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((8, 9), 130, np.uint8))
    cv2.imwrite(str(tmp_path / "b.png"), np.full((8, 9), 130 * 257, np.uint16))
    for frame in open_source(str(tmp_path)):
        assert frame.image.shape == (8, 9, 3) and frame.image.dtype == np.uint8
        assert abs(brightness(frame) - 130) < 1.5


@pytest.mark.parametrize("name", ["img2.jpg", "img10.png"])
def test_an_image_that_is_cut_short_is_named_when_it_is_reached(images, name):
    cv2.imwrite(str(images / name), np.random.RandomState(0).randint(0, 255, (48, 64, 3)).astype(np.uint8))
    data = (images / name).read_bytes()
    (images / name).write_bytes(data[: len(data) // 2])
    with open_source(str(images)) as source:
        source.read()
        with pytest.raises(UsageError, match=name):
            list(source)


def test_text_named_as_an_image(tmp_path):
    (tmp_path / "x.jpg").write_text("hello")
    with pytest.raises(UsageError, match="not an image"):
        open_source(str(tmp_path / "x.jpg"))


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
def test_text_named_as_a_video_is_refused_in_silence(tmp_path, capfd, suffix):
    path = tmp_path / ("x" + suffix)
    path.write_text("this is no video\n" * 200)
    with pytest.raises(UsageError, match="cannot be read as a video"):
        open_source(str(path))
    assert capfd.readouterr().err == ""


def test_a_video_without_its_end_is_refused(tmp_path, shared_data):
    with open(shared_data("video", "camvid_0016E5_val_15fps.mp4"), "rb") as file:
        data = file.read()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[100000:])
    with pytest.raises(UsageError, match=r"cut\.mp4 cannot be read as a video"):
        open_source(str(cut))


def test_files_of_other_types_and_folders_without_images(tmp_path):
    for name in ("notes.txt", "paper.pdf", "network.edgeseg", "noname"):
        (tmp_path / name).write_text("hello")
        with pytest.raises(UsageError, match="neither an image nor a video"):
            open_source(str(tmp_path / name))
    with pytest.raises(UsageError, match=r"holds no image \(4 other entries\)"):
        open_source(str(tmp_path))
    with pytest.raises(UsageError, match=r"matches no image \(1 other files\)"):
        open_source(str(tmp_path / "*.txt"))


@pytest.mark.parametrize("uri", ["", "nowhere.mp4", "no/such/folder", "gopher://x/y", "camera:front", "/dev/null"])
def test_uris_that_lead_nowhere(uri):
    with pytest.raises(UsageError) as caught:
        open_source(uri)
    assert caught.value.fix


@pytest.mark.skipif(os.path.exists("/dev/video63"), reason="there is a 64th camera")
@pytest.mark.parametrize("uri", ["63", 63, "camera:63", "/dev/video63", "camera:63?width=640&height=480"])
def test_a_missing_camera_says_which_there_are(uri, capfd):
    with pytest.raises(CameraError, match="/dev/video63 does not exist") as caught:
        open_source(uri)
    assert caught.value.exit_code == 3
    assert "/dev/video" in caught.value.fix
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("uri", ["camera:63?size=3", "camera:63?width=-4", "camera:63?fps=fast"])
def test_wrong_camera_options(uri):
    with pytest.raises(UsageError):
        open_source(uri)


def test_passwords_stay_secret(capfd):
    with pytest.raises(CameraError) as caught:
        open_source("rtsp://admin:hunter2@127.0.0.1:1/stream?token=abc123")
    assert "hunter2" not in str(caught.value) and "abc123" not in str(caught.value)
    assert "127.0.0.1:1/stream" in str(caught.value)
    assert capfd.readouterr().err == ""
    assert redact("rtsp://u:p@ss/w@host/x") == "rtsp://***@host/x"
    assert redact("http://host/x?a=1&password=p&b=2") == "http://host/x?a=1&password=***&b=2"
