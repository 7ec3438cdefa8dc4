"""A checkpoint is whole at every moment, whatever happens to the process that writes it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgeseg.errors import EnvironmentFault, UsageError
from edgeseg.models.checkpoint import AtomicReplacement, Checkpoint, load_checkpoint, save_checkpoint, sole_user


def state(epoch: int, values: int = 100) -> Checkpoint:
    """A checkpoint whose every number is its epoch."""
    arrays = [np.full((values, 10), epoch, np.float32), np.array(epoch)]
    recipe, ranking = {"data": "x", "imgsz": [64, 96]}, [{"init": "imagenet", "overlap": None}]
    return Checkpoint(epoch, recipe, arrays, arrays[:1], arrays[1:], [{"loss": float("nan")}], ranking)


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "run" / "checkpoint.npz"
    save_checkpoint(path, state(3))
    back = load_checkpoint(path)
    assert (back.epoch, back.recipe) == (3, {"data": "x", "imgsz": [64, 96]})
    assert [len(back.weights), len(back.average), len(back.optimizer)] == [2, 1, 1]
    assert all(np.all(a == 3) for a in back.weights)
    assert np.isnan(back.history[0]["loss"])
    assert back.ranking == [{"init": "imagenet", "overlap": None}]
    assert os.listdir(path.parent) == ["checkpoint.npz"]


WRITER = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
from test_checkpoint import state
from edgeseg.models.checkpoint import save_checkpoint
for epoch in range(1, 10**6):
    save_checkpoint(Path(sys.argv[1]), state(epoch, 20000))
"""


def test_kill_during_save_never_tears_it(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    rng = np.random.default_rng(0)
    reached = []
    for _ in range(6):
        path.unlink(missing_ok=True)
        code = WRITER.format(folder=str(Path(__file__).parent))
        with subprocess.Popen([sys.executable, "-c", code, str(path)]) as writer:
            while not path.exists():
                assert writer.poll() is None
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.1))
            writer.send_signal(signal.SIGKILL)
        back = load_checkpoint(path)
        assert all(np.all(a == back.epoch) for a in (*back.weights, *back.average, *back.optimizer))
        reached.append(back.epoch)
    assert max(reached) > 1, "no process was killed while it replaced a checkpoint"
    save_checkpoint(path, state(1))
    assert os.listdir(tmp_path) == ["checkpoint.npz"], "leftovers of the killed processes"


def test_failing_block_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), AtomicReplacement(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


FULL_DISK = """
import resource, sys
sys.path.insert(0, {folder!r})
from pathlib import Path
from test_checkpoint import state
from edgeseg.errors import EnvironmentFault
from edgeseg.models.checkpoint import save_checkpoint
path = Path(sys.argv[1])
save_checkpoint(path, state(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
try:
    save_checkpoint(path, state(2, 20000))
except EnvironmentFault as fault:
    sys.exit(str(fault))
"""


def test_no_space_is_an_environment_fault(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    code = FULL_DISK.format(folder=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert "cannot be written" in done.stderr, done.stderr
    assert "free space" in done.stderr
    assert load_checkpoint(path).epoch == 1
    assert os.listdir(tmp_path) == ["checkpoint.npz"]


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        save_checkpoint(tmp_path / "run" / "checkpoint.npz", state(1))


def test_absent_truncated_and_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    with pytest.raises(UsageError, match="no run to resume"):
        load_checkpoint(path)
    save_checkpoint(path, state(1))
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(UsageError, match=r"cannot be read"):
            load_checkpoint(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(UsageError, match="cannot be read"):
        load_checkpoint(path)


def test_one_training_in_a_folder(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "a"
    with sole_user(out), pytest.raises(UsageError, match="another process is training"), sole_user(out):
        pass
    assert not out.exists(), "an empty folder was left"
    with sole_user(out):
        (out / "x").write_text("")
    with sole_user(out):
        pass
    assert (out / "x").exists()
