"""Device memory and streams through libcudart and ctypes: no compiler, no wheel, CUDA 10.2 to 13, Python 3.6 on.

The runtime API uses the primary context of a device, as TensorRT does, so both work on the same memory.
Functions: https://docs.nvidia.com/cuda/cuda-runtime-api/ (Device, Error, Stream, Event, Memory and Version Management).
Numbers: its driver_types.h and cuda_runtime_api.h, the same in CUDA 10.2 to 13.
"""

import ctypes
import glob
import os
import re
import sys
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_void_p
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np

from edgeseg.errors import EnvironmentFault
from edgeseg.trt.memory import Buffer, Gpu, Memory, gpu_name

VARIABLE = "EDGESEG_CUDART"
SONAMES = tuple("libcudart.so." + version for version in ("13", "12", "11.0", "10.2"))

# enum cudaDeviceAttr. cudaGetDeviceProperties is not used: its structure differs between versions.
_MULTIPROCESSORS, _INTEGRATED, _CAN_MAP_HOST, _MAJOR, _MINOR = 16, 18, 19, 75, 76
_TO_DEVICE, _TO_HOST = 1, 2  # enum cudaMemcpyKind
_HOST_DEFAULT, _HOST_MAPPED = 0, 2  # cudaHostAllocDefault, cudaHostAllocMapped
_NON_BLOCKING = 1  # cudaStreamNonBlocking: no waiting for what the program does on the default stream
# cudaEventBlockingSync | cudaEventDisableTiming. A thread that waits for such an event sleeps, so the core is free for
# decoding and drawing. cudaSetDeviceFlags could do that too, but for the whole process: it fails where a context exists
# (before CUDA 12), or overrules what the program chose.
_EVENT_SLEEPS = 1 | 2

_ADDRESS = POINTER(c_void_p)
_FUNCTIONS: Dict[str, List[Any]] = {
    "cudaDriverGetVersion": [POINTER(c_int)],
    "cudaGetDeviceCount": [POINTER(c_int)],
    "cudaGetDevice": [POINTER(c_int)],
    "cudaSetDevice": [c_int],
    "cudaDeviceGetAttribute": [POINTER(c_int), c_int, c_int],
    "cudaMemGetInfo": [POINTER(c_size_t), POINTER(c_size_t)],
    "cudaMalloc": [_ADDRESS, c_size_t],
    "cudaFree": [c_void_p],
    "cudaHostAlloc": [_ADDRESS, c_size_t, c_uint],
    "cudaHostGetDevicePointer": [_ADDRESS, c_void_p, c_uint],
    "cudaFreeHost": [c_void_p],
    "cudaMemcpyAsync": [c_void_p, c_void_p, c_size_t, c_int, c_void_p],
    "cudaStreamCreateWithFlags": [_ADDRESS, c_uint],
    "cudaStreamDestroy": [c_void_p],
    "cudaEventCreateWithFlags": [_ADDRESS, c_uint],
    "cudaEventRecord": [c_void_p, c_void_p],
    "cudaEventSynchronize": [c_void_p],
    "cudaEventDestroy": [c_void_p],
    "cudaGetLastError": [],
    "cudaGetErrorName": [c_int],
    "cudaGetErrorString": [c_int],
}

# What mends the usual errors (enum cudaError).
_INSUFFICIENT_DRIVER, _NO_DEVICE = 35, 100
_NEW_DRIVER = (
    "install the NVIDIA driver, or a newer one; on a Jetson use the CUDA of its JetPack "
    "({}=/usr/local/cuda/lib64/libcudart.so); start a container with --runtime nvidia".format(VARIABLE)
)
_FIXES = {
    2: "end other programs that use the GPU, or export a smaller network",
    3: "open the Segmenter in the process that uses it: CUDA does not outlive a fork (multiprocessing: use 'spawn')",
    _INSUFFICIENT_DRIVER: _NEW_DRIVER,
    36: _NEW_DRIVER,
    46: "another process has the GPU for itself (nvidia-smi shows it): end it, or wait",
    _NO_DEVICE: "let this process see the GPU: CUDA_VISIBLE_DEVICES must not hide it; start a container with "
    "--runtime nvidia (Jetson) or --gpus all",
    802: "wait until the system is ready, or start its service: sudo systemctl start nvidia-fabricmanager",
    803: "reboot: the NVIDIA driver was updated while the old one was running",
    804: "take CUDA's compat folder out of LD_LIBRARY_PATH: this GPU does not support it",
    999: "let this user open the GPU (sudo usermod -aG video $USER, then log in again); if that is so, reboot",
}
_FIX = "start the program again; if it fails again, reboot the machine"


