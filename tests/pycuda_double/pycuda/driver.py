"""The double of pycuda.driver, on the libcudart of tests/cuda_stub ($EDGESEG_CUDART).

It is as strict as the real one where edgeseg could be wrong: contexts are current for one thread at a time and nothing
works without one; what is freed without its context is not freed; a context that is gone cannot be pushed.
"""

import ctypes
import os
import threading
import weakref
from ctypes import byref, c_int, c_size_t, c_void_p
from typing import Any

import numpy as np

_library = ctypes.CDLL(os.environ["EDGESEG_CUDART"])
_library.cudaGetErrorString.restype = ctypes.c_char_p
_local = threading.local()


class Error(Exception):
    pass


class LogicError(Error):
    pass


class MemoryError(Error):
    pass


class RuntimeError(Error):
    pass


class LaunchError(Error):
    pass


class host_alloc_flags:  # noqa: N801
    PORTABLE, DEVICEMAP, WRITECOMBINED = 1, 2, 4


class event_flags:  # noqa: N801
    DEFAULT, BLOCKING_SYNC, DISABLE_TIMING = 0, 1, 2


class device_attribute:  # noqa: N801
    MULTIPROCESSOR_COUNT, INTEGRATED, CAN_MAP_HOST_MEMORY = 16, 18, 19


def _check(name, code):
    if code:
        kind = {2: MemoryError, 700: LaunchError}.get(code, LogicError)
        raise kind(f"{name} failed: {_library.cudaGetErrorString(code).decode()}")


def _call(name, *arguments):
    _current()
    _check(name, getattr(_library, name)(*arguments))


def _stack():
    """The contexts of this thread; those that are gone fall off, as in pycuda's cuda.hpp (current_context)."""
    if not hasattr(_local, "contexts"):
        _local.contexts = []
    while _local.contexts and not _local.contexts[-1]._valid:
        _local.contexts.pop()
    return _local.contexts


def _current():
    if not _stack():
        raise LogicError("explicit_context_dependent failed: invalid device context - no currently active context?")
    return _stack()[-1]


class Context:
    def __init__(self, thread):
        self._valid, self._thread = True, thread
        self._owned: Any = weakref.WeakSet()

    @staticmethod
    def get_current():
        return _stack()[-1] if _stack() else None

    @staticmethod
    def get_device():
        _current()
        return Device(0)

    def push(self):
        if not self._valid:
            raise LogicError("cuCtxPushCurrent failed: invalid device context")
        _stack().append(self)

    @staticmethod
    def pop():
        if not _stack():
            raise LogicError("context::pop failed: invalid device context - cannot pop non-current context")
        _stack().pop()

    def detach(self):
        for owned in list(self._owned):  # CUDA frees what a context has when it goes
            owned._release()
        self._valid = False


class Device:
    def __init__(self, ordinal):
        self._ordinal = ordinal

    def make_context(self, flags=0):
        context = Context(threading.get_ident())
        context.push()
        return context

    def compute_capability(self):
        return self.get_attribute(75), self.get_attribute(76)

    def get_attribute(self, attribute):
        value = c_int()
        _check("cuDeviceGetAttribute", _library.cudaDeviceGetAttribute(byref(value), attribute, self._ordinal))
        return value.value


class _Owned:
    """Something that belongs to the context that was current when it was made; `destroy` is CUDA's function."""

    _live = False

    def __init__(self, destroy, create, *arguments):
        self._context = _current()
        address = c_void_p()
        _call(create, byref(address), *arguments)
        self._address, self._destroy, self._live = address.value, destroy, True
        self._context._owned.add(self)

    def _release(self):
        """Only where the context is current, or in the thread that made it (scoped_context_activation)."""
        if not self._live:
            return
        self._live = False
        context = self._context
        if context._valid and (Context.get_current() is context or context._thread == threading.get_ident()):
            getattr(_library, self._destroy)(c_void_p(self._address))

    def __del__(self):
        self._release()


class Stream(_Owned):
    def __init__(self, flags=0):
        super().__init__("cudaStreamDestroy", "cudaStreamCreateWithFlags", flags)
        self.handle = self._address

    def synchronize(self):
        _call("cudaStreamSynchronize", c_void_p(self.handle))


class Event(_Owned):
    def __init__(self, flags=0):
        super().__init__("cudaEventDestroy", "cudaEventCreateWithFlags", flags)

    def record(self, stream=None):
        _call("cudaEventRecord", c_void_p(self._address), c_void_p(stream.handle if stream else None))
        return self

    def synchronize(self):
        _call("cudaEventSynchronize", c_void_p(self._address))
        return self


class _Allocation(_Owned):
    def free(self):
        if not self._live:
            raise LogicError("free failed: invalid resource handle")
        self._release()


class DeviceAllocation(_Allocation):
    def __init__(self, size):
        super().__init__("cudaFree", "cudaMalloc", c_size_t(size))

    def __int__(self):
        return self._address


class PagelockedHostAllocation(_Allocation):
    def __init__(self, shape, dtype, flags):
        super().__init__("cudaFreeHost", "cudaHostAlloc", c_size_t(int(np.prod(shape)) * dtype.itemsize), flags)
        data = (self._address, False)
        self.__array_interface__ = {"shape": tuple(shape), "typestr": dtype.str, "data": data, "version": 3}

    def get_device_pointer(self):
        pointer = c_void_p()
        _call("cudaHostGetDevicePointer", byref(pointer), c_void_p(self._address), 0)
        return pointer.value


def init(flags=0):
    pass


def mem_get_info():
    free, total = c_size_t(), c_size_t()
    _call("cudaMemGetInfo", byref(free), byref(total))
    return free.value, total.value


def mem_alloc(size):
    return DeviceAllocation(size)


def pagelocked_empty(shape, dtype, order="C", mem_flags=0):
    return np.asarray(PagelockedHostAllocation(shape, np.dtype(dtype), mem_flags), order=order)  # that is its base


def memcpy_htod_async(dest, src, stream=None):
    _copy(int(dest), src.ctypes.data, src.nbytes, 1, stream)


def memcpy_dtoh_async(dest, src, stream=None):
    _copy(dest.ctypes.data, int(src), dest.nbytes, 2, stream)


def _copy(target, source, size, kind, stream):
    handle = c_void_p(stream.handle if stream else None)
    _call("cudaMemcpyAsync", c_void_p(target), c_void_p(source), c_size_t(size), kind, handle)
