"""Pictures, masks, JSON lines: complete or absent."""

import json
import os
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest

from edgeseg.errors import CameraError, EnvironmentFault, UsageError
from edgeseg.palette import CAMVID
from edgeseg.stream.atomic import check_not_input
from edgeseg.stream.png import encode_palette_png
from edgeseg.stream.sinks import FramesSink, ImageSink, JsonLinesSink, MaskSink, WindowSink, open_output
from edgeseg.stream.window import has_display

cv2 = pytest.importorskip("cv2")


def indexed(data):
    """Decode an 8-bit palette PNG by the book: indices (H, W), palette (n, 3). Checks every checksum."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + size]
        assert zlib.crc32(kind + body) & 0xFFFFFFFF == int.from_bytes(data[at + 8 + size : at + 12 + size], "big")
        chunks[kind] = body
        at += 12 + size
    width, height = (int.from_bytes(chunks[b"IHDR"][i : i + 4], "big") for i in (0, 4))
    assert tuple(chunks[b"IHDR"][8:]) == (8, 3, 0, 0, 0) and kind == b"IEND"
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:], np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (480, 360)])
def test_palette_png_holds_ids_and_colours(size):
    rng = np.random.RandomState(1)
    mask = rng.choice(list(range(11)) + [255], (size[1], size[0])).astype(np.uint8)
    data = encode_palette_png(mask, CAMVID)
    ids, palette = indexed(data)
    assert np.array_equal(ids, mask)
    for label in CAMVID:
        assert tuple(palette[label.id]) == label.color
    assert tuple(palette[255]) == (0, 0, 0)
    shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(shown, palette[mask])


def test_mask_sink_names_files_as_frames(tmp_path, make_frame):
    with MaskSink(str(tmp_path / "masks"), CAMVID) as sink:
        assert not sink.needs_drawing
        for k, name in ((0, None), (1, "0016E5_07959")):
            frame, result, _ = make_frame(k, name=name)
            sink.write(frame, result, None)
    assert sorted(os.listdir(str(tmp_path / "masks"))) == ["0016E5_07959.png", "frame000000.png"]
    ids, _ = indexed((tmp_path / "masks" / "0016E5_07959.png").read_bytes())
    assert np.array_equal(ids, result.mask)


def test_frames_into_a_folder(tmp_path, make_frame):
    with open_output(str(tmp_path / "out") + "/", (96, 64), 0) as sink:
        assert isinstance(sink, FramesSink)
        frame, result, drawn = make_frame(3)
        sink.write(frame, result, drawn)
    assert np.array_equal(cv2.imread(str(tmp_path / "out" / "frame000003.png")), drawn)
    assert isinstance(open_output(str(tmp_path / "out"), (96, 64), 0), FramesSink)  # it exists now


def test_one_image(tmp_path, make_frame):
    for name in ("a.png", "b.jpg"):
        with open_output(str(tmp_path / name), (96, 64), 0) as sink:
            assert isinstance(sink, ImageSink)
            frame, result, drawn = make_frame()
            sink.write(frame, result, drawn)
    assert np.array_equal(cv2.imread(str(tmp_path / "a.png")), drawn)
    assert cv2.imread(str(tmp_path / "b.jpg")).shape == drawn.shape
    assert sorted(os.listdir(str(tmp_path))) == ["a.png", "b.jpg"]


def test_one_image_for_many_frames_leaves_what_was_there(tmp_path, make_frame):
    path = tmp_path / "a.png"
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match="holds one picture"):
        with open_output(str(path), (96, 64), 0) as sink:
            sink.write(*make_frame(0))
            sink.write(*make_frame(1))
    assert path.read_bytes() == b"mine"
    assert os.listdir(str(tmp_path)) == ["a.png"]


@pytest.mark.parametrize("name", ["out.gif", "out", "out.txt"])
def test_outputs_of_unknown_kind(tmp_path, name):
    with pytest.raises(UsageError, match="neither a video"):
        open_output(str(tmp_path / name), (96, 64), 30)


def test_outputs_in_a_folder_that_does_not_exist(tmp_path):
    for name in ("/no/out.mp4", "/no/out.png", "/no/such/"):
        with pytest.raises(UsageError, match="does not exist"):
            open_output(str(tmp_path) + name, (96, 64), 30)
    with pytest.raises(UsageError, match="does not exist"):
        JsonLinesSink(str(tmp_path / "no" / "x.json"))
    with pytest.raises(UsageError, match="does not exist"):
        MaskSink(str(tmp_path / "no" / "masks"), CAMVID)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        MaskSink(str(tmp_path / "file"), CAMVID)


def test_an_output_may_not_replace_its_input(tmp_path):
    image = tmp_path / "x.png"
    image.write_bytes(b"")
    (tmp_path / "link.png").symlink_to(image)
    for output in (image, tmp_path / "link.png", tmp_path):
        with pytest.raises(UsageError, match="would replace the input"):
            check_not_input(str(output), [str(image)])
    check_not_input(str(tmp_path / "y.png"), [str(image)])


def test_json_lines(tmp_path, make_frame):
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    with JsonLinesSink(str(path)) as sink:
        for k in range(3):
            sink.write(*make_frame(k))
            assert path.read_text() == "old"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["sequence"] for line in lines] == [0, 1, 2]
    assert [line["name"] for line in lines] == ["frame000000", "frame000001", "frame000002"]
    assert abs(sum(lines[0]["shares"].values()) + lines[0]["unlabeled"] - 1) < 1e-3
    assert os.listdir(str(tmp_path)) == ["out.jsonl"]


def test_json_lines_reach_a_pipe_one_by_one(tmp_path, make_frame):
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with JsonLinesSink(path) as sink:
        for k in range(2):
            sink.write(*make_frame(k))
            assert json.loads(os.read(reader, 1 << 16).decode())["sequence"] == k
    os.close(reader)


def test_json_lines_on_stdout(capfd, make_frame):
    """NVIDIA's camera library prints on stdout: that must not get between the lines."""
    with JsonLinesSink("-") as sink:
        os.write(1, b"GST_ARGUS: Creating output stream\n")
        sink.write(*make_frame(5))
    os.write(1, b"after\n")
    captured = capfd.readouterr()
    line, rest = captured.out.split("\n", 1)
    assert json.loads(line)["sequence"] == 5 and rest == "after\n"
    assert captured.err == "GST_ARGUS: Creating output stream\n"


