"""`edgeseg train` end to end on miniature streets: it learns, it resumes to the same result, it names bad data.

TensorFlow on a CPU repeats a run bit for bit, so nothing is set to make it deterministic; the bound of the
comparison is for the other backends.
"""

import csv
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest

from edgeseg.cli import main
from edgeseg.datasets import open_dataset
from edgeseg.errors import UsageError
from edgeseg.models.checkpoint import load_checkpoint
from edgeseg.models.evaluate import scores_on
from edgeseg.models.file import load_network
from edgeseg.models.train import Recipe, train

EPOCHS = 8


def arguments(data: Path, out: Path) -> list[str]:
    recipe = f"--network fcn8 --width 0.35 --imgsz 64 96 --init none --epochs {EPOCHS} --batch 2 --lr 0.005"
    return ["train", "--data", str(data), *recipe.split(), "-o", str(out)]


class Finished(NamedTuple):
    """A run that nothing has interrupted: its folder, its result, and what it wrote to the terminal."""

    out: Path
    result: dict[str, Any]
    log: str


@pytest.fixture(scope="module")
def finished(streets: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out = tmp_path_factory.mktemp("runs") / "whole"
    command = [sys.executable, "-m", "edgeseg", *arguments(streets, out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Finished(out, json.loads(done.stdout), done.stderr)


def test_it_learns(finished: Finished) -> None:
    losses = [row["loss"] for row in load_checkpoint(finished.out / "checkpoint.npz").history]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:2])
    iou = finished.result["val_iou"]
    assert iou["Sky"] > 0.6
    assert iou["Road"] > 0.6
    assert finished.result["val_miou"] > 0.25


def test_statistics_are_restored_at_the_end(finished: Finished) -> None:
    """With the statistics that training leaves, so short a run is worth nothing."""
    last = load_checkpoint(finished.out / "checkpoint.npz").history[-1]
    assert finished.result["val_miou"] > last["val_miou"] + 0.1


def test_network_and_card_are_what_was_reported(finished: Finished, streets: Path) -> None:
    network, card = load_network(Path(finished.result["network"]))
    assert card.figures["val_miou"] == finished.result["val_miou"]
    assert card.spec.imgsz == (64, 96)
    assert card.recipe["epochs"] == EPOCHS
    assert os.sep not in card.recipe["data"], "a path of this machine travels with the network"
    dataset = open_dataset(str(streets))
    scores = scores_on(network, dataset, dataset.pairs("val"))
    assert scores.miou == pytest.approx(card.figures["val_miou"])
    assert scores.boundary_miou == pytest.approx(card.figures["val_boundary_miou"])


def test_curves(finished: Finished) -> None:
    import cv2

    with open(finished.out / "curves.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, EPOCHS + 1))
    assert all(float(row["loss"]) > 0 and 0 <= float(row["val_miou"]) <= 1 for row in rows)
    picture = cv2.imread(str(finished.out / "curves.png"))
    assert picture is not None
    assert picture.std() > 1
    assert sorted(os.listdir(finished.out)) == ["checkpoint.npz", "curves.csv", "curves.png", "network.keras"]


def test_log_has_a_line_for_each_epoch_and_no_chatter(finished: Finished) -> None:
    lines = finished.log.splitlines()
    assert len(lines) == EPOCHS, finished.log
    for epoch, line in enumerate(lines, start=1):
        assert re.match(rf"epoch {epoch}/{EPOCHS}  step 6/6  loss \d.*val mIoU .* %.*images/s.*left$", line)


def wait_for_epoch(path: Path, epoch: int, is_alive: Callable[[], bool]) -> None:
    while is_alive():
        if path.exists() and load_checkpoint(path).epoch >= epoch:
            return
        time.sleep(0.02)
    raise AssertionError(f"the run ended before epoch {epoch}")


def test_killed_and_resumed_it_ends_like_an_uninterrupted_run(
    finished: Finished, streets: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "killed"
    with subprocess.Popen([sys.executable, "-m", "edgeseg", *arguments(streets, out)]) as victim:
        wait_for_epoch(out / "checkpoint.npz", 2, lambda: victim.poll() is None)
        time.sleep(np.random.default_rng().uniform(0, 0.5))
        victim.send_signal(signal.SIGKILL)
    assert load_checkpoint(out / "checkpoint.npz").epoch < EPOCHS, "it was not killed in the middle"
    capfd.readouterr()

    assert main(["train", "--resume", "-o", str(out), "--epochs", str(EPOCHS), "--json"]) == 0
    result = json.loads(capfd.readouterr().out)
    assert result["val_miou"] == pytest.approx(finished.result["val_miou"], abs=0.01)
    mine, theirs = (load_network(run / "network.keras")[0].get_weights() for run in (out, finished.out))
    for one, two in zip(mine, theirs, strict=True):
        assert np.allclose(one, two, rtol=1e-3, atol=1e-4)
    assert sorted(os.listdir(out)) == ["checkpoint.npz", "curves.csv", "curves.png", "network.keras"]


def interrupt_soon() -> None:
    """Press Ctrl-C once the first batch is being made."""

    def wait_and_press() -> None:
        while all(thread.name != "augment" for thread in threading.enumerate()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait_and_press, daemon=True).start()


def test_ctrl_c_says_how_to_go_on(
    finished: Finished, streets: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my run"
    interrupt_soon()
    assert main(arguments(streets, out)) == 130
    assert "nothing to resume" in capfd.readouterr().err
    assert not out.exists()

    shutil.copytree(finished.out, out)
    interrupt_soon()
    assert main(["train", "--resume", "-o", str(out)]) == 130
    assert f"edgeseg train --resume -o '{out}'" in capfd.readouterr().err
    assert sorted(os.listdir(out)) == ["checkpoint.npz", "curves.csv", "curves.png", "network.keras"]


@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax"])
def test_every_backend_trains(backend: str, streets: Path, tmp_path: Path) -> None:
    if backend == keras.backend.backend():
        pytest.skip(f"the other tests of this file run on {backend}")
    if not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    environment = os.environ | {"KERAS_BACKEND": backend}
    recipe = ["--network", "spp", "--epochs", "2", "--json"]
    command = [sys.executable, "-m", "edgeseg", *arguments(streets, tmp_path / "run"), *recipe]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert 0 < json.loads(done.stdout)["val_miou"] < 1
    assert len(done.stderr.splitlines()) == 2, done.stderr


def tiny(data: Path, **changes: Any) -> Recipe:
    recipe = Recipe(str(data), "fcn32", 0.35, (64, 96), (64, 96), "none", epochs=1, batch=2)
    return recipe._replace(**changes)


def refuse(recipe: Recipe, out: Path, resume: bool = False) -> UsageError:
    with pytest.raises(UsageError) as caught:
        train(recipe, out, resume, lambda progress: None)
    return caught.value


def test_used_folder_is_refused(finished: Finished, streets: Path) -> None:
    before = {p.name: p.stat().st_mtime_ns for p in finished.out.iterdir()}
    assert "already holds a run" in str(refuse(tiny(streets), finished.out))
    assert "--resume" in str(refuse(tiny(streets), finished.out))
    assert before == {p.name: p.stat().st_mtime_ns for p in finished.out.iterdir()}


def test_resume_with_other_arguments_is_refused(
    finished: Finished, streets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--resume", "-o", str(finished.out), "--lr", "0.1", "--imgsz", "64", "64"]) == 2
    message = capsys.readouterr().err
    assert "lr=0.005 (now 0.1)" in message
    assert "imgsz=(64, 96) (now (64, 64))" in message
    assert "resume with the same arguments" in message


def test_resume_without_a_run_is_refused(streets: Path, tmp_path: Path) -> None:
    assert "no run to resume" in str(refuse(tiny(streets), tmp_path / "run", resume=True))


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Dataset folder with one good pair in each split, to be broken by the test."""
    import cv2

    for split in ("train", "val"):
        for folder, channels in ((split, 3), (split + "annot", 1)):
            (tmp_path / "data" / folder).mkdir(parents=True)
            assert cv2.imwrite(str(tmp_path / "data" / folder / "a.png"), np.zeros((64, 96, channels), np.uint8))
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("folder", "label", "message"),
    [
        ("trainannot", np.zeros((64, 95), np.uint8), "95x64"),
        ("trainannot", np.full((64, 96), 40, np.uint8), "value(s) 40 outside the 11 classes"),
        ("trainannot", np.full((64, 96), 11, np.uint8), "has a labelled pixel"),
        ("train", b"no image", "cannot be read as an image"),
    ],
    ids=["size", "value", "void", "unreadable"],
)
def test_bad_data_is_named_and_leaves_nothing(
    broken: Path, tmp_path: Path, folder: str, label: np.ndarray | bytes, message: str
) -> None:
    import cv2

    path = broken / folder / "a.png"
    if isinstance(label, bytes):
        path.write_bytes(label)
    else:
        assert cv2.imwrite(str(path), label)
    fault = refuse(tiny(broken), tmp_path / "runs" / "bad")
    assert message in fault.message
    assert fault.fix
    assert not (tmp_path / "runs" / "bad").exists()
