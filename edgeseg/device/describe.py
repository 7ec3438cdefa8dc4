"""What is known of this machine, in words: for `edgeseg doctor` and for the report of `edgeseg bench`."""

import platform
from typing import Dict, Iterator, Optional, Tuple

from edgeseg.device.board import Board, find_board
from edgeseg.device.modes import Clocks, PowerMode, read_clocks, read_power_mode
from edgeseg.device.ram import Ram, read_ram
from edgeseg.device.sensors import Reading, Sensors


def describe(root: str = "/") -> Dict[str, str]:
    """Subject -> text, in the order of reading: board, system, power mode, clocks, memory, power, temperature, gpu.

    A subject of which nothing is known is left out; on a Jetson the power mode is there and may be "not readable".
    """
    board = find_board(root)
    sensors = Sensors(root)
    reading = sensors.read()
    facts = {"board": _board(board), "system": _system(board)}
    if board.is_jetson:
        facts["power mode"] = _power_mode(read_power_mode(root))
        facts["clocks"] = _clocks(read_clocks(root))
    facts["memory"] = _memory(read_ram(root), board.is_jetson)
    facts["power"] = _power(sensors, reading)
    facts["temperature"] = _temperature(reading)
    facts["gpu"] = _gpu(reading)
    return {subject: text for subject, text in facts.items() if text}


def _board(board: Board) -> str:
    if board.capability is None:
        return ", ".join(filter(None, [board.model, platform.machine()]))
    return "{}, {}, GPU of compute capability {}.{}".format(board.model, board.soc, *board.capability)


def _system(board: Board) -> str:
    if not board.l4t:
        return ""
    return "JetPack {} (L4T {})".format(board.jetpack or "unknown", board.l4t)


def _power_mode(mode: Optional[PowerMode]) -> str:
    if mode is None:
        return "not readable"
    return "{} (mode {}, from {})".format(mode.name or "of unknown name", mode.number, mode.source)


def _clocks(clocks: Clocks) -> str:
    spans = [
        "{} {}".format(name, "{:.0f}".format(span[0]) if span[0] == span[1] else "{:.0f} to {:.0f}".format(*span))
        for name, span in (("CPU", clocks.cpu_mhz), ("GPU", clocks.gpu_mhz))
        if span
    ]
    if not spans:
        return "not readable"
    words = {True: "pinned", False: "float with the load", None: "not all readable"}
    return "{}: {} MHz".format(words[clocks.pinned], ", ".join(spans))


def _memory(ram: Optional[Ram], shared: bool) -> str:
    if ram is None:
        return ""
    text = "{:.1f} of {:.1f} GB free{}".format(
        ram.available / 1e9, ram.total / 1e9, " (CPU and GPU share it)" if shared else ""
    )
    return text + ", swap: " + (", ".join(_swaps(ram)) or "none")


def _swaps(ram: Ram) -> Iterator[str]:
    for size, kind in ((ram.disk_swap, "disk"), (ram.zram, "zram")):
        if size > 0:
            yield "{:.1f} GB {}".format(size / 1e9, kind)


def _power(sensors: Sensors, reading: Reading) -> str:
    names = " + ".join(sensors.total_of)
    if reading.total_mw is None:
        return names and "{}: not readable by this user".format(names)
    return "{:.2f} W ({})".format(reading.total_mw / 1000, names)


def _temperature(reading: Reading) -> str:
    if not reading.temperatures_c:
        return ""
    hottest: Tuple[str, float] = max(reading.temperatures_c.items(), key=lambda item: item[1])
    return "{1:.1f} C ({0}, the hottest of {2})".format(*hottest, len(reading.temperatures_c))


def _gpu(reading: Reading) -> str:
    parts = []
    if reading.gpu_load is not None:
        parts.append("{:.0f} % busy".format(reading.gpu_load * 100))
    if reading.gpu_mhz is not None:
        parts.append("{:.0f} MHz".format(reading.gpu_mhz))
    return ", ".join(parts)