def test_a_reader_that_leaves_ends_the_run_quietly():
    program = (
        "from edgeseg.stream.sinks import JsonLinesSink\n"
        "from edgeseg.stream.frame import Frame\n"
        "class Result:\n"
        "    def to_dict(self): return {'text': 'x' * 1000}\n"
        "with JsonLinesSink('-') as sink:\n"
        "    while not sink.stop:\n"
        "        sink.write(Frame(None, 0, 0.0, 'f'), Result())\n"
    )
    run: Any = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    run.stdout.readline()
    run.stdout.close()
    errors = run.stderr.read()
    run.stderr.close()
    assert run.wait() == 0 and errors == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_json_on_a_full_disk(make_frame):
    with pytest.raises(EnvironmentFault, match="disk full"):
        with JsonLinesSink("/dev/full") as sink:
            sink.write(*make_frame())


def test_an_error_takes_the_output_back_and_an_interruption_keeps_it(tmp_path, make_frame):
    for error, kept in (
        (ValueError, False),
        (UsageError("x"), False),
        (KeyboardInterrupt, True),
        (CameraError("x"), True),
    ):
        path = tmp_path / "out.jsonl"
        with pytest.raises(BaseException) as caught:
            with JsonLinesSink(str(path)) as sink:
                sink.write(*make_frame())
                raise error
        assert caught.type is (error if isinstance(error, type) else type(error))
        assert os.listdir(str(tmp_path)) == (["out.jsonl"] if kept else [])
        if kept:
            path.unlink()


@pytest.mark.parametrize("kind", ["masks", "frames", "json", "image"])
def test_full_disk(tiny_disk, make_frame, kind):
    """Each on a real file system of 3 MB: the message says so, and no part of a file is left."""
    sinks = {
        "masks": lambda: MaskSink(tiny_disk + "/out", CAMVID),
        "frames": lambda: open_output(tiny_disk + "/out/", (640, 480), 0),
        "json": lambda: JsonLinesSink(tiny_disk + "/out.jsonl"),
        "image": lambda: open_output(tiny_disk + "/out.png", (1600, 1200), 0),
    }
    size = (1600, 1200) if kind == "image" else (640, 480)
    with pytest.raises(EnvironmentFault, match="disk full") as caught:
        with sinks[kind]() as sink:
            frame, result, drawn = make_frame(0, size)
            if kind == "json":
                result.to_dict = lambda: {"text": "x" * 100000}
            for k in range(1 if kind == "image" else 100):
                sink.write(frame._replace(name=f"f{k}"), result, drawn)
    assert caught.value.exit_code == 3
    left = [os.path.join(top, name) for top, _, names in os.walk(tiny_disk) for name in names]
    assert not [name for name in left if name.endswith(".tmp.png") or name.endswith(".tmp.jsonl")]
    if kind in ("masks", "frames"):
        assert left and all(cv2.imread(name).shape == (480, 640, 3) for name in left)
    else:
        assert left == []


def test_no_window_without_a_display(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not has_display()
    with pytest.raises(EnvironmentFault, match="no window") as caught:
        WindowSink()
    assert "-o out.mp4" in caught.value.fix


@pytest.mark.skipif("GUI:                           NONE" not in cv2.getBuildInformation(), reason="OpenCV has windows")
def test_no_window_with_a_headless_opencv(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(EnvironmentFault, match="no window"):
        WindowSink()
