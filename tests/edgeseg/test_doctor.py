"""`edgeseg doctor`: what it finds on this machine, and on the recorded Jetsons of boards/."""

import argparse
import grp
import importlib.util
import json
import os
import subprocess
import sys
import types

import numpy as np
import pytest

from edgeseg import doctor, jetson_doctor
from edgeseg.cli import doctor as command
from edgeseg.device import find_board
from edgeseg.doctor import Finding, examine, installed_opencv, opencv_places
from edgeseg.errors import EnvironmentFault
from edgeseg.opencv import opencv_features


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A place of its own for engines."""
    folder = tmp_path / "engines"
    monkeypatch.setenv("EDGESEG_CACHE", str(folder))
    return folder


def put(root, path, text=""):
    path = os.path.join(str(root), path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    return path


def look(check, root):
    return list(check(find_board(root), root))


def only(findings, subject):
    (finding,) = [finding for finding in findings if finding.subject == subject]
    return finding


def run_doctor(tmp_path, **packages):
    """Findings of a new process that finds these packages (name=source) first."""
    for name, source in packages.items():
        put(tmp_path, "packages/{}/__init__.py".format(name), source)
    environment = dict(os.environ, PYTHONPATH=str(tmp_path / "packages"))
    arguments = [sys.executable, "-m", "edgeseg", "doctor", "--json"]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, env=environment, check=False)
    return json.loads(done.stdout.decode())


class TestEveryMachine:
    def test_here(self):
        findings = examine()
        assert {"machine", "python", "opencv", "network", "cameras", "display", "space"} <= {
            f.subject for f in findings
        }
        assert all(finding.fix for finding in findings if finding.level != "ok")

    def test_a_broken_check_hides_no_other(self, monkeypatch):
        def _broken():
            raise OSError("no such sensor")
            yield

        monkeypatch.setattr(doctor, "_CHECKS", (_broken,) + doctor._CHECKS)
        findings = examine()
        assert findings[0] == Finding("fault", "broken", "OSError: no such sensor", "reinstall it")
        assert len(findings) > 5

    def test_a_broken_runtime_hides_no_other(self, tmp_path):
        findings = run_doctor(tmp_path, onnxruntime="import os\nos.open('/libcudart.so.10.2', 0)", tflite_runtime="")
        subjects = {finding["subject"]: finding for finding in findings}
        assert subjects["onnxruntime"]["level"] == "fault" and "libcudart" in subjects["onnxruntime"]["text"]
        assert "edgeseg[onnx]" in subjects["onnxruntime"]["fix"]
        assert subjects["tflite"]["level"] == "ok" and "network" in subjects

    def test_broken_tensorrt_is_no_fault_of_a_pc(self, tmp_path):
        if find_board().is_jetson:
            pytest.skip("this is a Jetson")
        findings = run_doctor(tmp_path, tensorrt="raise ImportError('libnvinfer.so.8: cannot open shared object file')")
        (finding,) = [finding for finding in findings if finding["subject"] == "tensorrt"]
        assert finding["level"] == "note" and "libnvinfer.so.8" in finding["text"] and finding["fix"]
        assert not any(finding["subject"] in ("target", "clocks", "power mode") for finding in findings)


class TestOpenCv:
    def test_features(self):
        build = "  Video I/O:\n    FFMPEG:   YES\n    GStreamer:                   NO\n    v4l/v4l2:  YES (x.h)\n"
        assert opencv_features(build) == ["FFMPEG", "v4l/v4l2"]

    def test_two_in_different_places(self, tmp_path, monkeypatch):
        put(tmp_path, "venv/cv2/__init__.py")
        put(tmp_path, "venv/opencv_python-4.9.0.80.dist-info/METADATA")
        put(tmp_path, "jetpack/cv2.cpython-36m-aarch64-linux-gnu.so")
        put(tmp_path, "other/numpy/__init__.py")
        venv, jetpack = str(tmp_path / "venv"), str(tmp_path / "jetpack")
        folders = ["", str(tmp_path / "other"), venv, jetpack, venv]
        assert opencv_places(folders) == [venv, jetpack]
        assert installed_opencv(folders) == ["opencv-python"] and installed_opencv([jetpack]) == []
        monkeypatch.setattr(sys, "path", folders)
        (finding,) = doctor._hidden_opencv()
        assert finding.level == "note" and "{} hides the one in {}".format(venv, jetpack) in finding.text
        assert "pip uninstall -y opencv-python" in finding.fix

    def test_two_are_told_to_the_user(self, monkeypatch):
        pytest.importorskip("cv2")
        monkeypatch.setattr(doctor, "opencv_places", lambda folders: ["/here", "/there"])
        hints = [finding for finding in examine() if "/here hides the one in /there" in finding.text]
        assert len(hints) == 1 and hints[0].subject == "opencv"

    def test_one_is_fine(self, tmp_path, monkeypatch):
        put(tmp_path, "venv/cv2/__init__.py")
        monkeypatch.setattr(sys, "path", [str(tmp_path / "venv")])
        assert list(doctor._hidden_opencv()) == []

    def test_pips_on_a_jetson(self, board):
        cv2 = pytest.importorskip("cv2")
        if "GStreamer" in opencv_features(cv2.getBuildInformation()):
            pytest.skip("this OpenCV has GStreamer")
        (finding,) = look(jetson_doctor._gstreamer, board("xavier"))
        assert finding.level == "note" and "without GStreamer" in finding.text
        assert "pip uninstall -y opencv-" in finding.fix and "--system-site-packages" in finding.fix

    @pytest.mark.parametrize("answer, count", [("YES (1.16.2)", 0), ("NO", 1)])
    def test_jetpacks_on_a_jetson(self, board, monkeypatch, answer, count):
        build = "    GStreamer:                   " + answer
        cv2 = types.SimpleNamespace(__version__="4.1.1", __file__="/a/b/c.so", getBuildInformation=lambda: build)
        monkeypatch.setattr(jetson_doctor, "load_cv2", lambda: cv2)
        monkeypatch.setattr(jetson_doctor, "installed_opencv", lambda folders: [])
        findings = look(jetson_doctor._gstreamer, board("xavier"))
        assert len(findings) == count and all("nvidia-opencv" in finding.fix for finding in findings)


class TestJetson:
    @pytest.mark.parametrize("name", ["nano", "tx2", "xavier", "orin"])
    def test_ends_with_the_target(self, board, name, monkeypatch, capsys):
        root = board(name)
        monkeypatch.setattr(command, "examine", lambda: examine(root))
        code = command.run(argparse.Namespace(json=False))
        lines = capsys.readouterr().out.splitlines()
        assert lines[-1].endswith("best target for this board: --target " + name)
        assert code == (3 if any(line.startswith("FAULT") for line in lines) else 0)
        assert any(line.startswith("ok    system       JetPack ") for line in lines)

    def test_what_slows_it_down(self, board):
        findings = look(jetson_doctor._system, board("xavier"))
        assert only(findings, "power mode").level == "note"
        assert only(findings, "power mode").fix.endswith("sudo nvpmodel -m 0")
        assert only(findings, "clocks").fix == "before measuring: sudo jetson_clocks"
        assert only(findings, "power").level == only(findings, "memory").level == "ok"

    def test_what_does_not(self, board):
        findings = look(jetson_doctor._system, board("nano"))
        assert only(findings, "power mode") == Finding(
            "ok", "power mode", "MAXN (mode 0, from /var/lib/nvpmodel/status)", ""
        )
        assert only(findings, "clocks").level == "ok"

    def test_power_mode_that_may_not_be_read(self, board):
        root = board("orin")
        os.unlink(os.path.join(root, "var/lib/nvpmodel/status"))
        os.unlink(os.path.join(root, "etc/nvpmodel.conf"))
        assert only(look(jetson_doctor._system, root), "power mode") == Finding(
            "note", "power mode", "not readable", "sudo nvpmodel -q"
        )

    def test_small_board_without_a_swap_file(self, board):
        root = board("nano")
        finding = only(look(jetson_doctor._system, root), "memory")
        assert finding.level == "note" and "Killed" in finding.fix and "sudo swapon" in finding.fix
        with open(os.path.join(root, "proc/meminfo"), "a") as file:
            file.write("SwapTotal:       6223868 kB\n")  # 4 GB more than the zram disks
        assert only(look(jetson_doctor._system, root), "memory").level == "ok"

    def test_too_little_memory_free(self, board):
        root = board("orin")
        put(root, "proc/meminfo", "MemTotal: 64000000 kB\nMemAvailable: 300000 kB\n")
        put(root, "proc/swaps")
        assert "multi-user.target" in only(look(jetson_doctor._system, root), "memory").fix

    def test_no_target(self, tmp_path):
        put(tmp_path, "proc/device-tree/compatible", "nvidia,p3834-0008\0nvidia,tegra264\0")
        (finding,) = look(jetson_doctor._target, str(tmp_path))
        assert finding.level == "note" and "tegra264" in finding.text and "--target cpu" in finding.fix

    def test_module_hidden_by_a_container(self, board):
        root = board("orin")
        os.unlink(os.path.join(root, "proc/device-tree/compatible"))
        os.unlink(os.path.join(root, "proc/device-tree/model"))
        (finding,) = look(jetson_doctor._target, root)
        assert finding.level == "note" and "orin or orin-nx or orin-nano" in finding.text


class TestDevices:
    def test_none_in_a_container(self, board):
        (finding,) = look(jetson_doctor._devices, board("xavier"))
        assert "--runtime nvidia" in finding.fix

    def test_open_to_all(self, board):
        root = board("xavier")
        put(root, "dev/nvmap")
        put(root, "dev/nvhost-ctrl-gpu")
        assert look(jetson_doctor._devices, root) == []

    @pytest.mark.parametrize(
        "groups, fix",
        [(("render", "video"), "sudo usermod -aG render,video $USER, "), (("root", "root"), "run as root")],
    )
    def test_closed(self, board, monkeypatch, groups, fix):
        root = board("orin")
        names = iter(groups)
        paths = [put(root, "dev/nvmap"), put(root, "dev/dri/renderD128")]
        put(root, "dev/nvgpu/igpu0/ctrl")
        monkeypatch.setattr(os, "access", lambda path, mode: path not in paths)
        monkeypatch.setattr(grp, "getgrgid", lambda number: types.SimpleNamespace(gr_name=next(names)))
        (finding,) = look(jetson_doctor._devices, root)
        assert "nvmap" in finding.text and "renderD128" in finding.text and "igpu0" not in finding.text
        assert finding.fix.startswith(fix)

    def test_group_without_a_name(self, tmp_path, monkeypatch):
        def unknown(number):
            raise KeyError(number)

        monkeypatch.setattr(grp, "getgrgid", unknown)
        path = put(tmp_path, "nvmap")
        assert jetson_doctor._group_of(path) == str(os.stat(path).st_gid)


class TestTensorRt:
    def test_for_another_python(self, board):
        if "tensorrt" in sys.modules or importlib.util.find_spec("tensorrt"):
            pytest.skip("TensorRT is installed here")
        root = board("xavier")
        put(root, "usr/lib/python3.99/dist-packages/tensorrt/__init__.py")
        (finding,) = look(jetson_doctor._tensorrt, root)
        assert finding.level == "fault" and "Python 3.99" in finding.text and "--system-site-packages" in finding.fix

    def test_its_version(self, board, monkeypatch):
        trt = types.SimpleNamespace(__version__="8.5.2.2", __file__="/usr/lib/x/tensorrt/__init__.py")
        monkeypatch.setattr(jetson_doctor, "load_tensorrt", lambda root: trt)
        (finding,) = look(jetson_doctor._tensorrt, board("xavier"))
        assert finding == Finding("ok", "tensorrt", "8.5.2.2 (/usr/lib/x/tensorrt)")

    def test_gpu(self, board, monkeypatch):
        closed = []
        gpu = types.SimpleNamespace(name="Jetson-AGX", capability=(7, 2), multiprocessors=8)
        memory = types.SimpleNamespace(gpu=gpu, close=lambda: closed.append(True))
        monkeypatch.setattr(jetson_doctor, "open_memory", lambda: memory)
        (finding,) = look(jetson_doctor._cuda, board("xavier"))
        assert finding == Finding("ok", "cuda", "Jetson-AGX, compute capability 7.2, 8 multiprocessors") and closed

    def test_no_gpu(self, board, monkeypatch):
        def fail():
            raise EnvironmentFault("no driver", "install it")

        monkeypatch.setattr(jetson_doctor, "open_memory", fail)
        assert look(jetson_doctor._cuda, board("xavier")) == [Finding("fault", "cuda", "no driver", "install it")]


class TestCsi:
    def test_without_the_daemon(self, board):
        root = board("nano")
        assert look(jetson_doctor._csi, root) == []
        put(root, "sys/class/video4linux/video0/name", "vi-output, imx219 6-0010\n")
        put(root, "sys/class/video4linux/video1/name", "HD Webcam\n")
        (finding,) = look(jetson_doctor._csi, root)
        assert finding.level == "note" and finding.text.startswith("imx219 6-0010:")
        assert "sudo systemctl restart nvargus-daemon" in finding.fix

    def test_with_it(self, board):
        root = board("nano")
        put(root, "sys/class/video4linux/video0/name", "vi-output, imx219 6-0010\n")
        put(root, "tmp/argus_socket")
        assert look(jetson_doctor._csi, root) == [Finding("ok", "csi", "imx219 6-0010")]


class TestEngines:
    def test_counts_them(self, board, folder):
        root = board("orin")
        (finding,) = look(jetson_doctor._engines, root)
        assert finding.level == "ok" and finding.text.startswith("0 in {}, ".format(folder)) and not folder.exists()
        put(folder, "street-0123456789abcdef.engine")
        assert look(jetson_doctor._engines, root)[0].text.startswith("1 in ")

    def test_closed_folder(self, board, folder, monkeypatch):
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        (finding,) = look(jetson_doctor._engines, board("orin"))
        assert finding.level == "note" and str(folder.parent) in finding.text and "EDGESEG_CACHE=" in finding.fix

    def test_full_disk(self, board, monkeypatch):
        monkeypatch.setattr(jetson_doctor, "LOW_SPACE_BYTES", 1 << 60)
        (finding,) = look(jetson_doctor._engines, board("orin"))
        assert finding.level == "note" and "MB free" in finding.text

    def test_a_file_in_the_place_of_a_folder(self, board, monkeypatch, tmp_path):
        put(tmp_path, "file")
        root = board("orin")
        for folder in ("file", "file/engines"):
            monkeypatch.setenv("EDGESEG_CACHE", str(tmp_path / folder))
            (finding,) = look(jetson_doctor._engines, root)
            assert finding.level == "note" and "is no folder" in finding.text and "EDGESEG_CACHE" in finding.fix


class TestNumpy:
    @pytest.mark.parametrize(
        "name, version, setting, level",
        [
            ("nano", "1.19.5", "ARMV8", "note"),
            ("nano", "1.19.5", None, None),
            ("tx2", "1.19.4", "ARMV8", None),
            ("xavier", "1.19.5", "ARMV8", None),
        ],
    )
    def test_illegal_instruction(self, board, monkeypatch, name, version, setting, level):
        monkeypatch.setattr(np, "__version__", version)
        monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
        if setting:
            monkeypatch.setenv("OPENBLAS_CORETYPE", setting)
        findings = look(jetson_doctor._numpy, board(name))
        assert [finding.level for finding in findings] == ([level] if level else [])
        assert all("OPENBLAS_CORETYPE=ARMV8" in finding.text for finding in findings)
