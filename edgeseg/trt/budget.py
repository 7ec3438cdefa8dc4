"""Memory of a build: is there enough, and how much of it may TensorRT try kernels in."""

from typing import Optional

from edgeseg.device import read_ram
from edgeseg.errors import EnvironmentFault, UsageError
from edgeseg.trt.memory import Memory

MIB = 1 << 20
SMALL_BOARD = 4 << 30  # a Jetson Nano or TX1; with more workspace its builds end as "Killed" (jetson-inference#649)
WORKSPACE_SMALL, WORKSPACE = 256 * MIB, 1024 * MIB
# The workspace of a small board, and as much again for TensorRT's own libraries and the weights.
MIN_FREE = 2 * WORKSPACE_SMALL


def workspace_bytes(memory: Memory, asked: Optional[int] = None) -> int:
    """The workspace of a build: `asked`, or what suits the board, at most half of what is free.

    Raises EnvironmentFault if less than MIN_FREE is free, UsageError if more is asked for than is free.
    """
    free = available_bytes(memory)
    if free < MIN_FREE:
        raise EnvironmentFault(
            "{} MiB of memory are free, a TensorRT build needs {} MiB".format(free // MIB, MIN_FREE // MIB),
            "end other programs and the desktop (sudo systemctl isolate multi-user.target), turn zram off "
            "(sudo systemctl disable --now nvzramconfig) and add a swap file",
        )
    if asked is not None:
        if asked > free:
            raise UsageError(
                "a workspace of {} MiB is more than the {} MiB that are free".format(asked // MIB, free // MIB),
                "leave --workspace out, or give less",
            )
        return asked
    return min(WORKSPACE_SMALL if memory.gpu.total_bytes <= SMALL_BOARD else WORKSPACE, free // 2)


def available_bytes(memory: Memory, root: str = "/") -> int:
    """Bytes that a build can have; `root` is the folder that stands for "/".

    A Jetson has one DRAM, of which CUDA counts only the unused part and Linux also what it can give back;
    elsewhere a build needs memory of both sides.
    """
    gpu, ram = memory.free_bytes(), read_ram(root)
    if ram is None:
        return gpu
    return max(ram.obtainable, gpu) if memory.gpu.integrated else min(ram.obtainable, gpu)