class Cudart:
    """A loaded libcudart, with the C types of each function. Raises OSError or AttributeError if it is none."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._library = ctypes.CDLL(path)  # releases the GIL in each call
        for name, types in _FUNCTIONS.items():
            function = getattr(self._library, name)
            function.argtypes = types
            function.restype = c_char_p if name in ("cudaGetErrorName", "cudaGetErrorString") else c_int

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function; raise EnvironmentFault if it fails."""
        code = self.attempt(name, *arguments)
        if code:
            raise EnvironmentFault("{} failed: {}".format(name, self.explain(code)), _FIXES.get(code, _FIX))

    def attempt(self, name: str, *arguments: Any) -> int:
        """Call a function; its error code, 0 for success."""
        code = getattr(self._library, name)(*arguments)
        if code:
            self._library.cudaGetLastError()  # or the next check of another user of CUDA in this process finds it
        return code

    def explain(self, code: int) -> str:
        text = self._library.cudaGetErrorString(code).decode("utf-8", "replace")
        return "{} ({}, {})".format(text, self._library.cudaGetErrorName(code).decode("utf-8", "replace"), code)

    def find_device(self) -> int:
        """0 if there is a GPU that this runtime can use, else the error code."""
        count = c_int()
        code = self.attempt("cudaGetDeviceCount", byref(count))
        return code or (0 if count.value else _NO_DEVICE)

    def driver_version(self) -> int:
        """The newest CUDA that the driver supports, 11040 for 11.4; 0 without a driver."""
        version = c_int()
        self.attempt("cudaDriverGetVersion", byref(version))
        return version.value


def load_cudart() -> Cudart:
    """The CUDA runtime library: $EDGESEG_CUDART; else the first that works with this machine's driver, of those that
    are loaded already, installed in the system, or in Python packages.

    Raises EnvironmentFault with what was tried.
    """
    absent, failed, cause = [], [], _INSUFFICIENT_DRIVER
    for path in _candidates():
        try:
            runtime = Cudart(path)
        except (OSError, AttributeError) as error:  # AttributeError: a function is missing
            absent.append(str(error))
            continue
        code = runtime.find_device()
        if not code:
            return runtime
        if code == _INSUFFICIENT_DRIVER and not runtime.driver_version():
            failed.append("{}: no NVIDIA driver is loaded ({})".format(path, runtime.explain(code)))
        else:
            failed.append("{}: {}".format(path, runtime.explain(code)))
        cause = code if cause == _INSUFFICIENT_DRIVER else cause  # a library that is not too new knows the cause
    if failed:
        raise EnvironmentFault("CUDA cannot use a GPU here: {}".format("; ".join(failed)), _FIXES.get(cause, _FIX))
    raise EnvironmentFault(
        "the CUDA runtime library cannot be loaded: {}".format("; ".join(absent)),
        "on a Jetson: sudo apt install nvidia-jetpack; elsewhere install CUDA; or name the file: {}=FILE".format(
            VARIABLE
        ),
    )


def _candidates() -> Iterator[str]:
    if os.environ.get(VARIABLE):
        yield os.environ[VARIABLE]  # and no other: it was chosen
        return
    yield from _loaded()
    yield from SONAMES
    yield from sorted(glob.glob("/usr/local/cuda/lib64/libcudart.so.*"), reverse=True)
    for folder in filter(None, sys.path):  # NVIDIA's wheels, which come with those of TensorRT
        yield from sorted(glob.glob(os.path.join(glob.escape(folder), "nvidia", "*", "lib", "libcudart.so.*")))


def _loaded() -> List[str]:
    """Every libcudart of this process: that of TensorRT or a framework is the one to share."""
    try:
        with open("/proc/self/maps") as file:
            paths = (line.rstrip("\n").split(None, 5)[-1] for line in file)
            return sorted({path for path in paths if re.match(r"/.*/libcudart[^/]*\.so[^/]*$", path)})
    except OSError:
        return []


