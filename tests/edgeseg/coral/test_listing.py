"""Asking libedgetpu for its devices, in a child process that may crash or hang."""

import ctypes
import json
import os
import shutil
import subprocess
import sys

import pytest
from libedgetpu import build_libedgetpu, has_gcc

from edgeseg.coral.library import Library
from edgeseg.coral.listing import Device, list_devices
from edgeseg.errors import EnvironmentFault


def compiled(folder, source, name="libedgetpu.so.1", flags=()):
    if not has_gcc():
        pytest.skip("no gcc")
    (folder / "library.c").write_text(source)
    path = str(folder / name)
    subprocess.run(["gcc", "-shared", "-fPIC", str(folder / "library.c"), "-o", path] + list(flags), check=True)
    return path


def fault_of(path, **options):
    with pytest.raises(EnvironmentFault) as caught:
        list_devices(Library(path), **options)
    assert caught.value.fix
    return caught.value


class TestDouble:
    def test_several(self, libedgetpu, monkeypatch):
        monkeypatch.setenv("EDGETPU_DOUBLE_DEVICES", "usb pci usb")
        monkeypatch.setenv("EDGETPU_DOUBLE_RUNTIME", "13")
        listing = list_devices(Library(libedgetpu))
        assert listing.runtime_version == 13 and "RuntimeVersion(13)" in listing.build
        assert listing.devices == (
            Device("usb", "/sys/bus/usb/devices/1-1"),
            Device("pci", "/dev/apex_0"),
            Device("usb", "/sys/bus/usb/devices/1-2"),
        )

    def test_none(self, libedgetpu, monkeypatch):
        monkeypatch.setenv("EDGETPU_DOUBLE_DEVICES", "")
        assert list_devices(Library(libedgetpu)).devices == ()

    def test_not_loaded_here(self, libedgetpu, tmp_path):
        path = shutil.copy(libedgetpu, str(tmp_path))  # other tests load the original
        list_devices(Library(path))
        with open("/proc/self/maps") as maps:
            assert path not in maps.read()

    def test_modules_of_the_program(self, libedgetpu, monkeypatch, tmp_path):
        """The child finds modules where this program does, not in the working folder."""
        (tmp_path / "json.py").write_text("raise ImportError('of the working folder')")
        monkeypatch.setattr(sys, "path", [os.path.abspath(folder) for folder in sys.path])
        monkeypatch.chdir(tmp_path)
        assert len(list_devices(Library(libedgetpu)).devices) == 1

    def test_as_a_program(self, libedgetpu):
        done = subprocess.run(
            [sys.executable, "-m", "edgeseg.coral.listing", libedgetpu], stdout=subprocess.PIPE, check=True
        )
        assert json.loads(done.stdout.decode())["devices"] == [["usb", "/sys/bus/usb/devices/1-1"]]


class TestFailing:
    @pytest.mark.parametrize("fault, signal", [("abort", "SIGABRT"), ("crash", "SIGSEGV")])
    def test_crash(self, libedgetpu, monkeypatch, fault, signal):
        monkeypatch.setenv("EDGETPU_DOUBLE_FAULTS", "list:" + fault)
        message = fault_of(libedgetpu).message
        start = "libedgetpu at {} ended the process that asked it for its devices: {}".format(libedgetpu, signal)
        assert message.startswith(start)
        assert message.endswith("[LibUsbDataOutCallback]") == (fault == "abort")  # its last line on stderr

    def test_hang(self, libedgetpu, monkeypatch):
        monkeypatch.setenv("EDGETPU_DOUBLE_FAULTS", "list:hang")
        fault = fault_of(libedgetpu, timeout_s=1.5)
        assert fault.message == "libedgetpu at {} hangs: no list of devices after 1.5 s".format(libedgetpu)
        assert fault.fix.startswith("unplug the Edge TPU and plug it in again")

    def test_it_prints(self, tmp_path):
        """What a library prints to stdout does not spoil the answer; a version without a number is refused."""
        source = """
            #include <stdio.h>
            void *edgetpu_list_devices(unsigned long *count) {
                puts("{nonsense");
                fflush(stdout);
                *count = 0;
                return 0;
            }
            void edgetpu_free_devices(void *devices) {}
            const char *edgetpu_version(void) { return "none of your business"; }
        """
        assert fault_of(compiled(tmp_path, source)).message.endswith(
            "tells no runtime version, but 'none of your business'"
        )

    def test_it_ends_the_process(self, tmp_path):
        source = "#include <unistd.h>\nvoid __attribute__((constructor)) start(void) { _exit(0); }"
        assert "is not readable: ''" in fault_of(compiled(tmp_path, source)).message

    def test_function_is_missing(self, tmp_path):
        message = fault_of(compiled(tmp_path, "const char *edgetpu_version(void) { return 0; }")).message
        assert "cannot be loaded: " in message and "edgetpu_list_devices" in message

    def test_python_cannot_be_started(self, libedgetpu, monkeypatch):
        monkeypatch.setattr(sys, "executable", "/nowhere/python3")
        assert "cannot be started" in fault_of(libedgetpu).message

    def test_embedded_python(self, libedgetpu, monkeypatch):
        monkeypatch.setattr(sys, "executable", "/usr/bin/blender")
        assert "'/usr/bin/blender'" in fault_of(libedgetpu).message


class TestMissingLibraries:
    @pytest.mark.parametrize(
        "missing, fix",
        [
            ("libusb-1.0.so.77", "sudo apt install libusb-1.0-0"),
            ("libflatbuffers.so.77", "install the package that holds it (apt-file search libflatbuffers.so.77)"),
        ],
    )
    def test_message(self, tmp_path, missing, fix):
        other = compiled(tmp_path, "int other;", missing, ["-Wl,-soname," + missing])
        path = build_libedgetpu(str(tmp_path / "libedgetpu.so.1"), needs=[other])
        os.unlink(other)
        fault = fault_of(path)
        assert fault.message == "libedgetpu at {} needs {}, which is not installed".format(path, missing)
        assert fault.fix.startswith(fix)

    def test_newer_system(self, monkeypatch, tmp_path):
        from edgeseg.coral import listing

        words = "/lib/libc.so.6: version `GLIBC_2.99' not found (required by /x/libedgetpu.so.1)"
        monkeypatch.setattr(listing, "_run", lambda command, timeout_s: (0, json.dumps({"error": words}), ""))
        assert fault_of("/x/libedgetpu.so.1").message.endswith("is made for a newer system: it needs GLIBC_2.99")


class TestReal:
    def test_lists_and_tells_its_version(self, real_libedgetpu):
        listing = list_devices(Library(real_libedgetpu))
        assert listing.runtime_version in (13, 14) and listing.build.startswith("BuildLabel(COMPILER=")
        assert all(device.kind in ("usb", "pci") for device in listing.devices)

    def test_without_libusb(self, real_libedgetpu, tmp_path):
        with open(real_libedgetpu, "rb") as file:
            data = file.read()
        assert data.count(b"\0libusb-1.0.so.0\0") == 1
        path = tmp_path / "libedgetpu.so.1"
        path.write_bytes(data.replace(b"\0libusb-1.0.so.0\0", b"\0libusb-1.0.so.9\0"))
        with pytest.raises(OSError, match=r"^libusb-1\.0\.so\.9: cannot open shared object file"):
            ctypes.CDLL(str(path))  # what users see without edgeseg
        fault = fault_of(str(path))
        assert fault.message == "libedgetpu at {} needs libusb-1.0.so.9, which is not installed".format(path)
        assert fault.fix == "sudo apt install libusb-1.0-0"
