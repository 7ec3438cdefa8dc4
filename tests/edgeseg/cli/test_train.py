"""`edgeseg train`: its arguments, and what it refuses before it imports anything heavy."""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections import namedtuple

import numpy as np
import pytest

from edgeseg.cli import progress, train
from edgeseg.errors import EnvironmentFault, UsageError

needs_pc = pytest.mark.skipif(sys.version_info < (3, 10), reason="training needs Python 3.10 or later")

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


@pytest.fixture
def data(tmp_path):
    """A dataset folder that looks right from outside: its files are only listed before training starts."""
    for split, name in (("train", "a_1"), ("train", "b_1"), ("val", "c_1")):
        for folder in (split, split + "annot"):
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / folder / (name + ".png")).write_bytes(b"")
    return str(tmp_path / "data")


def run(*arguments):
    parser = argparse.ArgumentParser()
    train.configure(parser)
    return train.run(parser.parse_args([str(a) for a in arguments]))


def test_ctrl_c_that_a_library_makes_an_error_of_its_own_of():
    with pytest.raises(KeyboardInterrupt):
        with progress._heeding_ctrl_c(print):
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(1)
            except KeyboardInterrupt:
                raise RuntimeError("not told why") from None
    with pytest.raises(RuntimeError, match="its own"):
        with progress._heeding_ctrl_c(print):
            raise RuntimeError("its own")


@pytest.mark.skipif(sys.version_info >= (3, 10), reason="this Python can train")
def test_old_python_is_told(data, tmp_path):
    with pytest.raises(EnvironmentFault, match="edgeseg train needs Python"):
        run("--data", data, "-o", tmp_path / "run")


@needs_pc
def test_defaults_in_the_help_are_those_of_the_recipe():
    from edgeseg.models.recipe import Recipe

    parser = argparse.ArgumentParser()
    train.configure(parser)
    texts = {action.dest: action.help or "" for action in parser._actions}
    for name, value in Recipe._field_defaults.items():
        if value is False or (value in ("", (352, 480)) and name != "imgsz"):
            continue
        shown = " ".join(str(v) for v in value) if isinstance(value, tuple) else str(value)
        default = texts[name].partition("default")[0].rstrip(" (") if name == "network" else texts[name]
        assert shown in default, name
    assert set(Recipe._fields) <= set(texts), "an argument of the recipe has no option"


@needs_pc
@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--imgsz", 360, 480], "--imgsz 352 480 or --imgsz 384 480"),
        (["--crop", 30, 64], "--crop 32 64"),
        (["--network", "unet"], "fcn32, fcn16, fcn8"),
        (["--epochs", 0], "--epochs 0"),
        (["--batch", 0], "--batch 0"),
        (["--lr", -1], "--lr -1"),
        (["--holdout", "z"], "--holdout z: 0 of 2"),
        (["--init", "absent.npz"], "absent.npz do not exist"),
        (["--data", "/nowhere"], "/nowhere does not exist"),
        (["--resume"], "no run to resume"),
    ],
)
def test_wrong_argument(data, tmp_path, arguments, message):
    with pytest.raises(UsageError) as caught:
        run("--data", data, "--init", "none", "-o", tmp_path / "run", *arguments)
    assert message in str(caught.value)
    assert caught.value.fix
    assert not (tmp_path / "run").exists()


@needs_pc
def test_data_is_needed(tmp_path):
    with pytest.raises(UsageError, match="--data is missing"):
        run("-o", tmp_path / "run")


@needs_pc
def test_crop_is_as_the_image_size_unless_given(data, tmp_path):
    parser = argparse.ArgumentParser()
    train.configure(parser)
    common = ["--data", data, "-o", str(tmp_path), "--imgsz", "64", "96"]
    assert train._recipe(parser.parse_args(common)).crop == (64, 96)
    assert train._recipe(parser.parse_args(common + ["--crop", "32", "64"])).crop == (32, 64)


@needs_pc
def test_used_folder_is_refused(data, tmp_path):
    (tmp_path / "network.keras").write_bytes(b"x")
    with pytest.raises(UsageError, match="already holds a run"):
        run("--data", data, "--init", "none", "-o", tmp_path)
    assert (tmp_path / "network.keras").read_bytes() == b"x"


