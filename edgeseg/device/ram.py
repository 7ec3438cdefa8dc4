"""Memory of the machine; on a Jetson the GPU lives in the same."""

import re
from typing import NamedTuple, Optional

from edgeseg.device.files import read_under


class Ram(NamedTuple):
    """Bytes, of /proc/meminfo and /proc/swaps. zram is compressed memory and gives the GPU none."""

    total: int
    available: int
    swap: int  # all of it
    zram: int  # that part of it

    @property
    def disk_swap(self) -> int:
        return self.swap - self.zram

    @property
    def obtainable(self) -> int:
        """What one program can have: other programs can be moved to swap on a disk."""
        return self.available + self.disk_swap


def read_ram(root: str = "/") -> Optional[Ram]:
    """Memory and swap; None if /proc/meminfo cannot be read."""
    fields = dict(re.findall(r"^(\w+):\s+(\d+) kB", read_under(root, "proc/meminfo"), re.MULTILINE))
    if "MemTotal" not in fields or "MemAvailable" not in fields:
        return None
    zram = re.findall(r"^/dev/zram\d+\s+\S+\s+(\d+)", read_under(root, "proc/swaps"), re.MULTILINE)
    return Ram(
        int(fields["MemTotal"]) << 10,
        int(fields["MemAvailable"]) << 10,
        int(fields.get("SwapTotal", 0)) << 10,
        sum(map(int, zram)) << 10,
    )