class CudartMemory(Memory):
    """Memory on the device that is current in the thread that opens it."""

    def __init__(self, runtime: Cudart) -> None:
        super().__init__()
        self._cuda = runtime
        self.stream = self._event = 0
        device = c_int()
        runtime.call("cudaGetDevice", byref(device))
        self._device = device.value
        try:
            with self.active():
                self.gpu = self._find_gpu()
                self.stream = self._create("cudaStreamCreateWithFlags", _NON_BLOCKING)
                self._event = self._create("cudaEventCreateWithFlags", _EVENT_SLEEPS)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def active(self) -> Iterator[None]:
        """Raises nothing: where the device cannot be set, the calls inside say why."""
        former = c_int()
        self._cuda.attempt("cudaGetDevice", byref(former))
        self._cuda.attempt("cudaSetDevice", self._device)
        try:
            yield
        finally:
            if former.value != self._device:
                self._cuda.attempt("cudaSetDevice", former)

    def synchronize(self) -> None:
        self._cuda.call("cudaEventRecord", self._event, self.stream)
        self._cuda.call("cudaEventSynchronize", self._event)

    def _find_gpu(self) -> Gpu:
        capability = self._attribute(_MAJOR), self._attribute(_MINOR)
        integrated = bool(self._attribute(_INTEGRATED))
        multiprocessors = self._attribute(_MULTIPROCESSORS)
        # Zero copy: https://docs.nvidia.com/cuda/cuda-for-tegra-appnote/ ("Memory Selection")
        self._mapped = integrated and bool(self._attribute(_CAN_MAP_HOST))
        return Gpu(capability, multiprocessors, integrated, self._device_bytes()[1], gpu_name(capability))

    def _attribute(self, number: int) -> int:
        value = c_int()
        self._cuda.call("cudaDeviceGetAttribute", byref(value), number, self._device)
        return value.value

    def _create(self, function: str, flags: int) -> int:
        handle = c_void_p()
        self._cuda.call(function, byref(handle), flags)
        return handle.value or 0

    def _device_bytes(self) -> Tuple[int, int]:
        free, total = c_size_t(), c_size_t()
        self._cuda.call("cudaMemGetInfo", byref(free), byref(total))
        return free.value, total.value

    def _allocate(self, shape: Tuple[int, ...], dtype: Any) -> Buffer:
        return CudartBuffer(self._cuda, self.stream, shape, dtype, self._mapped)

    def _close(self) -> None:
        with self.active():
            if self._event and not self._cuda.attempt("cudaEventRecord", self._event, self.stream):
                self._cuda.attempt("cudaEventSynchronize", self._event)  # nobody writes to what is freed now
            self._free_buffers()
            if self._event:
                self._cuda.attempt("cudaEventDestroy", self._event)
            if self.stream:
                self._cuda.attempt("cudaStreamDestroy", self.stream)


class CudartBuffer(Buffer):
    """Host memory that is mapped for the GPU, or page-locked host memory and device memory."""

    def __init__(self, runtime: Cudart, stream: int, shape: Tuple[int, ...], dtype: Any, mapped: bool) -> None:
        self._cuda, self._stream = runtime, stream
        self._bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        self._host, self._device = c_void_p(), c_void_p()
        runtime.call("cudaHostAlloc", byref(self._host), self._bytes, _HOST_MAPPED if mapped else _HOST_DEFAULT)
        try:
            if mapped:
                address = c_void_p()
                runtime.call("cudaHostGetDevicePointer", byref(address), self._host, 0)
            else:
                runtime.call("cudaMalloc", byref(self._device), self._bytes)
                address = self._device
        except BaseException:
            self.free()
            raise
        self.pointer = address.value or 0
        memory = (ctypes.c_ubyte * self._bytes).from_address(self._host.value or 0)
        self.array = np.frombuffer(memory, dtype).reshape(shape)

    def upload(self) -> None:
        if self._device.value:
            self._copy(self._device, self._host, _TO_DEVICE)

    def download(self) -> None:
        if self._device.value:
            self._copy(self._host, self._device, _TO_HOST)

    def _copy(self, target: c_void_p, source: c_void_p, kind: int) -> None:
        self._cuda.call("cudaMemcpyAsync", target, source, self._bytes, kind, self._stream)

    def free(self) -> None:
        self.array = None  # a view of memory that is not ours any more
        for function, address in (("cudaFree", self._device), ("cudaFreeHost", self._host)):
            if address.value:
                self._cuda.attempt(function, address)
                address.value = None
