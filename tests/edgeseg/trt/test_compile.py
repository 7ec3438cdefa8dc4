"""`edgeseg compile` as a user meets it: report, exit codes, messages, the state of the cache folder."""

import json
import os
import re
import subprocess
import sys

import pytest

VERSIONS = ("8.2", "8.5.2", "8.6.1", "10.3.0", "11.4.0")


@pytest.fixture
def compile_(double, cuda_stub, make_jetson_bundle, monkeypatch, tmp_path):
    """Function (arguments, version, environment, before) -> the finished process; `.bundle` is the bundle that fits."""
    monkeypatch.setenv("EDGESEG_CACHE", str(tmp_path / "engines"))

    def run(*arguments, **options):
        version = options.get("version", "8.5.2")
        environment = double(version, **options.get("environment", {}))
        bundle = options.get("bundle") or make_jetson_bundle(
            precision="fp32" if version == "11.4.0" else "fp16", dtype="float32" if version == "8.2" else "uint8"
        )
        script = "import sys; {}; from edgeseg.cli import main; sys.exit(main())".format(options.get("before", "pass"))
        done = subprocess.run(
            [sys.executable, "-c", script, "compile", bundle] + list(arguments),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


def kept():
    """Names in the cache folder."""
    folder = os.environ["EDGESEG_CACHE"]
    return sorted(name for name in os.listdir(folder) if name != ".lock") if os.path.isdir(folder) else []


@pytest.mark.parametrize("version", VERSIONS)
def test_the_report(compile_, version):
    done = compile_(version=version)
    assert done.returncode == 0, done.stderr
    precision = "fp32" if version == "11.4.0" else "fp16"
    engine, size, what, layers, golden = done.stdout.splitlines()
    path = engine[len("engine: ") :]
    assert os.path.dirname(path) == os.environ["EDGESEG_CACHE"] and os.path.isfile(path)
    assert re.match(r"size: {:.2f} MB, built in [0-9] s$".format(os.path.getsize(path) / 1e6), size)
    assert what.startswith("for: TensorRT " + version) and what.endswith(", " + precision)
    assert "compute capability 7.2, 8 multiprocessors" in what
    assert precision in layers and golden.startswith("golden frame: ") and "RMS" in golden
    assert "building the engine" in done.stderr
    again = compile_(version=version)
    assert again.returncode == 0 and again.stderr == "" and "built earlier" in again.stdout
    assert again.stdout.splitlines()[2:] == done.stdout.splitlines()[2:]


def test_force_and_workspace_build_anew(compile_):
    first = json.loads(compile_("--json").stdout)
    assert first["built_now"] and first["workspace_mib"] == 1024 and first["check"]["relative_error"] < 0.05
    assert first["bytes"] == os.path.getsize(first["engine"]) and first["layers"]["fp16"] > 0
    second = json.loads(compile_("--json").stdout)
    assert second == dict(first, built_now=False)
    assert json.loads(compile_("--json", "--force").stdout)["built_now"]
    third = json.loads(compile_("--json", "--workspace", "64").stdout)
    assert third["built_now"] and third["workspace_mib"] == 64 and third["engine"] == first["engine"]


def test_engines_that_are_no_longer_needed_are_named(compile_):
    old = json.loads(compile_("--json").stdout)["engine"]
    done = compile_(version="8.6.1")
    assert done.stdout.splitlines()[-1].endswith("rm " + old)


def test_without_tensorrt(compile_):
    done = compile_(before="sys.modules['tensorrt'] = None")
    assert done.returncode == 3 and "TensorRT" in done.stderr and "fix: " in done.stderr and done.stdout == ""
    assert kept() == []


@pytest.mark.parametrize(
    "environment, reason",
    [
        ({"STUB_CUDA_ERROR": "35"}, "driver"),
        ({"STUB_CUDA_ERROR": "100"}, "GPU"),
        ({"EDGESEG_CUDART": "/nowhere/libcudart.so"}, "/nowhere/libcudart.so"),
    ],
)
def test_without_a_gpu(compile_, environment, reason):
    done = compile_(environment=environment)
    assert done.returncode == 3 and reason in done.stderr and "fix: " in done.stderr and done.stdout == ""
    assert kept() == []


def test_bundles_that_need_no_engine(compile_, bundles, tmp_path):
    done = compile_(bundle=os.path.join(bundles, "int8.edgeseg"))
    assert done.returncode == 2 and "is for target cpu" in done.stderr
    assert compile_(bundle=str(tmp_path / "no.edgeseg")).returncode == 2
    assert compile_("--workspace", "0").returncode == 2


def test_a_folder_that_cannot_be_written_is_said_before_the_build(compile_, tmp_path):
    (tmp_path / "file").write_text("")
    done = compile_(environment={"EDGESEG_CACHE": str(tmp_path / "file" / "engines")})
    assert done.returncode == 3 and "engines cannot be kept in" in done.stderr
    assert "building" not in done.stderr and done.stdout == ""


def test_a_full_disk_is_said_before_the_build(compile_):
    full = "import shutil; shutil.disk_usage = lambda path: type('', (), dict(free=1000))"
    done = compile_(before=full)
    assert done.returncode == 3 and "disk full" in done.stderr and "building" not in done.stderr


def test_a_disk_that_fills_up_while_it_builds(compile_):
    done = compile_(before="import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))")
    assert done.returncode == 3 and done.stdout == ""
    assert "the engine was built, but could not be kept: disk full" in done.stderr
    assert kept() == []


@pytest.mark.parametrize(
    "fault, code, message",
    [
        ("nan-output", 1, "NaN or infinity"),
        ("wrong-output", 1, "does not give the masks"),
        ("fp32-engine", 1, "built no fp16 layer"),
        ("build-fails", 3, "could not build an engine"),
        ("execute-fails", 3, "could not run the engine"),
        ("slow-fp16", 4, "no instructions"),
    ],
)
def test_what_can_go_wrong(compile_, fault, code, message):
    done = compile_(environment={"EDGESEG_DOUBLE_FAULTS": fault})
    assert done.returncode == code and message in done.stderr and "fix: " in done.stderr and done.stdout == ""
    assert kept() == []


def test_help_names_the_options():
    done = subprocess.run([sys.executable, "-m", "edgeseg", "compile", "--help"], stdout=subprocess.PIPE, check=True)
    assert b"--workspace" in done.stdout and b"--force" in done.stdout
