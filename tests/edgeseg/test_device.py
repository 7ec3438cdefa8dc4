"""Board facts of a TX2 and a Nano (JetPack 4.6), an AGX Xavier (5.1) and an AGX Orin (6), as boards/*.json has them."""

import json
import os
import stat

import pytest

from edgeseg.device import Board, Sensors, describe, find_board, read_clocks, read_power_mode, read_ram

BOARDS = ("nano", "tx2", "xavier", "orin")


def write(root, path, text):
    path = os.path.join(str(root), path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def remove(root, *paths):
    for path in paths:
        os.unlink(os.path.join(root, path))


def fake_nvpmodel(root, script):
    write(root, "usr/sbin/nvpmodel", "#!/bin/sh\n" + script)
    os.chmod(os.path.join(root, "usr/sbin/nvpmodel"), stat.S_IRWXU)


def mode_of(root):
    mode = read_power_mode(root)
    assert mode is not None
    return mode


def ram_of(root):
    ram = read_ram(root)
    assert ram is not None
    return ram


@pytest.mark.parametrize("name", BOARDS)
def test_every_tree_names_its_sources(name):
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "boards", name + ".json")
    with open(path) as file:
        tree = json.load(file)
    assert "github.com" in tree["source"] and "only plausible" in tree["source"]


