"""Finding the Edge TPU compiler: each place, and each reason why what is there does not work."""

import os
import re
import runpy
import shutil
import sys

import pytest

from edgeseg.bundle import read_bundle
from edgeseg.coral import compiler_tool as tool
from edgeseg.coral.compiler import CompilationFailed, compile_tflite
from edgeseg.coral.compiler_tool import find_compiler, require_compiler
from edgeseg.errors import EnvironmentFault

VERSION = "16.0.384591198"
IMAGE = "registry.example/coral:1"


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A machine without the compiler: an empty PATH."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for name in ("EDGETPU_COMPILER", "EDGETPU_COMPILER_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    return folder


def program(folder, content, mode=0o755):
    """A program of that content (text: a shell script) in `folder`."""
    path = folder / "edgetpu_compiler"
    path.write_bytes(content if isinstance(content, bytes) else "#!/bin/sh\n{}\n".format(content).encode())
    path.chmod(mode)
    return str(path)


def fault(function=find_compiler):
    with pytest.raises(EnvironmentFault) as caught:
        function()
    assert caught.value.fix
    return str(caught.value)


def test_on_the_path(edgetpu_compiler, tmp_path):
    found = require_compiler()
    assert found == (str(tmp_path / "compiler" / "edgetpu_compiler"), "", "PATH", VERSION) and found.major == 16
    assert find_compiler() == found


