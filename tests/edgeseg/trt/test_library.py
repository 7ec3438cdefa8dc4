"""Why TensorRT is not there or does not start: the user reads the reason and the command that mends it."""

import importlib
import os
import re
import subprocess
import sys
import threading

import pytest

from edgeseg.errors import EnvironmentFault
from edgeseg.trt.library import create, failure, load_tensorrt, open_log, system_tensorrt

HERE = "{}.{}".format(*sys.version_info[:2])


@pytest.fixture
def absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)


def install(root, *pythons):
    """The folders that python3-libnvinfer would make for these Pythons below `root`."""
    for python in pythons:
        package = root / "usr" / "lib" / ("python" + python) / "dist-packages" / "tensorrt"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "tensorrt.so").write_bytes(b"")


def fault_of(root="/"):
    with pytest.raises(EnvironmentFault) as caught:
        load_tensorrt(str(root))
    assert caught.value.exit_code == 3
    return caught.value


def test_not_installed(absent, tmp_path):
    fault = fault_of(tmp_path)
    assert fault.message == "TensorRT for Python is not installed"
    assert "sudo apt install python3-libnvinfer" in fault.fix and "pip install tensorrt" in fault.fix


def test_older_than_8_2(monkeypatch):
    """JetPack 4.6 before 4.6.1 has TensorRT 8.0, without the engine inspector."""
    import types

    old = types.ModuleType("tensorrt")
    vars(old).update(Builder=object, __version__="8.0.1.6")
    monkeypatch.setitem(sys.modules, "tensorrt", old)
    fault = fault_of()
    assert "TensorRT 8.0.1.6 is too old" in fault.message and "4.6.1" in fault.message and "apt" in fault.fix


def test_installed_for_another_python(absent, tmp_path):
    """Python 3.9 on a TX2 (NVIDIA/TensorRT#1811): the bindings of JetPack are for 3.6."""
    install(tmp_path, "3.2")
    fault = fault_of(tmp_path)
    assert "is installed for Python 3.2 (" in fault.message and "this is Python {} (".format(HERE) in fault.message
    assert sys.executable in fault.message and str(tmp_path) in fault.message
    assert fault.fix.startswith("/usr/bin/python3.2 -m venv --system-site-packages ")


def test_a_virtual_environment_that_does_not_see_it(absent, tmp_path, monkeypatch):
    install(tmp_path, "3.2", HERE)
    monkeypatch.setattr(sys, "prefix", "/home/me/env")
    fault = fault_of(tmp_path)
    assert "the virtual environment /home/me/env does not see" in fault.message
    assert fault.fix.startswith("/usr/bin/python{} -m venv --system-site-packages ".format(HERE))


def test_another_python_of_the_same_version(absent, tmp_path, monkeypatch):
    """conda's or pyenv's 3.8 beside the system's."""
    install(tmp_path, HERE)
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    fault = fault_of(tmp_path)
    assert "this is another one ({})".format(sys.executable) in fault.message and "/usr/bin/python" + HERE in fault.fix


def test_folder_without_a_version_in_its_path(absent, tmp_path, monkeypatch):
    install(tmp_path, "3")
    monkeypatch.setattr(sys, "prefix", "/home/me/env")
    assert fault_of(tmp_path).fix.startswith("/usr/bin/python3 -m venv --system-site-packages ")
    assert system_tensorrt(str(tmp_path)) == [str(tmp_path / "usr/lib/python3/dist-packages/tensorrt")]


def test_a_real_virtual_environment(tmp_path):
    """The system's packages are where a new venv without them does not look, and one with them does."""
    install(tmp_path, HERE)
    code = "import sys; sys.path += sys.argv[1:]; from edgeseg.trt.library import load_tensorrt; load_tensorrt({!r})"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    paths = [path for path in sys.path if path] + [os.path.dirname(importlib.import_module("edgeseg").__path__[0])]
    done = subprocess.run(
        [str(tmp_path / "env" / "bin" / "python"), "-c", code.format(str(tmp_path))] + paths,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        check=False,
    )
    assert "the virtual environment {} does not see".format(tmp_path / "env") in done.stderr, done.stderr


