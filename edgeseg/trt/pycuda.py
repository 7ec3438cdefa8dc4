"""Device memory and streams through pycuda, for programs that use it: our work is done in their context.

Nothing is to be set for that: a Segmenter that is opened in a thread with a current pycuda context (`pycuda.autoinit`,
`Device.make_context`) uses that context, on a stream of its own. A stream of the program is shared with

    import edgeseg.trt.pycuda

    with edgeseg.trt.pycuda.share(stream):
        segmenter = edgeseg.Segmenter("street.edgeseg")

A call of that segmenter then waits for what the program enqueued on the stream before, and does its own work after it.
Other threads may call the segmenter: the context is pushed for the length of a call. Close it before the context goes.

Source: https://documen.tician.de/pycuda/driver.html; its names are the same in pycuda 2017.1 to 2026.1.
"""

import threading
from contextlib import contextmanager
from typing import Any, Callable, Iterator, Tuple

from edgeseg.errors import EnvironmentFault
from edgeseg.trt.memory import Buffer, Gpu, Memory, gpu_name

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING (cuda.h), which pycuda has no name for
_SHARED = threading.local()


@contextmanager
def share(stream: Any) -> Iterator[None]:
    """Use `stream`, a `pycuda.driver.Stream` of the current context, in segmenters opened in the `with` block.

    It counts for the calling thread. The segmenters keep the stream alive until they are closed.
    """
    former = getattr(_SHARED, "stream", None)
    _SHARED.stream = stream
    try:
        yield
    finally:
        _SHARED.stream = former


class PycudaMemory(Memory):
    """Memory in the context that is current in the thread that opens it; `driver` is the module `pycuda.driver`."""

    def __init__(self, driver: Any) -> None:
        super().__init__()
        self._driver = driver
        self._context = driver.Context.get_current()
        self.gpu = self._find_gpu(driver.Context.get_device())
        shared = getattr(_SHARED, "stream", None)
        self._stream = shared if shared is not None else self._call(driver.Stream, _NON_BLOCKING)
        self.stream = int(self._stream.handle)
        flags = driver.event_flags
        self._event = self._call(driver.Event, flags.BLOCKING_SYNC | flags.DISABLE_TIMING)

    @contextmanager
    def active(self) -> Iterator[None]:
        self._call(self._context.push)
        try:
            yield
        finally:
            self._call(self._driver.Context.pop)

    def synchronize(self) -> None:
        self._call(self._event.record, self._stream)
        self._call(self._event.synchronize)

    def _find_gpu(self, device: Any) -> Gpu:
        names = self._driver.device_attribute
        major, minor = self._call(device.compute_capability)
        integrated = bool(self._call(device.get_attribute, names.INTEGRATED))
        multiprocessors = self._call(device.get_attribute, names.MULTIPROCESSOR_COUNT)
        # Zero copy: https://docs.nvidia.com/cuda/cuda-for-tegra-appnote/ ("Memory Selection")
        self._mapped = integrated and bool(self._call(device.get_attribute, names.CAN_MAP_HOST_MEMORY))
        return Gpu((major, minor), multiprocessors, integrated, self._device_bytes()[1], gpu_name((major, minor)))

    def _device_bytes(self) -> Tuple[int, int]:
        free, total = self._call(self._driver.mem_get_info)
        return free, total

    def _allocate(self, shape: Tuple[int, ...], dtype: Any) -> Buffer:
        return PycudaBuffer(self._driver, self._stream, shape, dtype, self._mapped)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return _call(self._driver, function, *arguments)

    def _close(self) -> None:
        try:
            with self.active():
                try:
                    self.synchronize()  # nobody writes to what is freed now
                finally:
                    self._free_buffers()
                    del self._event, self._stream  # pycuda frees them where their context is current
        except EnvironmentFault:
            pass  # the context is gone or has failed, and its memory with it


class PycudaBuffer(Buffer):
    """Host memory that is mapped for the GPU, or page-locked host memory and device memory."""

    def __init__(self, driver: Any, stream: Any, shape: Tuple[int, ...], dtype: Any, mapped: bool) -> None:
        self._driver, self._stream = driver, stream
        flags = driver.host_alloc_flags.DEVICEMAP if mapped else 0
        self.array = _call(driver, driver.pagelocked_empty, shape, dtype, "C", flags)
        self._host, self._device = self.array.base, None
        try:
            if mapped:
                self.pointer = int(_call(driver, self._host.get_device_pointer))
            else:
                self._device = _call(driver, driver.mem_alloc, self.array.nbytes)
                self.pointer = int(self._device)
        except BaseException:
            self.free()
            raise

    def upload(self) -> None:
        if self._device is not None:
            _call(self._driver, self._driver.memcpy_htod_async, self._device, self.array, self._stream)

    def download(self) -> None:
        if self._device is not None:
            _call(self._driver, self._driver.memcpy_dtoh_async, self.array, self._device, self._stream)

    def free(self) -> None:
        self.array = None  # a view of memory that is not ours any more
        for allocation in (self._device, self._host):
            if allocation is not None:
                _call(self._driver, allocation.free)
        self._device = self._host = self._stream = None


def _call(driver: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of pycuda; its errors become EnvironmentFault."""
    try:
        return function(*arguments)
    except driver.Error as error:
        fix = "keep the pycuda context until the Segmenter is closed; if it is alive, start the program again"
        if isinstance(error, driver.MemoryError):
            fix = "end other programs that use the GPU, or export a smaller network"
        raise EnvironmentFault("pycuda: {}".format(error), fix)
