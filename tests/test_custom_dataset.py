"""The README's section "Your own data", command by command: from 20 images in a plain folder to masks and figures."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeseg.bundle import read_bundle
from edgeseg.palette import CAMVID

ROOT = Path(__file__).parents[1]

# The README's training takes an hour.
SHORTER = {
    "--epochs 100": "--epochs 2",
    "edgeseg bench mine.edgeseg": "edgeseg bench mine.edgeseg --frames 4",
}


def commands() -> list[str]:
    """The commands of the section, as short as a test can bear. Each shortening has to be of use."""
    (section,) = re.findall(r"\n## Your own data\n(.*?)\n## ", (ROOT / "README.md").read_text(), re.S)
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", section, re.S))
    for long, short in SHORTER.items():
        assert long in blocks, long
        blocks = blocks.replace(long, short)
    return [line.split("  #")[0].strip() for line in blocks.splitlines()]


def test_your_own_data(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="training and export need TensorFlow")
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    printed = {}
    for command in commands():
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        printed[command.split()[1]] = done.stdout  # by subcommand; of `data` the report, which comes last

    assert len(list(tmp_path.glob("mine/images/*/*.png"))) == 20
    report = printed["data"]
    assert "mine: 11 classes" in report and "faults" not in report
    assert all(c.name in report for c in CAMVID)
    assert cv2.imread(str(tmp_path / "mine.png")) is not None

    manifest = read_bundle(str(tmp_path / "mine.edgeseg")).manifest
    assert manifest.classes == CAMVID
    assert (manifest.network.imgsz, manifest.network.width) == ((224, 320), 1.0)
    assert manifest.target.precision == "int8"

    assert cv2.VideoCapture(str(tmp_path / "mine.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 4
    figures = json.loads((tmp_path / "mine.json").read_text())
    assert figures["images"] == 4 and list(figures["iou"]) == sorted(c.name for c in CAMVID)
    pixels = np.array(figures["confusion"]).sum()
    assert pixels == 4 * 240 * 320  # every pixel of val is labelled and compared