# What Python says, and what ours has to say.
BROKEN = [
    (
        "ImportError('libnvinfer.so.8: cannot open shared object file: No such file or directory', name='tensorrt')",
        "the library libnvinfer.so.8 is not found",
        "sudo apt install tensorrt.*--runtime nvidia",
    ),
    (
        "OSError('libnvdla_compiler.so: cannot open shared object file: No such file or directory')",
        "the library libnvdla_compiler.so is not found",
        "--runtime nvidia",
    ),
    (
        "ImportError('Python version mismatch: module was compiled for Python 3.8, but the interpreter version is "
        "incompatible: 3.11.2.')",
        "does not load: ImportError: Python version mismatch: module was compiled for Python 3.8",
        "/usr/bin/python3.2 -m venv --system-site-packages",
    ),
    (
        "ImportError('dynamic module does not define module export function (PyInit_tensorrt)')",
        "PyInit_tensorrt",
        "/usr/bin/python3.2 -m venv --system-site-packages",
    ),
    (
        "ImportError('tensorrt.so: undefined symbol: _Py_ZeroStruct')",
        "undefined symbol: _Py_ZeroStruct",
        "/usr/bin/python3.2 -m venv --system-site-packages",
    ),
    (
        "AttributeError(\"module 'numpy' has no attribute 'bool'\")",
        "does not load: AttributeError: module 'numpy' has no attribute 'bool'",
        "reinstall python3-libnvinfer",
    ),
    ("ModuleNotFoundError('No module named \\'numpy\\'', name='numpy')", "No module named 'numpy'", "reinstall"),
]


@pytest.mark.parametrize("error, message, fix", BROKEN)
def test_installed_and_does_not_load(tmp_path, monkeypatch, error, message, fix):
    install(tmp_path, "3.2")
    package = tmp_path / "path" / "tensorrt"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise " + error)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    fault = fault_of(tmp_path)
    assert message in fault.message and re.search(fix, fault.fix), fault


def test_a_folder_of_that_name(tmp_path, monkeypatch):
    (tmp_path / "tensorrt").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    fault = fault_of()
    assert "is not TensorRT" in fault.message and str(tmp_path) in fault.message
    del sys.modules["tensorrt"]


@pytest.fixture
def trt(double):
    double("8.5.2")
    return load_tensorrt()


def test_the_log_keeps_what_went_wrong(trt, capfd):
    log = open_log(trt)
    log.log(trt.ILogger.INFO, "built")
    assert log.take_errors() == []
    log.log(trt.ILogger.WARNING, "half")
    assert log.take_errors() == ["half"]  # better than nothing
    log.log(trt.ILogger.WARNING, "slow")
    log.log(trt.ILogger.ERROR, "first")
    log.log(trt.ILogger.INTERNAL_ERROR, "second")
    assert log.take_errors() == ["first", "second"] and log.take_errors() == []
    for i in range(10000):
        log.log(trt.ILogger.ERROR, str(i))
    assert 10 < len(log.take_errors()) < 1000  # it runs for days
    assert capfd.readouterr() == ("", "")


def test_the_log_is_written_from_threads(trt):
    log = open_log(trt)
    threads = [threading.Thread(target=lambda: [log.log(trt.ILogger.ERROR, "x") for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(log.take_errors()) == {"x"}


@pytest.mark.parametrize(
    "code, message, fix",
    [
        ("35", "driver is missing, or older than CUDA here (CUDA error 35)", "--runtime nvidia"),
        ("100", "there is no NVIDIA GPU (CUDA error 100)", "run this on the Jetson"),
        ("2", "no memory left", "end other programs"),
        ("999", "the driver refuses", "usermod -aG video"),
        ("777", "TensorRT: CUDA initialization failure with error: 777", "edgeseg doctor"),
    ],
)
def test_no_gpu(trt, monkeypatch, code, message, fix):
    monkeypatch.setenv("STUB_CUDA_ERROR", code)
    log = open_log(trt)
    with pytest.raises(EnvironmentFault) as caught:
        create(lambda: trt.Builder(log), log, "an engine builder")
    text = caught.value.message
    assert text.startswith("TensorRT cannot make an engine builder on this machine") and message in text
    assert "\n  TensorRT: CUDA initialization failure with error: " + code in text and fix in caught.value.fix


def test_create_gives_what_was_made(trt):
    log = open_log(trt)
    assert isinstance(create(lambda: trt.Builder(log), log, "an engine builder"), trt.Builder)
    with pytest.raises(EnvironmentFault, match="cannot make a context on this machine"):
        create(lambda: None, log, "a context")
    with pytest.raises(TypeError, match="incompatible"):  # our mistake, not the machine's
        create(trt.Builder, log, "an engine builder")


def test_a_failure_quotes_the_first_lines(trt):
    log = open_log(trt)
    for i in range(50):
        log.log(trt.ILogger.ERROR, "line {}".format(i))
    fault = failure("it failed", log, "do this")
    lines = fault.message.split("\n")
    assert lines[:2] == ["it failed", "  TensorRT: line 0"] and len(lines) < 10 and fault.fix == "do this"