class TestBoard:
    @pytest.mark.parametrize(
        "name, expected",
        [
            ("nano", Board("NVIDIA Jetson Nano Developer Kit", "tegra210", (5, 3), ("nano",), "32.7.1", "4.6.1")),
            ("tx2", Board("Jetson TX2 (quill)", "tegra186", (6, 2), ("tx2",), "32.7.6", "4.6.6")),
            ("xavier", Board("Jetson-AGX", "tegra194", (7, 2), ("xavier",), "35.4.1", "5.1.2")),
            ("orin", Board("NVIDIA Jetson AGX Orin Developer Kit", "tegra234", (8, 7), ("orin",), "36.4.3", "6.2")),
        ],
    )
    def test_recorded(self, board, name, expected):
        assert find_board(board(name)) == expected

    @pytest.mark.parametrize(
        "compatible, model, targets",
        [
            ("nvidia,p2597-2180\0nvidia,p2180-1000\0nvidia,tegra210", "jetson_tx1", ("tx1",)),
            ("nvidia,tegra210", "NVIDIA Jetson Nano Developer Kit", ("nano",)),
            ("nvidia,p3509-0000+p3636-0001\0nvidia,tegra186", "NVIDIA Jetson TX2 NX", ("tx2",)),
            ("nvidia,tegra186", "somebody's carrier", ("tx2",)),
            ("nvidia,p3449-0000+p3668-0000\0nvidia,tegra194", "NVIDIA Jetson Xavier NX Developer Kit", ("xavier-nx",)),
            ("nvidia,tegra194", "NVIDIA Jetson Xavier NX Developer Kit", ("xavier-nx",)),
            ("nvidia,tegra194", "somebody's carrier", ("xavier", "xavier-nx")),
            ("nvidia,p3768-0000+p3767-0000\0nvidia,tegra234", "NVIDIA Orin NX Developer Kit", ("orin-nx",)),
            ("nvidia,p3768-0000+p3767-0005\0nvidia,tegra234", "NVIDIA Orin Nano Developer Kit", ("orin-nano",)),
            # a 4 GB Orin Nano on the carrier of an Orin NX: the part number counts, not the name
            ("nvidia,p3768-0000+p3767-0004\0nvidia,tegra234", "NVIDIA Jetson Orin NX Developer Kit", ("orin-nano",)),
            ("nvidia,p4071-0000+p3834-0008\0nvidia,tegra264", "NVIDIA Jetson AGX Thor Developer Kit", ()),
        ],
    )
    def test_every_module_finds_its_target(self, tmp_path, compatible, model, targets):
        write(tmp_path, "proc/device-tree/compatible", compatible)
        write(tmp_path, "proc/device-tree/model", model)
        assert find_board(str(tmp_path)).targets == targets

    @pytest.mark.parametrize(
        "text, l4t, jetpack",
        [
            ("# R32 (release), REVISION: 5.0, GCID: 1, BOARD: t186ref", "32.5.0", "4.5"),
            ("# R32 (release), REVISION: 5, GCID: 1, BOARD: t186ref", "32.5", "4.5"),
            ("# R36 (release), REVISION: 9.9, GCID: 1, BOARD: generic", "36.9.9", "6.x"),
            ("# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic", "38.2.0", "7.0"),
            ("# R39 (release), REVISION: 2.0, GCID: 45755727, BOARD: generic", "39.2.0", "7.2"),
            ("# R99 (release), REVISION: 1.0", "99.1.0", ""),
            ("something else", "", ""),
        ],
    )
    def test_releases(self, board, text, l4t, jetpack):
        root = board("orin")
        write(root, "etc/nv_tegra_release", text)
        assert find_board(root)[-2:] == (l4t, jetpack)

    def test_release_from_the_package_database(self, board):
        root = board("tx2")
        remove(root, "etc/nv_tegra_release")
        packages = "Package: nvidia-l4t-cor\nVersion: 1.2.3\n\nPackage: nvidia-l4t-core\nStatus: install ok installed\n"
        write(root, "var/lib/dpkg/status", packages + "Version: 32.7.3-20221122092935\n\nPackage: z\nVersion: 4.5.6\n")
        assert find_board(root).l4t == "32.7.3"
        write(root, "var/lib/dpkg/status", "Package: nvidia-l4t-core\nStatus: x\n\nPackage: z\nVersion: 4.5.6\n")
        assert find_board(root).l4t == ""

    @pytest.mark.parametrize(
        "name, soc, targets",
        [
            ("nano", "tegra210", ("nano", "tx1")),
            ("tx2", "tegra186", ("tx2",)),
            ("xavier", "tegra194", ("xavier", "xavier-nx")),
            ("orin", "tegra234", ("orin", "orin-nx", "orin-nano")),
        ],
    )
    def test_container_without_a_device_tree(self, board, name, soc, targets):
        root = board(name)
        remove(root, "proc/device-tree/model", "proc/device-tree/compatible")
        found = find_board(root)
        assert found.is_jetson and found.soc == soc and found.targets == targets

    def test_container_that_is_told_the_model(self, board):
        root = board("orin")
        remove(root, "proc/device-tree/model", "proc/device-tree/compatible")
        write(root, "tmp/nv_jetson_model", "NVIDIA Jetson Orin NX Developer Kit\0")
        assert find_board(root).targets == ("orin-nx",)

    def test_other_machines(self, tmp_path):
        assert find_board(str(tmp_path)) == Board()
        write(tmp_path, "proc/cpuinfo", "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\n")
        assert find_board(str(tmp_path)) == Board("Some CPU @ 3 GHz")
        write(tmp_path, "proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
        write(tmp_path, "proc/device-tree/compatible", "raspberrypi,4-model-b\0brcm,bcm2711\0")
        write(tmp_path, "sys/class/devfreq/17000000.gpu/cur_freq", "1")  # somebody else's GPU
        assert find_board(str(tmp_path)) == Board("Raspberry Pi 4 Model B Rev 1.4")


class TestPowerMode:
    @pytest.mark.parametrize(
        "name, number, mode, fastest",
        [
            ("nano", 0, "MAXN", 0),
            ("tx2", 3, "MAXP_CORE_ARM", 0),
            ("xavier", 2, "MODE_15W", 0),
            ("orin", 2, "MODE_30W", 0),
        ],
    )
    def test_from_the_files(self, board, name, number, mode, fastest):
        found = mode_of(board(name))
        assert (found.number, found.name, found.fastest) == (number, mode, fastest)
        assert found.source == "/var/lib/nvpmodel/status"

    def test_nvpmodel_is_asked_first(self, board):
        root = board("xavier")
        fake_nvpmodel(
            root, '[ "$1" = -q ] && printf "NVPM WARN: fan mode is not set!\\nNV Power Mode: MODE_30W_ALL\\n3\\n"\n'
        )
        found = mode_of(root)
        assert (found.number, found.name, found.source) == (3, "MODE_30W_ALL", "nvpmodel -q")
        assert found.modes[6] == "MODE_30W_2CORE"

    @pytest.mark.parametrize(
        "script",
        [
            "echo Failed to open /var/lib/nvpmodel/conf_file_path; exit 1\n",
            "i=0; while [ $i -lt 30000000 ]; do i=$((i+1)); done; printf 'NV Power Mode: LATE\\n9\\n'\n",
        ],
        ids=["fails", "hangs"],
    )
    def test_nvpmodel_that_gives_no_answer(self, board, script, monkeypatch):
        monkeypatch.setattr("edgeseg.device.modes.NVPMODEL_TIMEOUT_S", 0.2)
        root = board("tx2")
        fake_nvpmodel(root, script)
        assert mode_of(root).source == "/var/lib/nvpmodel/status"

    def test_before_a_mode_was_ever_set(self, board):
        root = board("xavier")
        remove(root, "var/lib/nvpmodel/status")
        found = mode_of(root)
        assert (found.number, found.name) == (2, "MODE_15W") and "default" in found.source

    def test_nothing_readable(self, board):
        root = board("xavier")
        remove(root, "var/lib/nvpmodel/status", "etc/nvpmodel.conf")
        assert read_power_mode(root) is None
        assert describe(root)["power mode"] == "not readable"

    def test_number_without_a_table(self, board):
        root = board("xavier")
        remove(root, "etc/nvpmodel.conf")
        found = mode_of(root)
        assert (found.number, found.name, found.fastest) == (2, "", None)

    def test_super_is_faster_than_maxn(self, board):
        root = board("orin")
        table = "< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=25W >\n"
        write(root, "etc/nvpmodel.conf", "# < POWER_MODEL ID=7 NAME=MAXN_SUPER_OLD >\n" + table)
        assert mode_of(root).fastest == 2


class TestClocks:
    @pytest.mark.parametrize(
        "name, expected",
        [
            ("nano", (True, (1479, 1479), (921.6, 921.6))),
            ("tx2", (False, (345.6, 2035.2), (114.75, 1134.75))),
            ("xavier", (False, (1190.4, 1190.4), (318.75, 675.75))),  # mode 15W pins the CPU, not the GPU
            ("orin", (False, (729.6, 1728), (306, 612))),
        ],
    )
    def test_recorded(self, board, name, expected):
        assert read_clocks(board(name)) == expected

    def test_cpus_that_are_off_do_not_count(self, board):
        root = board("xavier")
        write(root, "sys/class/devfreq/17000000.gv11b/min_freq", "675750000")
        write(root, "sys/devices/system/cpu/cpu7/cpufreq/scaling_max_freq", "2265600")
        assert read_clocks(root).pinned is True
        write(root, "sys/devices/system/cpu/cpu7/online", "1")
        assert read_clocks(root).pinned is False

    def test_unknown_where_the_gpu_is_not_to_be_seen(self, board):
        root = board("nano")
        remove(root, "sys/class/devfreq/57000000.gpu")
        assert read_clocks(root) == (None, (1479, 1479), None)


class TestSensors:
    @pytest.mark.parametrize(
        "name, total_of, total_mw, rails",
        [
            ("nano", ("POM_5V_IN",), 1750, {"POM_5V_IN": 1750, "POM_5V_GPU": 0, "POM_5V_CPU": 366}),
            (
                "tx2",
                ("VDD_IN",),
                2930,
                {
                    "VDD_IN": 2930,
                    "VDD_SYS_GPU": 77,
                    "VDD_SYS_SOC": 539,
                    "VDD_4V0_WIFI": 38,
                    "VDD_SYS_CPU": 539,
                    "VDD_SYS_DDR": 727,
                },
            ),
            (
                "xavier",
                ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
                7596.4,
                {"GPU": 456, "CPU": 608, "SOC": 2926, "CV": 0, "VDDRQ": 304, "SYS5V": 3302.4},
            ),
            (
                "orin",
                ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),  # VDDQ_VDD2_1V8AO is part of VIN_SYS_5V0
                9238.72,
                {"VDD_GPU_SOC": 3575.52, "VDD_CPU_CV": 794.56, "VIN_SYS_5V0": 4868.64, "VDDQ_VDD2_1V8AO": 397.44},
            ),
        ],
    )
    def test_power(self, board, name, total_of, total_mw, rails):
        sensors = Sensors(board(name))
        reading = sensors.read()
        assert sensors.total_of == total_of
        assert reading.rails_mw == pytest.approx(rails)
        assert reading.total_mw == pytest.approx(total_mw) == sensors.total_mw()

    @pytest.mark.parametrize(
        "name, temperatures",
        [
            ("nano", {"ao": 45, "cpu": 40, "gpu": 40, "pll": 37}),
            ("tx2", {"bcpu": 39, "mcpu": 39, "gpu": 37, "pll": 39, "tboard": 35, "tdiode": 37}),
            ("xavier", {"cpu": 31.5, "gpu": 30.5, "aux": 30.5, "ao": 30, "tboard": 31, "tdiode": 32}),
            (
                "orin",
                {
                    "cpu": 47.5,
                    "gpu": 42,
                    "soc0": 46,
                    "soc1": 44,
                    "soc2": 46.5,
                    "tj": 47.5,
                    "tboard": 37.5,
                    "tdiode": 39.75,
                },
            ),
        ],
    )
    def test_temperatures_without_the_fake_ones(self, board, name, temperatures):
        assert Sensors(board(name)).read().temperatures_c == temperatures

    def test_gpu_and_cpu(self, board):
        root = board("orin")
        write(root, "sys/devices/system/cpu/cpu10/online", "1")
        write(root, "sys/devices/system/cpu/cpu10/cpufreq/scaling_cur_freq", "1113600")
        reading = Sensors(root).read()
        assert reading.gpu_load == 0.123 and reading.gpu_mhz == 306
        assert reading.cpu_mhz == (1420.8, 729.6, 1420.8, 729.6, 1497.6, 729.6, 1497.6, 729.6, 1113.6)
        assert len(Sensors(board("tx2")).read().cpu_mhz) == 4  # the Denver cores are off in this mode

    def test_reads_anew_each_time(self, board):
        root = board("tx2")
        sensors = Sensors(root)
        sensors.read()
        write(root, "sys/devices/3160000.i2c/i2c-0/0-0041/iio:device1/in_power0_input", "7777\n")
        write(root, "sys/devices/17000000.gp10b/load", "998\n")
        assert sensors.total_mw() == 7777 and sensors.read().gpu_load == 0.998

    @pytest.mark.parametrize("content", [None, "", "garbage"])
    def test_a_rail_that_cannot_be_read_gives_no_wrong_total(self, board, content):
        root = board("xavier")
        current = "sys/devices/platform/c240000.i2c/i2c-1/1-0040/hwmon/hwmon3/curr1_input"
        sensors = Sensors(root)
        remove(root, current)
        if content is not None:
            write(root, current, content)
        reading = sensors.read()
        assert reading.total_mw is None and sensors.total_mw() is None
        assert set(reading.rails_mw) == {"CPU", "SOC", "CV", "VDDRQ", "SYS5V"}
        assert "not readable" in describe(root)["power"]

    def test_sensor_that_is_switched_off(self, board):
        root = board("orin")
        write(root, "sys/devices/virtual/thermal/thermal_zone0/temp", "-256000\n")
        assert "cpu" not in Sensors(root).read().temperatures_c


