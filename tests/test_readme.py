"""Every command and every Python line of the README runs, on small data and with short training."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeseg.palette import CAMVID
from edgeseg.stream.pattern import PatternSource
from edgeseg.zoo import zoo_networks

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()

# The README's training takes an hour; the same command with these takes seconds.
SHORTER = {
    "--width 1.0": "--width 0.35",
    "--imgsz 352 480": "--imgsz 64 96",
    "--init imagenet": "--init none",
    "--epochs 45": "--epochs 60 --batch 2 --lr 0.005",
    "edgeseg bench street.edgeseg": "edgeseg bench street.edgeseg --frames 20",
    "--epochs 60 -o faster": "--epochs 0 -o faster",
    "--share 16 -o": "--share 16 --epochs 0 1 0 -o",
    "--max-drop 1.0": "--max-drop 100 --fastest --epochs 0",
}

# What needs a camera, a board or its library ends with exit code 3 and this reason where there is none.
NEEDS = {
    "--camera 0": "/dev/video0",
    "edgeseg compile xavier": "TensorRT",
    "--camera csi://": "nvarguscamerasrc",
    "edgeseg verify coral": "libedgetpu",
    "--device usb": "libedgetpu",
}


def commands() -> list[str]:
    own_data = r"\n## Your own data\n.*?(?=\n## )"  # tests/test_custom_dataset.py runs that section
    blocks = re.findall(r"```bash\n(.*?)```", re.sub(own_data, "", README, flags=re.S), re.S)
    lines = (line.split("  #")[0].strip() for block in blocks for line in block.replace("\\\n", "").splitlines())
    return [re.sub(r" +", " ", line) for line in lines if line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the README's commands are given: camvid/, photos/, drive.mp4, street.jpg."""
    path = tmp_path_factory.mktemp("readme")
    (path / "photos").mkdir()
    writer = cv2.VideoWriter(str(path / "drive.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 30, (480, 360))
    with PatternSource(frames=12) as source:
        for frame in source:
            writer.write(frame.image)
            if frame.sequence < 3:
                cv2.imwrite(str(path / "photos" / f"{frame.name}.jpg"), frame.image)
            cv2.imwrite(str(path / "street.jpg"), frame.image)
    writer.release()
    colors = np.array([c.color[::-1] for c in CAMVID], np.uint8)
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3)):
        for kind in (split, split + "annot"):
            (path / "camvid" / kind).mkdir(parents=True)
        for number in range(count):
            # Few classes in large patches: learnt in seconds, and well enough that int8 draws the same masks.
            label = rng.choice([1, 4, 5, 10], (1, 2)).repeat(64, 0).repeat(48, 1).astype(np.uint8)
            cv2.imwrite(str(path / "camvid" / split / f"{number}.png"), colors[label])
            cv2.imwrite(str(path / "camvid" / f"{split}annot" / f"{number}.png"), label)
    return path


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables for the commands: no display, and doubles of Google's compiler and Edge TPU."""
    sys.path.append(str(ROOT / "tests" / "edgetpu_double"))
    from edgetpu_compiler import install
    from libedgetpu import build_libedgetpu, has_gcc

    tools = tmp_path_factory.mktemp("tools")
    install(str(tools))
    path = os.pathsep.join([str(Path(sys.executable).parent), str(tools), os.environ["PATH"]])
    library = {"EDGESEG_LIBEDGETPU": build_libedgetpu(str(tools / "libedgetpu.so.1"))} if has_gcc() else {}
    return {**os.environ, "PATH": path, "DISPLAY": "", "WAYLAND_DISPLAY": "", **library}


@pytest.fixture(scope="module")
def google_coral(folder: Path, shared_data: Callable[..., str]) -> None:
    """Google's files beside the others; skips the test where they are absent."""
    for path in Path(shared_data("coral")).iterdir():
        shutil.copy(path, folder)


@pytest.mark.parametrize("command", commands())
def test_command(command: str, folder: Path, environment: dict[str, str], request: pytest.FixtureRequest) -> None:
    """In the order of the README: later commands use what earlier ones wrote."""
    if command.startswith("scripts/"):
        assert os.access(ROOT / command, os.X_OK)  # scripts/test runs scripts/demo as its last step
        return
    if "deeplab" in command:
        request.getfixturevalue("google_coral")
    for long, short in SHORTER.items():
        command = command.replace(long, short)
    assert shutil.which("edgeseg", path=environment["PATH"]), "edgeseg is not installed beside this Python"
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    reason = next((reason for part, reason in NEEDS.items() if part in command), None)
    if reason and done.returncode == 3:
        assert reason in done.stderr and "fix:" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    for name in re.findall(r"(?:-o|--masks|--json|--confusion) (\S+)", command):
        assert (folder / name).exists()


def test_python_code(folder: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Road" in done.stdout
    assert cv2.imread(str(folder / "overlay.jpg")).shape == (360, 480, 3)
    assert (folder / "mask.png").exists()


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_table_of_boards_is_true() -> None:
    from edgeseg.export.targets import TARGETS

    for line in re.findall(r"^\| `\w.*Jetson .*$", README, re.M):
        names, about, _, precisions, dla = (cell.strip() for cell in line.strip("|").split("|"))
        for target in (TARGETS[name.strip("`")] for name in names.split(", ")):
            board = target.board
            assert board is not None
            assert precisions == ", ".join(target.precisions) and dla == (
                str(board.dla_cores) if board.dla_cores else "-"
            )
            if "likewise" not in about:
                assert f"TensorRT {board.tensorrt}" in about and f"JetPack {board.jetpack[0]}" in about
                assert f"Python {board.python.replace(', ', ' or ')}" in about
    listed = set(re.findall(r"^\| (`\w.*`) \| Jetson", README, re.M))
    assert {n for cell in listed for n in re.findall(r"`([\w-]+)`", cell)} == set(TARGETS) - {"cpu", "coral"}


def test_the_containers_are_built_and_run_as_their_dockerfiles_say() -> None:
    jetson, coral = ((ROOT / name).read_text() for name in ("Dockerfile.jetson", "Dockerfile.coral"))
    found = re.findall(r"`(docker (?:build|run) [^`]+)`", README)
    assert [sum(command in text for command in found) for text in (jetson, coral)] == [1, 2] and len(found) == 3
    assert all(f"AS base-{name}\n" in jetson for name in ("r32.7", "r35", "r36"))


def test_figures_of_the_box_are_those_of_its_files() -> None:
    def percent(figures: dict[str, float] | None, key: str) -> str:
        return f"{100 * figures[key]:.1f}" if figures else "-"

    rows = {re.findall(r"`(.*?)`", row)[0]: row.split(" | ")[4:7] for row in re.findall(r"^\| \[`.*$", README, re.M)}
    for network in zoo_networks():
        figures = [percent(network.accuracy, "miou"), percent(network.accuracy, "boundary_miou")]
        assert rows.pop(network.name) == [*figures, percent(network.int8, "miou")]
    assert not rows
