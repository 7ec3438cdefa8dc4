"""Power rails, temperatures, load and clocks, cheap enough to read ten times a second while something runs."""

import os
import re
from typing import Dict, List, NamedTuple, Optional, Tuple

from edgeseg.device.board import find_gpu
from edgeseg.device.files import find_paths, read_int, read_text
from edgeseg.device.modes import find_cpus, is_online

# One rail that carries everything, where a board has it. (POM_5V_IN: the board's 5 V input; VDD_IN: the module's.)
# https://forums.developer.nvidia.com/t/power-consumption-monitoring/73608/8, jetson_stats jtop/core/power.py
WHOLE_RAILS = ("VDD_IN", "POM_5V_IN")
# Part of VIN_SYS_5V0, says NVIDIA's Jetson Linux Developer Guide (AGX Orin, Software-Based Power Consumption Modeling);
# tegrastats and energymon leave it out of the sum too, jetson_stats counts it twice.
CONTAINED_RAILS = ("VDDQ_VDD2_1V8AO",)
# PMIC-Die is a constant, 100 or 50 C (https://forums.developer.nvidia.com/t/44422); thermal-fan-est a mean of others.
NOT_SENSORS = ("PMIC", "fan-est")
SWITCHED_OFF_C = -200  # tegrastats shows -256 C for the sensor of an engine that is off


class Rail(NamedTuple):
    """One channel of an INA3221 power monitor: a file in mW, or one in mV and one in mA."""

    name: str
    files: Tuple[str, ...]

    def milliwatts(self) -> Optional[float]:
        values = [read_int(path) for path in self.files]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        return float(known[0]) if len(known) == 1 else known[0] * known[1] / 1000.0


class Reading(NamedTuple):
    """One look at the sensors; what cannot be read is absent or None."""

    rails_mw: Dict[str, float]
    total_mw: Optional[float]
    temperatures_c: Dict[str, float]  # "cpu", "gpu", "tj", ...
    gpu_load: Optional[float]  # 0 to 1, now
    gpu_mhz: Optional[float]
    cpu_mhz: Tuple[float, ...]  # of the CPUs that are on


class Sensors:
    """The sensors of this machine. They are looked for once, then only read. On a PC there may be none.

    Args:
        root: the folder that stands for "/".

    An INA3221 takes about half a millisecond for each value (it hangs on an I2C bus), so a whole `read` takes some
    milliseconds on the board.
    """

    def __init__(self, root: str = "/") -> None:
        self.rails = _find_rails(root)
        names = [rail.name for rail in self.rails]
        whole = [name for name in WHOLE_RAILS if name in names][:1]
        self.total_of = tuple(whole or [name for name in names if name not in CONTAINED_RAILS])
        self._zones = _find_zones(root)
        self._cpus = find_cpus(root)
        self._gpu = find_gpu(root)

    def total_mw(self) -> Optional[float]:
        """Power now, mW: the sum of the rails in `total_of`. None if one of them cannot be read (it may need root).

        It is the module's power; fans, cameras and the carrier board come on top (on a Nano they are in it).
        """
        return self._total(_read_rails([rail for rail in self.rails if rail.name in self.total_of]))

    def read(self) -> Reading:
        """Read everything once."""
        rails = _read_rails(self.rails)
        load = read_int(os.path.join(self._gpu, "device/load")) if self._gpu else None
        hertz = read_int(os.path.join(self._gpu, "cur_freq")) if self._gpu else None
        return Reading(
            rails_mw=rails,
            total_mw=self._total(rails),
            temperatures_c=self._temperatures(),
            gpu_load=None if load is None else load / 1e3,
            gpu_mhz=None if hertz is None else hertz / 1e6,
            cpu_mhz=self._cpu_mhz(),
        )

    def _total(self, rails_mw: Dict[str, float]) -> Optional[float]:
        if not self.total_of or any(name not in rails_mw for name in self.total_of):
            return None
        return sum(rails_mw[name] for name in self.total_of)

    def _temperatures(self) -> Dict[str, float]:
        temperatures: Dict[str, float] = {}
        for name, path in self._zones:
            value = read_int(path)
            if value is not None and value / 1000.0 > SWITCHED_OFF_C:
                temperatures[name] = value / 1000.0
        return temperatures

    def _cpu_mhz(self) -> Tuple[float, ...]:
        values = [read_int(os.path.join(cpu, "cpufreq/scaling_cur_freq")) for cpu in self._cpus if is_online(cpu)]
        return tuple(value / 1000.0 for value in values if value is not None)


def _read_rails(rails: List[Rail]) -> Dict[str, float]:
    values = [(rail.name, rail.milliwatts()) for rail in rails]
    return {name: value for name, value in values if value is not None}


def _find_rails(root: str) -> List[Rail]:
    """Rails of NVIDIA's driver (JetPack 4, ina3221x) and of Linux' own (JetPack 5 on, Documentation/hwmon/ina3221)."""
    rails = []
    for label in find_paths(root, "sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_[0-2]"):
        folder, channel = os.path.dirname(label), label[-1]
        rails.append(Rail(read_text(label) or "", (os.path.join(folder, "in_power{}_input".format(channel)),)))
    # in4 to in6 are shunt voltages and in7 is their sum
    for label in find_paths(root, "sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in[1-3]_label"):
        folder, channel = os.path.dirname(label), os.path.basename(label)[2]
        files = tuple(os.path.join(folder, name + channel + "_input") for name in ("in", "curr"))
        rails.append(Rail(read_text(label) or "", files))
    return [rail for rail in rails if rail.name not in ("", "NC")]  # NC: not connected


def _find_zones(root: str) -> List[Tuple[str, str]]:
    """(name, file of millidegrees) of each thermal zone: CPU-therm and cpu-thermal are "cpu", Tboard_tegra "tboard"."""
    zones = []
    for folder in find_paths(root, "sys/class/thermal/thermal_zone*"):
        kind = read_text(os.path.join(folder, "type")) or ""
        if kind and not any(word in kind for word in NOT_SENSORS):
            name = re.sub(r"([-_]therm(al)?|_tegra)$", "", kind).lower()
            zones.append((name, os.path.join(folder, "temp")))
    return zones
