"""The command line as a user meets it: outputs, messages, exit codes."""

import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")


def edgeseg(*arguments, **options):
    """Run `edgeseg` in a process of its own."""
    command = [sys.executable, "-m", "edgeseg"] + [str(a) for a in arguments]
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=120,
        check=False,
        **options,
    )


@pytest.fixture
def bundle(bundles):
    return os.path.join(bundles, "int8.edgeseg")


def frames_of(path):
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


FAKE = ("--device", "fake")


def test_run_writes_all_that_is_asked_for(bundle, tmp_path):
    done = edgeseg(
        "run", bundle, "--camera", "pattern:96x64?frames=7", "-o", tmp_path / "out.mp4",
        "--masks", tmp_path / "masks", "--json", tmp_path / "out.jsonl", *FAKE
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert frames_of(tmp_path / "out.mp4") == 7
    assert len(os.listdir(str(tmp_path / "masks"))) == 7
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["sequence"] for line in lines] == list(range(7))
    assert all(line["shares"] for line in lines)
    assert "7 frames" in done.stderr and "fake" in done.stderr


def test_json_on_stdout_is_only_json(bundle):
    done = edgeseg("run", bundle, "--camera", "pattern:96x64?frames=3", "--json", "-", *FAKE)
    assert done.returncode == 0, done.stderr
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 3


def test_frames_limit(bundle, tmp_path):
    done = edgeseg("run", bundle, "--camera", "pattern:96x64", "--frames", 4, "-o", tmp_path / "out.avi", *FAKE)
    assert done.returncode == 0, done.stderr
    assert frames_of(tmp_path / "out.avi") == 4


@pytest.mark.parametrize("view, width", [("overlay", 96), ("mask", 96), ("side-by-side", 192)])
def test_views(bundle, tmp_path, view, width):
    path = tmp_path / "out.png"
    done = edgeseg("run", bundle, "--camera", "pattern:96x64?frames=1", "-o", path, "--view", view, *FAKE)
    assert done.returncode == 0, done.stderr
    assert cv2.imread(str(path)).shape == (64, width, 3)


def broken(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    return path


BAD_RUNS = [
    ("no camera", lambda t, b: (b, "--camera", "97"), 3, "camera"),
    ("no such file", lambda t, b: (b, "--camera", t / "no.mp4"), 2, "no.mp4"),
    ("not a video", lambda t, b: (b, "--camera", broken(t, "x.mp4", b"hello" * 99)), 2, "x.mp4"),
    ("a text file", lambda t, b: (b, "--camera", broken(t, "x.txt", b"hello")), 2, "x.txt"),
    ("not an image", lambda t, b: (b, "--camera", broken(t, "x.png", b"hello")), 2, "x.png"),
    ("empty folder", lambda t, b: (b, "--camera", t), 2, "no image"),
    ("no bundle", lambda t, b: (t / "no.edgeseg", "--camera", "pattern:"), 2, "no.edgeseg"),
    ("not a bundle", lambda t, b: (broken(t, "x.edgeseg", b"PK"), "--camera", "pattern:"), 4, "not a bundle"),
    ("unknown device", lambda t, b: (b, "--device", "tpu", "--camera", "pattern:"), 2, "devices: auto"),
    ("output of no kind", lambda t, b: (b, "--camera", "pattern:", "-o", t / "x.doc"), 2, "x.doc"),
    ("output nowhere", lambda t, b: (b, "--camera", "pattern:", "-o", t / "no" / "x.mp4"), 2, "mkdir"),
    (
        "one folder for two",
        lambda t, b: (b, "--camera", "pattern:", "-o", str(t) + "/", "--masks", t),
        2,
        "same folder",
    ),
    ("bad number", lambda t, b: (b, "--camera", "pattern:", "--frames", "0"), 2, "at least 1"),
    ("bad confidence", lambda t, b: (b, "--camera", "pattern:", "--min-confidence", "1.5"), 2, "0..1"),
]


@pytest.mark.parametrize("arguments, code, message", [row[1:] for row in BAD_RUNS], ids=[row[0] for row in BAD_RUNS])
def test_bad_input(tmp_path, bundle, arguments, code, message):
    given = arguments(tmp_path, bundle)
    done = edgeseg("run", *given, *(() if "--device" in given else FAKE))
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert message in done.stderr
    assert done.stdout == ""


def test_output_never_replaces_the_input(bundle, tmp_path):
    image = tmp_path / "in.png"
    cv2.imwrite(str(image), np.zeros((64, 96, 3), np.uint8))
    before = image.read_bytes()
    done = edgeseg("run", bundle, "--camera", image, "-o", image, *FAKE)
    assert done.returncode == 2 and image.read_bytes() == before


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_interrupted_run_leaves_a_video_that_plays(bundle, tmp_path, number, code):
    path = tmp_path / "out.mp4"
    command = [sys.executable, "-m", "edgeseg", "run", bundle, "--camera", "pattern:96x64", "-o", str(path)]
    command += ["--json", "-", *FAKE]
    # Without a buffer, or readline reads ahead of what is counted here.
    process = subprocess.Popen(command, bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lines = 0
    while lines < 20:
        assert process.stdout is not None and process.stdout.readline()
        lines += 1
    process.send_signal(number)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert b"Traceback" not in errors
    assert frames_of(path) == lines + len(rest.splitlines())


def test_status_line_without_display(bundle, tmp_path):
    environment = dict(os.environ, DISPLAY="", WAYLAND_DISPLAY="")
    command = [sys.executable, "-m", "edgeseg", "run", bundle, "--camera", "pattern:96x64"] + list(FAKE)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, universal_newlines=True, env=environment)
    timer = threading.Timer(60, process.kill)
    timer.start()
    assert process.stderr is not None
    try:
        status = [next(line for line in process.stderr if "FPS" in line and "dropped" in line)]
        process.send_signal(signal.SIGINT)
        status += [line for line in process.stderr if "FPS" in line and "dropped" in line]
        process.wait()
    finally:
        timer.cancel()
        process.stderr.close()
    assert len(status) >= 2 and "%" in status[0]


def test_no_command_is_usage():
    done = edgeseg()
    assert done.returncode == 2 and "COMMAND" in done.stdout


def test_version():
    from edgeseg.version import __version__

    assert __version__ in edgeseg("--version").stdout


def test_doctor(tmp_path):
    done = edgeseg("doctor", "--json")
    findings = json.loads(done.stdout)
    subjects = {finding["subject"] for finding in findings}
    assert {"machine", "python", "opencv", "tflite", "onnxruntime", "network", "space"} <= subjects
    faults = [finding for finding in findings if finding["level"] == "fault"]
    assert done.returncode == (3 if faults else 0)
    assert all(finding["fix"] for finding in faults)
