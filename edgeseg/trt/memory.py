"""Device memory and a stream behind one small interface; edgeseg/trt/cudart.py and edgeseg/trt/pycuda.py give them."""

import sys
from typing import Any, ContextManager, List, NamedTuple, Sequence, Tuple

import numpy as np

Array = Any


class Gpu(NamedTuple):
    """The GPU that a program runs on; the same values from both implementations."""

    capability: Tuple[int, int]  # compute capability, "SM": (7, 2) is sm_72
    multiprocessors: int
    integrated: bool  # shares its memory with the CPU, as on a Jetson
    total_bytes: int
    name: str  # the model of the board; "GPU sm_86" on a PC


class Buffer:
    """Memory of one tensor that both the CPU and the GPU reach.

    `array` is the CPU's view, C-ordered; let go of it before `free`. `pointer` is its address for the GPU. Where
    CPU and GPU share their memory both are the same bytes and nothing is copied.
    """

    array: Array
    pointer: int

    def upload(self) -> None:
        """Enqueue the copy of `array` to the GPU."""
        raise TypeError("a buffer must say how it is uploaded")

    def download(self) -> None:
        """Enqueue the copy from the GPU to `array`; it is there after `Memory.synchronize`."""
        raise TypeError("a buffer must say how it is downloaded")

    def free(self) -> None:
        """Give the memory back; once more does nothing."""
        raise TypeError("a buffer must free its memory")


class Memory:
    """Buffers and one stream on one GPU.

    `active()` must surround every call of CUDA or TensorRT; `buffer`, `free_bytes` and `close` enter it themselves.
    It may be entered from any thread, and within itself. Use a Memory from one thread at a time.

    Every method but `close` raises EnvironmentFault with CUDA's reason.
    """

    gpu: Gpu
    stream: int  # cudaStream_t

    def __init__(self) -> None:
        self._buffers: List[Buffer] = []
        self._closed = False

    def active(self) -> ContextManager[None]:
        """Make the GPU the one of the calling thread for the length of a `with` block."""
        raise TypeError("a memory must say how it becomes active")

    def buffer(self, shape: Sequence[int], dtype: str) -> Buffer:
        """A new buffer, its `array` all zeros."""
        with self.active():
            made = self._allocate(tuple(shape), np.dtype(dtype))
        made.array.fill(0)
        self._buffers.append(made)
        return made

    def free_bytes(self) -> int:
        """Bytes that CUDA would give; a Jetson's Linux may have more to give back (MemAvailable in /proc/meminfo)."""
        with self.active():
            return self._device_bytes()[0]

    def synchronize(self) -> None:
        """Wait until the stream has done what was enqueued. The waiting thread sleeps."""
        raise TypeError("a memory must wait for its stream")

    def close(self) -> None:
        """Free the buffers and the stream. Once more does nothing; a GPU that has failed is no fault here."""
        if not self._closed:
            self._closed = True
            self._close()

    def _allocate(self, shape: Tuple[int, ...], dtype: Any) -> Buffer:
        raise TypeError("a memory must allocate")

    def _device_bytes(self) -> Tuple[int, int]:
        """Free and total bytes as CUDA says."""
        raise TypeError("a memory must know its size")

    def _close(self) -> None:
        raise TypeError("a memory must close")

    def _free_buffers(self) -> None:
        while self._buffers:
            self._buffers.pop().free()


def gpu_name(capability: Tuple[int, int]) -> str:
    """The model of a Jetson. Other GPUs are told apart by their capability and multiprocessors."""
    from edgeseg.device import find_board

    board = find_board()
    return board.model if board.is_jetson else "GPU sm_{}{}".format(*capability)


def open_memory() -> Memory:
    """The memory of the GPU of this thread: through pycuda where the calling program uses it here, else libcudart.

    "Uses it here" is: `pycuda.driver` is imported and the calling thread has a current context. Our work is then done
    in that context (edgeseg/trt/pycuda.py says how to share a stream too).

    Raises EnvironmentFault with the reason: no libcudart, no driver, a driver that is too old, no GPU.
    """
    driver = sys.modules.get("pycuda.driver")
    if driver is not None and driver.Context.get_current() is not None:
        from edgeseg.trt.pycuda import PycudaMemory

        return PycudaMemory(driver)
    from edgeseg.trt.cudart import CudartMemory, load_cudart

    return CudartMemory(load_cudart())
