"""The wheel holds exactly the modules of the tree, under one top-level name, and works where it is installed."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)],
        check=True,
        cwd=folder,
    )
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_matches_tree(wheel: Path) -> None:
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    tree = [p for p in (ROOT / "edgeseg").rglob("*.py") if not {"models", "export", "bench"} & set(p.parts[-4:-1])]
    want = {p.relative_to(ROOT).as_posix() for p in tree}
    for name in ("models", "export", "bench"):
        want |= {f"edgeseg/{p.relative_to(ROOT).as_posix()}" for p in (ROOT / name).rglob("*.py")}
    assert {n for n in names if n.endswith(".py")} == want
    data = {"edgeseg/py.typed"} | {
        f"edgeseg/{p.relative_to(ROOT).as_posix()}"
        for p in (ROOT / "models" / "zoo").iterdir()
        if p.suffix in (".keras", ".edgeseg", ".md", ".json")
    }
    assert names - want == data


def test_installed_wheel_runs_offline_with_the_network_in_the_box(wheel: Path, tmp_path: Path) -> None:
    """numpy, OpenCV and a runtime from here; edgeseg from the wheel alone."""
    environment = tmp_path / "venv"
    venv.create(environment, system_site_packages=False, with_pip=False)
    python = environment / "bin" / "python"
    site = next((environment / "lib").glob("python*")) / "site-packages"
    zipfile.ZipFile(wheel).extractall(site)
    for package in ("numpy", "cv2", "ai_edge_litert"):
        for found in _distribution_paths(package):
            (site / found.name).symlink_to(found)
    command = [str(python), "-m", "edgeseg", "run", "--camera", "pattern:?frames=5", "--json", "out.jsonl"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 5


def _distribution_paths(package: str) -> list[Path]:
    import importlib.util

    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent
    libraries = folder.parent.glob(f"{folder.name}.libs")
    opencv = folder.parent.glob("opencv_python_headless.libs") if package == "cv2" else []
    return [folder, *libraries, *opencv]


def run_python(code: str) -> str:
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


HEAVY = "('cv2','tensorflow','keras','onnx','torch','jax','matplotlib','onnxruntime','ai_edge_litert')"


@pytest.mark.parametrize("module", ["edgeseg", "edgeseg.cli"])
def test_import_is_light(module: str) -> None:
    assert run_python(f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])") == "[]"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, edgeseg.cli\n"
        "try: edgeseg.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([m for m in (*{HEAVY}, 'edgeseg.models', 'edgeseg.export') if m in sys.modules])"
    )
    assert run_python(code).splitlines()[-1] == "[]"


def test_public_names() -> None:
    import edgeseg

    modules = {path.stem for path in (ROOT / "edgeseg").iterdir()}
    visible = {name for name in vars(edgeseg) if not name.startswith("_")}
    assert visible - modules == set(edgeseg.__all__) - {"__version__"}
