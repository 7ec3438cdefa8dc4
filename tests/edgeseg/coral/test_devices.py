"""Names of Edge TPUs, which are attached, and every reason why one cannot be used."""

import errno
import grp
import os
import pwd
import re
import subprocess
import sys
import types
from typing import Any, Dict

import pytest

from edgeseg.coral import access, devices
from edgeseg.coral.access import find_holders
from edgeseg.coral.devices import (
    DeviceName,
    Seen,
    check_before_loading,
    explain_no_device,
    is_device_name,
    parse_device,
    seen_tpus,
    why_unusable,
)
from edgeseg.coral.library import VARIABLE
from edgeseg.coral.listing import Listing, list_devices
from edgeseg.coral.package import Package
from edgeseg.errors import EnvironmentFault, UsageError

NEEDS_14 = Package(14, "", "", ())


def put(root, path, text=""):
    path = os.path.join(str(root), path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    return path


def link(root, path, target):
    path = os.path.join(str(root), path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.symlink(target, path)


def plug_usb(root, place="1-1", number=4, firmware=True, speed="5000", node=True, claimed=False):
    """A stick, as Linux 6.1 shows it."""
    folder = "sys/bus/usb/devices/" + place
    vendor, product = ("18d1", "9302") if firmware else ("1a6e", "089a")
    values = {"idVendor": vendor, "idProduct": product, "busnum": "2", "devnum": str(number), "speed": speed}
    for name, value in values.items():
        put(root, folder + "/" + name, value + "\n")
    os.makedirs(os.path.join(str(root), folder + ":1.0"))
    if claimed:
        link(root, folder + ":1.0/driver", "../../../../bus/usb/drivers/usbfs")
    if node:
        put(root, "dev/bus/usb/002/{:03}".format(number))


def plug_pci(root, place="0000:01:00.0", number=0, driver="apex", owned="0", node=True, temp="48312"):
    """A card, as Linux and the gasket driver show it; `number` None: the driver has not made a device."""
    folder = "sys/devices/pci0000:00/" + place
    put(root, folder + "/vendor", "0x1ac1\n")
    put(root, folder + "/device", "0x089a\n")
    link(root, "sys/bus/pci/devices/" + place, "../../../devices/pci0000:00/" + place)
    if driver:
        link(root, folder + "/driver", "../../../../bus/pci/drivers/" + driver)
    if driver == "apex" and number is not None:
        name = "apex_{}".format(number)
        for attribute, value in {"is_device_owned": owned, "temp": temp, "trip_point0_temp": "84800"}.items():
            put(root, "{}/apex/{}/{}".format(folder, name, attribute), value + "\n")
        link(root, "{}/apex/{}/device".format(folder, name), "../../../" + place)
        link(root, "sys/class/apex/" + name, "../../devices/pci0000:00/{}/apex/{}".format(place, name))
        if node:
            put(root, "dev/" + name)


def run_process(root, pid, command, node):
    put(root, "proc/{}/cmdline".format(pid), command.replace(" ", "\0") + "\0")
    link(root, "proc/{}/fd/7".format(pid), node)


def only_reason(root):
    (seen,) = seen_tpus(str(root))
    fault = why_unusable(seen, str(root))
    assert fault is not None and fault.fix
    return fault


class TestNames:
    @pytest.mark.parametrize(
        "text, name",
        [
            ("", DeviceName()),
            ("usb", DeviceName("usb")),
            ("pci", DeviceName("pci")),
            (":0", DeviceName("", 0)),
            ("usb:1", DeviceName("usb", 1)),
            ("pci:12", DeviceName("pci", 12)),
        ],
    )
    def test_grammar(self, text, name):
        assert is_device_name(text) and parse_device(text) == name and str(name) == text

    @pytest.mark.parametrize("text", [":", "usb:", "usb:-1", "usb:1 ", "USB", "1", "usb1", "pcie", "edgetpu", "usb:٣"])
    def test_not_a_name(self, text):
        assert not is_device_name(text)
        with pytest.raises(UsageError, match=r'"usb", "pci", by number "usb:1"'):
            parse_device(text)


class TestSeen:
    def test_none(self, tmp_path):
        assert seen_tpus(str(tmp_path)) == ()

    def test_usb_before_and_with_firmware(self, tmp_path):
        plug_usb(tmp_path, "1-1.2", 4, firmware=False, speed="480")
        plug_usb(tmp_path, "2-1", 11, claimed=True)
        put(tmp_path, "sys/bus/usb/devices/usb1/idVendor", "1d6b")
        put(tmp_path, "sys/bus/usb/devices/usb1/idProduct", "0002")
        assert seen_tpus(str(tmp_path)) == (
            Seen("usb", "/sys/bus/usb/devices/1-1.2", "/dev/bus/usb/002/004", "1-1.2", False, False, 480),
            Seen("usb", "/sys/bus/usb/devices/2-1", "/dev/bus/usb/002/011", "2-1", True, True, 5000),
        )

    def test_pci(self, tmp_path):
        plug_pci(tmp_path, "0000:02:00.0", 1, owned="1")
        plug_pci(tmp_path, "0000:01:00.0", 0)
        put(tmp_path, "sys/bus/pci/devices/0000:03:00.0/vendor", "0x8086")
        assert seen_tpus(str(tmp_path)) == (
            Seen("pci", "/dev/apex_0", "/dev/apex_0", "0000:01:00.0", False),
            Seen("pci", "/dev/apex_1", "/dev/apex_1", "0000:02:00.0", True),
        )

    def test_usable(self, tmp_path):
        plug_usb(tmp_path)
        plug_pci(tmp_path)
        assert [why_unusable(seen, str(tmp_path)) for seen in seen_tpus(str(tmp_path))] == [None, None]


class TestWhyUnusable:
    def test_container_without_the_bus(self, tmp_path):
        plug_usb(tmp_path, node=False)
        fault = only_reason(tmp_path)
        assert fault.message == "the USB Edge TPU 1-1 is there, but its device file /dev/bus/usb/002/004 is not"
        assert "-v /dev/bus/usb:/dev/bus/usb --device-cgroup-rule 'c 189:* rmw'" in fault.fix
        assert "1a6e:089a and 18d1:9302" in fault.fix

    def test_container_without_the_card(self, tmp_path):
        plug_pci(tmp_path, node=False)
        assert only_reason(tmp_path).fix == "pass it to the container: docker run --device /dev/apex_0"

    def test_container_forbids_it(self, tmp_path, monkeypatch):
        plug_usb(tmp_path)
        monkeypatch.setattr(access, "_open_error", lambda path: errno.EPERM)
        fault = only_reason(tmp_path)
        assert "may not be opened from this container" in fault.message and "--device-cgroup-rule" in fault.fix

    def test_it_does_not_answer(self, tmp_path, monkeypatch):
        plug_usb(tmp_path)
        monkeypatch.setattr(access, "_open_error", lambda path: errno.ENODEV)
        assert (
            only_reason(tmp_path).message
            == "the USB Edge TPU 1-1 does not answer: /dev/bus/usb/002/004: No such device"
        )

    @pytest.mark.parametrize("driver, command", [("", "sudo modprobe apex"), ("vfio-pci", "give it back")])
    def test_driver(self, tmp_path, driver, command):
        plug_pci(tmp_path, driver=driver)
        fault = only_reason(tmp_path)
        assert command in fault.fix and "the PCIe Edge TPU 0000:01:00.0" in fault.message
        assert driver in fault.message and ("no driver" in fault.message) == (not driver)

    def test_driver_without_a_device(self, tmp_path):
        plug_pci(tmp_path, number=None)
        assert only_reason(tmp_path).fix == "see why: sudo dmesg | grep apex"


class TestPermission:
    @pytest.fixture(autouse=True)
    def _closed(self, monkeypatch):
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        monkeypatch.setattr(pwd, "getpwuid", lambda number: types.SimpleNamespace(pw_name="robot"))

    def group(self, monkeypatch, name, members=()):
        stat = os.stat
        monkeypatch.setattr(os, "stat", lambda path: types.SimpleNamespace(st_gid=46) if "dev" in path else stat(path))
        monkeypatch.setattr(grp, "getgrgid", lambda number: types.SimpleNamespace(gr_name=name, gr_mem=list(members)))

    def as_root(self, monkeypatch):
        monkeypatch.setattr(os, "stat", lambda path: types.SimpleNamespace(st_gid=0))

    def test_no_rule(self, tmp_path, monkeypatch):
        plug_usb(tmp_path)
        self.as_root(monkeypatch)
        fault = only_reason(tmp_path)
        assert fault.message.endswith("may not be opened by this user: /dev/bus/usb/002/004 belongs to root")
        for part in (
            'ATTRS{idProduct}=="089a"',
            'ATTRS{idProduct}=="9302"',
            "/etc/udev/rules.d/",
            "usermod -aG plugdev",
        ):
            assert part in fault.fix

    def test_the_command_writes_the_rule(self, tmp_path, monkeypatch):
        plug_pci(tmp_path)
        self.as_root(monkeypatch)
        (command,) = re.findall(r"printf .*? \| ", only_reason(tmp_path).fix)
        printed = subprocess.check_output(["sh", "-c", command + "cat"]).decode()
        assert printed == 'SUBSYSTEM=="apex",GROUP="apex",MODE="0660"\n'

    def test_rule_that_is_not_applied(self, tmp_path, monkeypatch):
        plug_usb(tmp_path)
        put(tmp_path, "lib/udev/rules.d/60-libedgetpu1-std.rules", 'ATTRS{idVendor}=="18d1",ATTRS{idProduct}=="9302"')
        self.as_root(monkeypatch)
        assert only_reason(tmp_path).fix.startswith("its udev rule has not been applied: sudo udevadm control")

    def test_not_in_the_group(self, tmp_path, monkeypatch):
        plug_usb(tmp_path)
        self.group(monkeypatch, "plugdev")
        fault = only_reason(tmp_path)
        assert fault.message.endswith("belongs to group plugdev")
        assert fault.fix == "sudo usermod -aG plugdev $USER, then log in again"

    def test_session_is_older_than_the_membership(self, tmp_path, monkeypatch):
        plug_pci(tmp_path)
        self.group(monkeypatch, "apex", ["robot"])
        assert only_reason(tmp_path).fix.startswith("log in again: this session began before")

    def test_group_of_the_host(self, tmp_path, monkeypatch):
        plug_usb(tmp_path)
        self.group(monkeypatch, "plugdev")

        def unknown(number):
            raise KeyError(number)

        monkeypatch.setattr(grp, "getgrgid", unknown)
        assert only_reason(tmp_path).fix == "pass the group to the container: docker run --group-add 46"


class TestInUse:
    def test_by_whom(self, tmp_path):
        plug_usb(tmp_path, claimed=True)
        run_process(tmp_path, 812, "python3 detect.py --all", "/dev/bus/usb/002/004")
        run_process(tmp_path, 813, "cat", "/dev/bus/usb/002/005")
        fault = only_reason(tmp_path)
        assert fault.message.startswith("the USB Edge TPU 1-1 is in use by python3 detect.py --all (pid 812);")
        assert fault.fix == "end it (kill 812), or use another TPU"

    def test_by_another_user(self, tmp_path):
        plug_pci(tmp_path, owned="1")
        fault = only_reason(tmp_path)
        assert "in use by a process of another user or container" in fault.message
        assert fault.fix.startswith("sudo fuser -v /dev/apex_0")

    def test_by_this_program(self, tmp_path):
        plug_pci(tmp_path, owned="1")
        run_process(tmp_path, os.getpid(), "me", "/dev/apex_0")
        assert "in use by this program itself" in only_reason(tmp_path).message

    def test_processes_of_this_machine(self, tmp_path):
        path = put(tmp_path, "node")
        code = "import sys; file = open(sys.argv[1]); print(); sys.stdout.flush(); sys.stdin.read()"
        command = [sys.executable, "-c", code, path]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin and process.stdout
            process.stdout.readline()
            (holder,) = find_holders(path)
            process.stdin.close()
        assert holder.pid == process.pid and holder.command.startswith(sys.executable[:20])
        assert find_holders(path) == ()


class TestNoDevice:
    def test_nothing_attached(self, tmp_path):
        fault = explain_no_device(root=str(tmp_path))
        assert fault.message.startswith("no Edge TPU is attached: neither on USB (1a6e:089a or 18d1:9302) nor on PCIe")
        assert "lsusb" in fault.fix and "-v /dev/bus/usb:/dev/bus/usb" in fault.fix

    def test_the_other_kind(self, tmp_path):
        plug_usb(tmp_path)
        fault = explain_no_device(DeviceName("pci"), str(tmp_path))
        assert fault.message == "no Edge TPU is attached on PCIe, but 1 on USB" and fault.fix == "use device 'usb'"

    def test_number(self, tmp_path):
        plug_usb(tmp_path)
        fault = explain_no_device(DeviceName("usb", 1), str(tmp_path))
        assert fault.message == "there is no device 'usb:1': 1 USB Edge TPU is attached, counted from 0"
        assert fault.fix == "use device 'usb:0'"
        plug_usb(tmp_path, "1-3", 9)
        fault = explain_no_device(DeviceName("", 2), str(tmp_path))
        assert fault.message == "there is no device ':2': 2 Edge TPUs are attached, counted from 0"
        assert fault.fix == "use device ':0' to ':1'"

    def test_its_own_reason(self, tmp_path):
        plug_pci(tmp_path, driver="")
        assert explain_no_device(DeviceName("pci"), str(tmp_path)).message.endswith("has no driver")

    def test_attached_and_free(self, tmp_path):
        plug_usb(tmp_path)
        fault = explain_no_device(root=str(tmp_path))
        assert fault.message == "the USB Edge TPU 1-1 is attached and free, but libedgetpu cannot use it"


_LISTINGS: Dict[Any, Listing] = {}


def list_once(library):
    """`list_devices`, with one child process for each answer of the double: starting them is what takes time here."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("EDGETPU_DOUBLE_")}
    key = library, tuple(sorted(settings.items()))
    if key not in _LISTINGS:
        _LISTINGS[key] = list_devices(library)
    return _LISTINGS[key]


class TestCheck:
    @pytest.fixture(autouse=True)
    def _library(self, libedgetpu, monkeypatch):
        monkeypatch.setenv(VARIABLE, libedgetpu)
        monkeypatch.setattr(devices, "list_devices", list_once)
        self.environment = monkeypatch

    def check(self, root, device="", package="ai_edge_litert", version="2.3.0", packages=(NEEDS_14,)):
        return check_before_loading(packages, package, version, parse_device(device), str(root))

    def fault(self, root, *arguments, **options):
        with pytest.raises(EnvironmentFault) as caught:
            self.check(root, *arguments, **options)
        return caught.value

    @pytest.mark.parametrize("device, options", [("", {}), ("usb", {"device": "usb"}), (":0", {"device": ":0"})])
    def test_one(self, tmp_path, device, options):
        plug_usb(tmp_path)
        ready = self.check(tmp_path, device)
        assert ready.options == options and ready.device.path == "/sys/bus/usb/devices/1-1"
        assert ready.library.path == os.environ[VARIABLE] and ready.listing.runtime_version == 14

    def test_first_that_is_free(self, tmp_path):
        self.environment.setenv("EDGETPU_DOUBLE_DEVICES", "pci usb usb")
        plug_pci(tmp_path, owned="1")
        plug_usb(tmp_path, "1-1", 4, claimed=True)
        plug_usb(tmp_path, "1-2", 5)
        assert self.check(tmp_path).options == {"device": ":2"}
        assert self.check(tmp_path, "usb").options == {"device": "usb:1"}
        assert self.check(tmp_path, "usb:1").options == {"device": "usb:1"}
        assert "in use" in self.fault(tmp_path, "usb:0").message
        assert "PCIe Edge TPU 0000:01:00.0 is in use" in self.fault(tmp_path, "pci").message

    def test_number(self, tmp_path):
        plug_usb(tmp_path)
        fault = self.fault(tmp_path, "usb:1")
        assert fault.message == "there is no device 'usb:1': 1 USB Edge TPU is attached, counted from 0"

    def test_order(self, tmp_path, stock_libedgetpu):
        """Each remedy uncovers the next reason."""
        root = tmp_path
        self.environment.setenv("EDGETPU_DOUBLE_DEVICES", "")
        self.environment.setenv("EDGETPU_DOUBLE_RUNTIME", "13")
        library = os.environ[VARIABLE]
        self.environment.setenv(VARIABLE, str(tmp_path / "gone.so"))
        assert "is no file" in self.fault(root).message
        self.environment.setenv(VARIABLE, stock_libedgetpu)
        self.environment.setenv("EDGETPU_DOUBLE_FAULTS", "list:abort")
        assert "SIGABRT" in self.fault(root).message
        self.environment.delenv("EDGETPU_DOUBLE_FAULTS")
        assert "corrupt memory" in self.fault(root).message
        self.environment.setenv(VARIABLE, library)
        assert "no Edge TPU is attached" in self.fault(root).message
        plug_usb(root, claimed=True)
        self.environment.setenv("EDGETPU_DOUBLE_DEVICES", "usb")
        assert "is in use" in self.fault(root).message
        os.unlink(str(root / "sys/bus/usb/devices/1-1:1.0/driver"))
        fault = self.fault(root)
        assert fault.message == (
            "the network is compiled for Edge TPU runtime 14 and later; libedgetpu at {} is runtime 13".format(library)
        )
        assert fault.fix.startswith("install a newer libedgetpu: ") and fault.fix.endswith("edgetpu_compiler -m 13")
        self.environment.setenv("EDGETPU_DOUBLE_RUNTIME", "14")
        assert self.check(root).options == {}

    def test_newest_package_counts(self, tmp_path):
        self.environment.setenv("EDGETPU_DOUBLE_RUNTIME", "13")
        plug_usb(tmp_path)
        assert self.check(tmp_path, packages=(NEEDS_14._replace(min_runtime=12),)).options == {}
        assert (
            "runtime 14 and later"
            in self.fault(tmp_path, packages=(NEEDS_14._replace(min_runtime=12), NEEDS_14)).message
        )

    def test_listed_but_unknown_to_the_kernel(self, tmp_path):
        """/sys may be hidden: libedgetpu has the last word."""
        assert self.check(tmp_path).options == {}

    def test_nothing_is_scanned_for_holders_of_a_free_one(self, tmp_path, monkeypatch):
        plug_usb(tmp_path)
        monkeypatch.setattr(access, "find_holders", lambda *arguments: 1 / 0)
        assert self.check(tmp_path).device.kind == "usb"


class TestReal:
    def test_no_device(self, real_libedgetpu, monkeypatch):
        """Google's libedgetpu says `Failed to load delegate from ...` and nothing else; we say why."""
        if seen_tpus():
            pytest.skip("there is an Edge TPU here")
        monkeypatch.setenv(VARIABLE, real_libedgetpu)
        monkeypatch.setattr(devices, "check_pair", lambda *arguments: None)
        with pytest.raises(EnvironmentFault, match=r"^no Edge TPU is attached: neither on USB") as caught:
            check_before_loading((NEEDS_14,), "tflite_runtime", "2.5.0", DeviceName())
        assert "lsusb" in caught.value.fix

    def test_pair_comes_before_the_device(self, real_libedgetpu, monkeypatch):
        monkeypatch.setenv(VARIABLE, real_libedgetpu)
        if seen_tpus():
            pytest.skip("there is an Edge TPU here")
        for package, version in (("ai_edge_litert", "2.3.0"), ("tflite_runtime", "2.14.0")):
            with pytest.raises(EnvironmentFault, match=r"corrupt memory|no Edge TPU"):
                check_before_loading((NEEDS_14,), package, version, DeviceName())
