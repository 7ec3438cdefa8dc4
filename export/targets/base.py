"""What a target is."""

from typing import NamedTuple


class Board(NamedTuple):
    """An NVIDIA Jetson, as far as it decides what can be built for it and how fast that can be."""

    sm: int  # compute capability of the GPU, times 10
    dla_cores: int
    dla_generation: int  # 0 none, 1 Xavier, 2 Orin
    jetpack: str  # releases that edgeseg is made for; the last one is where the board ends
    python: str  # of the system, for which JetPack has TensorRT
    cuda: str
    tensorrt: str
    oldest_tensorrt: tuple[int, int]  # of these releases
    bandwidth_gbps: float  # memory, GB/s
    cuda_cores: int
    gpu_ghz: float  # highest clock of the GPU

    @property
    def sparse_tensor_cores(self) -> bool:
        """Whether they skip the zeros of the 2:4 pattern: from compute capability 8.0 on (NVIDIA Ampere)."""
        return self.sm >= 80


class Target(NamedTuple):
    """A chip that networks are exported for, as data."""

    name: str
    title: str
    backend: str  # the runtime of edgeseg.backends that runs the bundle
    precisions: tuple[str, ...]  # the first is the default
    board: Board | None = None
    no_int8: str = ""  # why there is none
