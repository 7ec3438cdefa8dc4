"""Device memory through libcudart: our binding on tests/cuda_stub, and on NVIDIA's library where it can be had."""

import ctypes
import glob
import os
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest

from edgeseg.errors import EnvironmentFault
from edgeseg.trt import cudart
from edgeseg.trt.memory import open_memory

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


@pytest.fixture
def live(cuda_stub):
    """Function -> (allocations, streams) that the library holds now."""
    library = ctypes.CDLL(cuda_stub)
    return lambda: (library.stub_cuda_live_allocations(), library.stub_cuda_live_streams())


@pytest.fixture(params=["0", "1"], ids=["pc", "jetson"])
def integrated(request, cuda_stub, monkeypatch):
    """ "1" where CPU and GPU share their memory."""
    monkeypatch.setenv("STUB_CUDA_INTEGRATED", request.param)
    return request.param


def round_trip(memory, buffer, value):
    """Fill the buffer, send it to the GPU and fetch it back; what `array` held before and after the wait."""
    with memory.active():
        buffer.array[...] = value
        buffer.upload()
        memory.synchronize()
        if memory.gpu.integrated:
            return None, buffer.array.copy()
        buffer.array[...] = 0
        buffer.download()
        before = buffer.array.copy()
        memory.synchronize()
        return before, buffer.array.copy()


def test_values_go_to_the_gpu_and_back(integrated, live):
    memory = open_memory()
    buffer = memory.buffer((2, 3), "float32")
    assert buffer.array.shape == (2, 3) and buffer.array.dtype == np.float32 and not buffer.array.any()
    before, after = round_trip(memory, buffer, 7)
    assert (after == 7).all()
    assert before is None or not before.any()  # copies are asynchronous
    memory.close()
    assert live() == (0, 0)


def test_a_jetson_copies_nothing(cuda_stub, live, monkeypatch):
    memory = open_memory()
    buffer = memory.buffer((5,), "uint8")
    assert live() == (1, 1)
    ctypes.memset(buffer.pointer, 9, 5)  # as the GPU does: here its addresses are the CPU's
    assert (buffer.array == 9).all()
    with monkeypatch.context() as patch:
        patch.setattr(cudart.Cudart, "call", None)
        buffer.upload()
        buffer.download()
    memory.close()


def test_what_it_says_of_the_gpu(cuda_stub, monkeypatch):
    monkeypatch.setenv("STUB_CUDA_CAPABILITY", "87")
    monkeypatch.setenv("STUB_CUDA_FREE_BYTES", str(3 << 30))
    memory = open_memory()
    gpu = memory.gpu
    assert (gpu.capability, gpu.multiprocessors, gpu.integrated) == ((8, 7), 8, True)
    assert gpu.total_bytes == 8 << 30 and memory.free_bytes() == 3 << 30 and gpu.name and memory.stream
    memory.close()


def test_buffers_are_freed_once(integrated, live, monkeypatch):
    codes = set()
    real = cudart.Cudart.attempt

    def attempt(*arguments):
        code = real(*arguments)
        codes.add(code)
        return code

    monkeypatch.setattr(cudart.Cudart, "attempt", attempt)
    memory = open_memory()
    first, _ = memory.buffer((4,), "uint8"), memory.buffer((4,), "int8")
    with memory.active():
        first.free()
        first.free()
    memory.close()
    memory.close()
    assert live() == (0, 0) and codes == {0}


def test_any_thread_may_use_it(integrated, live):
    memory = open_memory()
    buffer = memory.buffer((16,), "uint8")
    found = []

    def work():
        found.append(round_trip(memory, buffer, 3)[1])
        memory.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert (found[0] == 3).all()
    assert live() == (0, 0)


def test_the_threads_device_is_left_as_it_was(cuda_stub, monkeypatch):
    memory = open_memory()
    current = [1]

    def attempt(_, name, *arguments):
        if name == "cudaGetDevice":
            arguments[0]._obj.value = current[0]
        elif name == "cudaSetDevice":
            current[0] = getattr(arguments[0], "value", arguments[0])
        return 0

    with monkeypatch.context() as patch:
        patch.setattr(cudart.Cudart, "attempt", attempt)
        with memory.active():
            assert current == [0]
            with memory.active():
                pass
            assert current == [0]
        assert current == [1]
    memory.close()


FIRST_CALLS = ["cudaGetDevice", "cudaDeviceGetAttribute", "cudaMemGetInfo", "cudaStreamCreateWithFlags"]


@pytest.mark.parametrize("name", FIRST_CALLS + ["cudaEventCreateWithFlags", "cudaHostAlloc", "cudaMalloc"])
def test_what_fails_half_way_leaves_nothing(name, live, monkeypatch):
    monkeypatch.setenv("STUB_CUDA_INTEGRATED", "0")
    attempt = cudart.Cudart.attempt
    monkeypatch.setattr(cudart.Cudart, "attempt", lambda *a: 2 if a[1] == name else attempt(*a))
    with pytest.raises(EnvironmentFault) as caught:
        memory = open_memory()
        try:
            memory.buffer((4,), "uint8")
        finally:
            memory.close()
    assert name in str(caught.value) and "cudaErrorMemoryAllocation, 2" in str(caught.value)
    assert live() == (0, 0)


def test_more_than_there_is(live, monkeypatch):
    monkeypatch.setenv("STUB_CUDA_FREE_BYTES", "1000")
    memory = open_memory()
    with pytest.raises(EnvironmentFault, match="out of memory") as caught:
        memory.buffer((1001,), "uint8")
    assert caught.value.exit_code == 3 and "end other programs" in caught.value.fix
    memory.buffer((999,), "uint8")
    memory.close()
    assert live() == (0, 0)


