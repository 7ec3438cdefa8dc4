"""What `edgeseg doctor` says of Edge TPUs and libedgetpu, on trees that stand for a machine."""

import os
import shutil

import pytest

from edgeseg import coral_doctor, doctor
from edgeseg.coral.library import VARIABLE
from edgeseg.doctor import Finding, examine


def put(root, path, text=""):
    path = os.path.join(str(root), path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def plug_usb(root, speed="5000", claimed=False):
    for name, value in {"idVendor": "18d1", "idProduct": "9302", "busnum": "2", "devnum": "4", "speed": speed}.items():
        put(root, "sys/bus/usb/devices/1-1/" + name, value + "\n")
    os.makedirs(str(root / "sys/bus/usb/devices/1-1:1.0"))
    if claimed:
        os.symlink("../../drivers/usbfs", str(root / "sys/bus/usb/devices/1-1:1.0/driver"))
    put(root, "dev/bus/usb/002/004")


def look(check, root):
    return list(check(str(root)))


@pytest.fixture
def library(libedgetpu, monkeypatch):
    """The double of libedgetpu, as the one of this machine."""
    monkeypatch.setenv(VARIABLE, libedgetpu)
    return libedgetpu


class TestTpus:
    def test_usb_3(self, tmp_path):
        plug_usb(tmp_path)
        text = "USB 1-1, /dev/bus/usb/002/004: 18d1:9302, has its firmware"
        assert look(coral_doctor._tpus, tmp_path) == [Finding("ok", "edgetpu", text)]

    def test_usb_2(self, tmp_path):
        plug_usb(tmp_path, "480")
        usable, slow = look(coral_doctor._tpus, tmp_path)
        assert usable.level == "ok" and slow.level == "note"
        assert slow.text.startswith("the USB Edge TPU 1-1 is connected with 480 Mbit/s") and "USB 3" in slow.fix

    def test_closed(self, tmp_path, monkeypatch):
        plug_usb(tmp_path)
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        (finding,) = look(coral_doctor._tpus, tmp_path)
        assert finding.level == "fault" and "belongs to root" in finding.text and "/etc/udev/rules.d" in finding.fix

    def test_in_use_is_no_fault(self, tmp_path):
        """The one who uses it may be edgeseg, and doctor its health check."""
        plug_usb(tmp_path, claimed=True)
        (finding,) = look(coral_doctor._tpus, tmp_path)
        assert finding.level == "note" and "in use" in finding.text

    def test_none(self, tmp_path):
        (finding,) = look(coral_doctor._tpus, tmp_path)
        assert finding.level == "note" and finding.text.startswith("no Edge TPU is attached") and finding.fix


class TestLibrary:
    def test_all_is_well(self, tmp_path, library, monkeypatch):
        plug_usb(tmp_path)
        monkeypatch.setattr(coral_doctor, "PACKAGES", ("json",))
        monkeypatch.setattr(coral_doctor, "choose_interpreter", lambda library: ("ai_edge_litert", "2.3.0"))
        assert look(coral_doctor._library, tmp_path) == [
            Finding(
                "ok",
                "libedgetpu",
                library + ": TensorFlow 2.16.1, full clock on USB, for up to 25 degrees Celsius around it",
            ),
            Finding("ok", "libedgetpu", "runtime version 14, finds 1 Edge TPU"),
            Finding("ok", "libedgetpu", "fits ai_edge_litert 2.3.0"),
        ]

    @pytest.mark.parametrize("plugged, level", [(True, "fault"), (False, "note")])
    def test_a_wrong_pair(self, tmp_path, stock_libedgetpu, monkeypatch, plugged, level):
        pytest.importorskip("ai_edge_litert")
        monkeypatch.setenv(VARIABLE, stock_libedgetpu)
        if plugged:
            plug_usb(tmp_path)
        finding = look(coral_doctor._library, tmp_path)[-1]
        assert finding.level == level and "corrupt memory" in finding.text and finding.fix

    def test_absent(self, tmp_path, monkeypatch):
        monkeypatch.delenv(VARIABLE, raising=False)
        plug_usb(tmp_path)
        (finding,) = look(coral_doctor._library, tmp_path)
        assert finding.level == "fault" and finding.text.endswith("is not installed") and finding.fix

    def test_crashing(self, tmp_path, library, monkeypatch):
        monkeypatch.setenv("EDGETPU_DOUBLE_FAULTS", "list:abort")
        found, crashed = look(coral_doctor._library, tmp_path)
        assert found.level == "ok" and crashed.level == "note" and "SIGABRT" in crashed.text

    def test_it_does_not_find_what_is_there(self, tmp_path, library, monkeypatch):
        plug_usb(tmp_path)
        monkeypatch.setenv("EDGETPU_DOUBLE_DEVICES", "")
        monkeypatch.setattr(coral_doctor, "PACKAGES", ())
        assert look(coral_doctor._library, tmp_path)[-1].text.endswith(
            "attached and free, but libedgetpu cannot use it"
        )

    def test_not_loaded_here(self, tmp_path, libedgetpu, monkeypatch):
        path = shutil.copy(libedgetpu, str(tmp_path))  # other tests load the original
        monkeypatch.setenv(VARIABLE, path)
        look(coral_doctor._library, tmp_path)
        with open("/proc/self/maps") as maps:
            assert path not in maps.read()


@pytest.mark.parametrize("temperature, level", [("48312", "ok"), ("86000", "note")])
def test_temperature(tmp_path, temperature, level):
    put(tmp_path, "sys/class/apex/apex_0/temp", temperature + "\n")
    put(tmp_path, "sys/class/apex/apex_0/trip_point0_temp", "84800\n")
    (finding,) = look(coral_doctor._temperature, tmp_path)
    assert finding.level == level and finding.text.startswith("{:.0f} C at /dev/apex_0".format(int(temperature) / 1e3))
    assert ("lowered the clock, as from 85 C on" in finding.text) == bool(finding.fix) == (level == "note")


def test_another_pycoral(tmp_path, monkeypatch):
    assert look(coral_doctor._pycoral, tmp_path) == []
    put(tmp_path, "pycoral/__init__.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    (finding,) = look(coral_doctor._pycoral, tmp_path)
    assert finding.level == "note" and "pip uninstall -y pycoral" in finding.fix


class TestWhole:
    def test_where_nothing_of_coral_is(self, tmp_path, monkeypatch):
        monkeypatch.delenv(VARIABLE, raising=False)
        monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
        monkeypatch.setattr(doctor, "_has_coral", lambda root="/": False)
        findings = [finding for finding in examine(str(tmp_path)) if finding.subject in ("edgetpu", "libedgetpu")]
        (finding,) = findings
        assert finding.level == "note" and "libedgetpu is not installed" in finding.text
        assert "libedgetpu1-std" in finding.fix

    def test_what_makes_it_look(self, tmp_path, monkeypatch):
        monkeypatch.delenv(VARIABLE, raising=False)
        monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
        assert not doctor._has_coral(str(tmp_path))
        put(tmp_path, "usr/lib/libedgetpu.so.1")
        assert doctor._has_coral(str(tmp_path))
        os.unlink(str(tmp_path / "usr/lib/libedgetpu.so.1"))
        plug_usb(tmp_path)
        assert doctor._has_coral(str(tmp_path))

    def test_with_a_library(self, tmp_path, library):
        plug_usb(tmp_path)
        findings = examine(str(tmp_path))
        assert {"machine", "edgetpu", "libedgetpu"} <= {finding.subject for finding in findings}
        assert all(finding.fix for finding in findings if finding.level != "ok")