@needs_pc
def test_folder_below_a_file_is_refused(data, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="is a file"):
        run("--data", data, "--init", "none", "-o", tmp_path / "file" / "run")


@needs_pc
def test_full_disk_is_found_before_the_training(data, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(100 << 20, 90 << 20, 10 << 20))
    with pytest.raises(EnvironmentFault, match="10 MB free, a run needs"):
        run("--data", data, "--init", "none", "-o", tmp_path / "run")


@needs_pc
def test_unknown_backend_of_keras(data, tmp_path, monkeypatch):
    for package in ("keras", "cv2", "matplotlib"):
        pytest.importorskip(package)
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    with pytest.raises(EnvironmentFault, match="'theano', not one of tensorflow, torch, jax"):
        run("--data", data, "--init", "none", "-o", tmp_path / "run")


@pytest.fixture
def bare(tmp_path):
    """Environment of a Python that has NumPy and edgeseg, and no other package."""
    packages = tmp_path / "packages"
    packages.mkdir()
    site = os.path.dirname(os.path.dirname(np.__file__))
    for name in ("numpy", "numpy.libs"):
        if os.path.isdir(os.path.join(site, name)):
            (packages / name).symlink_to(os.path.join(site, name))
    (packages / "edgeseg").symlink_to(os.path.join(REPOSITORY, "edgeseg"))
    return dict(os.environ, PYTHONPATH=str(packages))


BARE = """
import argparse, sys
from edgeseg.cli import train
from edgeseg.errors import EdgesegError
parser = argparse.ArgumentParser()
train.configure(parser)
args = parser.parse_args(sys.argv[1:])
try:
    train.run(args)
except EdgesegError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@needs_pc
@pytest.mark.parametrize(
    "arguments, code, message",
    [([], 3, "pip install 'edgeseg[train]'"), (["--imgsz", "1", "1"], 2, "--imgsz 32 32")],
    ids=["packages absent", "arguments first"],
)
def test_without_any_package(data, tmp_path, bare, arguments, code, message):
    command = [sys.executable, "-S", "-c", BARE, "--data", data, "--init", "none", "-o", str(tmp_path / "run")]
    done = subprocess.Popen(command + arguments, env=bare, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = done.communicate()[0].decode()
    assert done.returncode == code, output
    assert message in output


Step = namedtuple("Step", "epoch epochs step steps loss val_miou images_per_s left_s done")


def test_live_line_is_rewritten_and_each_epoch_keeps_its_last(capsys):
    live = progress._Live()
    nan = float("nan")
    live(Step(1, 2, 1, 2, 2.5, nan, 8.0, 3725.0, False))
    live(Step(1, 2, 2, 2, 2.25, nan, 8.0, 61.0, False))
    live(Step(1, 2, 2, 2, 2.25, 0.5, 8.0, 61.0, True))
    live(Step(2, 2, 1, 2, 2.0, 0.5, 8.0, 1.0, False))
    live.end()
    written = capsys.readouterr().err
    assert written.count("\r") == 4
    rows = [line.split("\r")[-1] for line in written.splitlines(True) if line.endswith("\n")]
    assert len(rows) == 2
    assert rows[0].startswith("epoch 1/2  step 2/2  loss 2.250  val mIoU 50.0 %  8.0 images/s")
    assert "val mIoU -" in written
    assert progress._line(Step(1, 2, 1, 2, 2.5, nan, 8.0, 3725.0, False)).endswith("  1:02:05 left")


def test_result_for_people():
    shares = {"val_miou": 0.625, "val_boundary_miou": 0.5, "val_pixel_accuracy": 0.9}
    text = train._text({**shares, "val_iou": {"Sky": 0.91, "Pole": None}, "network": "n.keras"})
    assert text.splitlines() == [
        "val mIoU  62.5 %   at class borders  50.0 %   pixel accuracy  90.0 %",
        "  Sky    91.0 %",
        "  Pole  -",
        "network  n.keras",
    ]