def test_a_failure_of_the_gpu_is_told_and_close_still_works(live, cuda_stub):
    memory = open_memory()
    library = ctypes.CDLL(cuda_stub)
    fail = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda _: 700)
    with memory.active():
        library.stub_cuda_enqueue(ctypes.c_void_p(memory.stream), fail, None)
        with pytest.raises(EnvironmentFault, match=r"illegal memory access.*cudaErrorIllegalAddress, 700"):
            memory.synchronize()
    assert library.cudaGetLastError() == 0  # not left for another user of CUDA in this process
    memory.close()
    assert live() == (0, 0)


@pytest.mark.parametrize(
    "code, reason, fix",
    [
        (35, "no NVIDIA driver is loaded", "driver"),
        (100, "no CUDA-capable device", "CUDA_VISIBLE_DEVICES"),
        (2, "out of memory", "end other programs"),
        (46, "46", "another process"),
        (802, "802", "nvidia-fabricmanager"),
        (999, "999", "group|video"),
        (719, "719", "again"),
    ],
)
def test_why_there_is_no_gpu(code, reason, fix, cuda_stub, monkeypatch):
    monkeypatch.setenv("STUB_CUDA_ERROR", str(code))
    with pytest.raises(EnvironmentFault, match=reason) as caught:
        open_memory()
    assert caught.value.exit_code == 3
    assert any(word in caught.value.fix for word in fix.split("|"))


def test_a_driver_that_is_too_old(cuda_stub, monkeypatch):
    monkeypatch.setattr(cudart.Cudart, "find_device", lambda self: 35)
    with pytest.raises(EnvironmentFault, match="driver version is insufficient"):
        open_memory()


def test_the_library_that_works_is_taken(cuda_stub, monkeypatch):
    libraries = ["libcudart.so.0", "libm.so.6", "too-new", cuda_stub]

    class Runtime(cudart.Cudart):
        def __init__(self, path):
            super().__init__(cuda_stub if path == "too-new" else path)
            self.too_new = path == "too-new"

        def find_device(self):
            return 35 if self.too_new else super().find_device()

    monkeypatch.setattr(cudart, "Cudart", Runtime)
    monkeypatch.setattr(cudart, "_candidates", lambda: iter(libraries))
    assert cudart.load_cudart().path == cuda_stub
    monkeypatch.setattr(cudart, "_candidates", lambda: iter(libraries[2:]))
    monkeypatch.setenv("STUB_CUDA_ERROR", "100")
    with pytest.raises(EnvironmentFault, match=r"too-new.*\(cudaErrorInsufficientDriver, 35\).*NoDevice") as caught:
        cudart.load_cudart()
    assert "CUDA_VISIBLE_DEVICES" in caught.value.fix  # the library that fits the driver says what to mend
    monkeypatch.setattr(cudart, "_candidates", lambda: iter(libraries[:2]))
    with pytest.raises(EnvironmentFault, match=r"libcudart\.so\.0.*libm\.so\.6.*cuda") as caught:
        cudart.load_cudart()
    assert "nvidia-jetpack" in caught.value.fix and "EDGESEG_CUDART=" in caught.value.fix


def test_a_library_that_is_named_is_the_only_one(cuda_stub, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGESEG_CUDART", str(tmp_path / "libcudart.so"))
    with pytest.raises(EnvironmentFault) as caught:
        open_memory()
    assert str(tmp_path) in caught.value.message and "libcudart.so.12" not in caught.value.message


SEARCH = """
import ctypes, sys
from edgeseg.errors import EnvironmentFault
from edgeseg.trt import cudart
if len(sys.argv) > 1:
    ctypes.CDLL(sys.argv[1])
print(list(cudart._candidates()))
try:
    print("works:", cudart.load_cudart().path)
except EnvironmentFault as fault:
    print("fault:", fault)
"""


def search(*arguments, path=(), **environment):
    """What a fresh process finds, with `path` on its module path."""
    module_path = os.pathsep.join([REPOSITORY] + list(path))
    inherited = {name: value for name, value in os.environ.items() if name != "EDGESEG_CUDART"}
    done = subprocess.run(
        [sys.executable, "-c", SEARCH] + list(arguments),
        env=dict(inherited, PYTHONPATH=module_path, **environment),
        stdout=subprocess.PIPE,
        universal_newlines=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_the_library_that_is_loaded_already_is_shared(cuda_stub):
    assert search(cuda_stub)[1] == "works: " + cuda_stub


@pytest.fixture(scope="module", params=["nvidia-cuda-runtime-cu11", "nvidia-cuda-runtime-cu12"])
def nvidia_wheel(request, tmp_path_factory):
    """Folder with NVIDIA's real libcudart; skipped where the package cannot be had."""
    folder = str(tmp_path_factory.mktemp(request.param))
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, request.param]
    download = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
    )
    wheels = glob.glob(os.path.join(folder, "*.whl"))
    if download.returncode or not wheels:
        pytest.skip("pip cannot download {}: {}".format(request.param, download.stdout.strip()[-200:]))
    with zipfile.ZipFile(wheels[0]) as archive:
        archive.extractall(folder)
    return folder


def test_nvidias_library(nvidia_wheel):
    """It has every function that we bind; without a driver our message says so."""
    (library,) = glob.glob(os.path.join(nvidia_wheel, "nvidia", "cuda_runtime", "lib", "libcudart.so.*"))
    assert library in search(path=[nvidia_wheel])[0]  # found among the Python packages
    named = search(EDGESEG_CUDART=library)
    assert named[0] == str([library])
    if named[1] != "works: " + library:
        assert "no NVIDIA driver is loaded" in named[1] and "cudaErrorInsufficientDriver, 35" in named[1]
        assert "fix: install the NVIDIA driver" in named[2]