def test_on_a_relative_path(edgetpu_compiler, monkeypatch, tmp_path):
    """It is run in another folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "compiler" + os.pathsep + os.environ["PATH"].split(os.pathsep, 1)[1])
    assert require_compiler().program == str(tmp_path / "compiler" / "edgetpu_compiler")


def test_old_versions(edgetpu_compiler):
    edgetpu_compiler(version="14")
    assert require_compiler().version == "14.1.317412892" and require_compiler().major == 14


def test_the_variable_comes_first(edgetpu_compiler, monkeypatch, tmp_path):
    os.rename(str(tmp_path / "compiler" / "edgetpu_compiler"), str(tmp_path / "compiler" / "other"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    path = str(tmp_path / "compiler" / "other")
    for text in (path, "compiler/other", "~/compiler/other", "other"):
        monkeypatch.setenv("EDGETPU_COMPILER", text)
        assert require_compiler()[:3] == (path, "", "$EDGETPU_COMPILER")


def test_there_is_none(nowhere, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert find_compiler() is None
    text = fault(require_compiler)
    assert "no edgetpu_compiler on the PATH" in text and "x86_64" not in text
    for way in ("package edgetpu-compiler", "debian:11", "$EDGETPU_COMPILER_IMAGE", "Colab", "https://coral.ai/"):
        assert way in text
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert "it exists for x86-64 only, and this machine is aarch64" in fault(require_compiler)


def test_the_variable_names_nothing(nowhere, monkeypatch):
    monkeypatch.setenv("EDGETPU_COMPILER", str(nowhere / "gone"))
    assert "$EDGETPU_COMPILER is {}, which is not a program".format(nowhere / "gone") in fault()
    monkeypatch.setenv("EDGETPU_COMPILER", program(nowhere, "true", 0o644))
    text = fault()
    assert "cannot be executed" in text and "chmod +x" in text


def test_not_the_compiler(nowhere):
    path = program(nowhere, "echo something else")
    assert path + " does not say that it is an Edge TPU compiler: something else" in fault()
    program(nowhere, "exit 1")
    assert "no output" in fault()


def test_a_compiler_that_does_not_answer(nowhere, monkeypatch):
    monkeypatch.setattr(tool, "_VERSION_SECONDS", 0.2)
    program(nowhere, "exec {} -c 'import time; time.sleep(60)'".format(sys.executable))
    assert "no answer in 0.2 s" in fault()


def test_a_program_for_another_machine(nowhere):
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xf3\x00" + bytes(44)  # for a RISC-V
    path = program(nowhere, header)
    text = fault()
    assert path + " is not a program for this machine" in text and "x86-64 only" in text
    program(nowhere, "echo '{}: 2: exec: ld-linux-x86-64.so.2: Exec format error'; exit 126".format(path))
    assert "is not a program for this machine" in fault()
    program(nowhere, "#!/no/such/interpreter".encode())
    assert "cannot be started" in fault()


def test_a_library_is_missing(nowhere):
    program(
        nowhere, "echo 'edgetpu_compiler: error while loading shared libraries: libc++.so.1: cannot open'; exit 127"
    )
    assert "lacks a library: edgetpu_compiler: error while loading shared libraries: libc++.so.1" in fault()


@pytest.fixture
def docker(nowhere, monkeypatch, tmp_path):
    """Function () -> lines of arguments that docker was called with; the double has one image, IMAGE."""
    double = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "edgetpu_double", "docker.py")
    runpy.run_path(double)["install"](nowhere)
    calls = tmp_path / "docker.txt"
    monkeypatch.setenv("DOCKER_DOUBLE_CALLS", str(calls))
    monkeypatch.setenv("DOCKER_DOUBLE_IMAGE", IMAGE)
    monkeypatch.setenv("EDGETPU_COMPILER_IMAGE", IMAGE)
    return lambda: calls.read_text().splitlines()


@pytest.fixture
def network(bundles):
    return read_bundle(os.path.join(str(bundles), "int8.edgeseg")).payloads["tflite"]


def test_in_docker(docker, network, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    found = require_compiler()
    assert found == ("", IMAGE, "docker image " + IMAGE, VERSION)
    assert compile_tflite(network, found, print).report["found"] == "docker image " + IMAGE
    assert docker()[0] == "image inspect " + IMAGE  # docker run would look for it on the network
    run = docker()[-1]
    assert re.match(
        r"run --rm --network none --name edgeseg-\w+ --user {}:{} -v {}/edgeseg-\w+:/work -w /work "
        r"--entrypoint edgetpu_compiler {} --show_operations --timeout_sec 180 network.tflite$".format(
            os.getuid(), os.getgid(), re.escape(str(tmp_path / "scratch")), re.escape(IMAGE)
        ),
        run,
    )
    names = [line.split("--name ")[1].split()[0] for line in docker() if line.startswith("run")]
    assert len(set(names)) == len(names) == 2
    assert not [line for line in docker() if line.startswith("kill")]
    assert os.listdir(str(tmp_path / "scratch")) == []


def test_a_container_that_hangs_is_killed(docker, network, monkeypatch):
    found = require_compiler()
    monkeypatch.setenv("EDGETPU_COMPILER_DOUBLE", "hang")
    monkeypatch.setattr("edgeseg.coral.compiler._MARGIN_SECONDS", 1.0)
    with pytest.raises(CompilationFailed, match="past its time limit"):
        compile_tflite(network, found, print, timeout=1)
    assert docker()[-1] == "kill " + docker()[-2].split("--name ")[1].split()[0]


@pytest.mark.parametrize(
    "mode, message, fix",
    [
        ("no-daemon", "Cannot connect to the Docker daemon", "systemctl start docker"),
        ("not-permitted", "permission denied", "usermod -aG docker"),
        ("no-program", "executable file not found", "edgetpu-compiler"),
    ],
)
def test_what_keeps_docker_from_it(docker, monkeypatch, mode, message, fix):
    monkeypatch.setenv("DOCKER_DOUBLE", mode)
    text = fault()
    assert IMAGE in text and message in text and fix in text


def test_no_such_image(docker, monkeypatch):
    monkeypatch.setenv("EDGETPU_COMPILER_IMAGE", "no/such")
    text = fault()
    assert "docker image no/such cannot be used" in text and "No such image" in text and "pull" in text


def test_no_docker(nowhere, monkeypatch):
    monkeypatch.setenv("EDGETPU_COMPILER_IMAGE", IMAGE)
    assert "there is no docker here" in fault()


@pytest.mark.skipif(shutil.which("docker") is None, reason="no docker")
def test_the_real_docker_without_such_an_image(monkeypatch):
    monkeypatch.delenv("EDGETPU_COMPILER", raising=False)
    monkeypatch.setattr(tool, "NAME", "edgetpu_compiler-not-here")
    monkeypatch.setenv("EDGETPU_COMPILER_IMAGE", "edgeseg/no-such-image")
    assert "docker image edgeseg/no-such-image cannot be used: " in fault()
