"""Which board this is and how it is doing: model, JetPack, power mode, clocks, power, temperatures, memory.

Read from /proc, /sys, /etc and `nvpmodel -q`; nothing is changed and nothing raises: what is absent or may not be read
is None or empty. Every function takes `root`, the folder that stands for "/", so that recorded trees can be read.
"""

from edgeseg.device.board import Board, find_board
from edgeseg.device.describe import describe
from edgeseg.device.modes import Clocks, PowerMode, read_clocks, read_power_mode
from edgeseg.device.ram import Ram, read_ram
from edgeseg.device.sensors import Reading, Sensors

__all__ = [
    "Board",
    "Clocks",
    "PowerMode",
    "Ram",
    "Reading",
    "Sensors",
    "describe",
    "find_board",
    "read_clocks",
    "read_power_mode",
    "read_ram",
]