class TestRam:
    def test_memory_and_swap(self, board):
        ram = ram_of(board("nano"))
        assert (ram.total, ram.available) == (3964 << 20, 2041 << 20)
        assert ram.swap == ram.zram == 4 * 507392 << 10

    def test_swap_on_a_disk(self, board):
        root = board("nano")
        with open(os.path.join(root, "proc/swaps"), "a") as file:
            file.write("/swapfile                               file\t4194300\t0\t-2\n")
        with open(os.path.join(root, "proc/meminfo")) as file:
            text = file.read()
        write(root, "proc/meminfo", text.replace("SwapTotal:       2029568", "SwapTotal:       6223868"))
        ram = ram_of(root)
        assert ram.swap - ram.zram == 4194300 << 10
        assert describe(root)["memory"] == "2.1 of 4.2 GB free (CPU and GPU share it), swap: 4.3 GB disk, 2.1 GB zram"


class TestDescribe:
    def test_a_jetson(self, board):
        assert describe(board("xavier")) == {
            "board": "Jetson-AGX, tegra194, GPU of compute capability 7.2",
            "system": "JetPack 5.1.2 (L4T 35.4.1)",
            "power mode": "MODE_15W (mode 2, from /var/lib/nvpmodel/status)",
            "clocks": "float with the load: CPU 1190, GPU 319 to 676 MHz",
            "memory": "30.3 of 32.5 GB free (CPU and GPU share it), swap: 16.3 GB zram",
            "power": "7.60 W (GPU + CPU + SOC + CV + VDDRQ + SYS5V)",
            "temperature": "32.0 C (tdiode, the hottest of 6)",
            "gpu": "0 % busy, 319 MHz",
        }

    def test_pinned_clocks(self, board):
        assert describe(board("nano"))["clocks"] == "pinned: CPU 1479, GPU 922 MHz"

    def test_this_machine_whatever_it_is(self):
        facts = describe()
        assert facts["board"] and "memory" in facts
        assert all(text.strip() for text in facts.values())

    def test_an_empty_folder(self, tmp_path):
        assert set(describe(str(tmp_path))) == {"board"}  # the architecture
        assert Sensors(str(tmp_path)).read() == ({}, None, {}, None, None, ())

    @pytest.mark.parametrize("name", BOARDS)
    def test_nothing_may_be_read(self, board, name):
        """Every file in turn made unreadable, then all: no exception."""
        root = board(name)
        for folder, _, files in os.walk(root):
            for file in files:
                path = os.path.join(folder, file)
                if not os.path.islink(path):
                    os.unlink(path)
                    os.mkdir(path)
                    describe(root)
        assert not Sensors(root).read().rails_mw
