"""Device memory through pycuda: the double on tests/cuda_stub, and the real one where it is installed with a GPU."""

import ctypes
import importlib
import importlib.util
import inspect
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import edgeseg
from edgeseg.errors import EnvironmentFault
from edgeseg.trt.cudart import CudartMemory
from edgeseg.trt.memory import open_memory
from edgeseg.trt.pycuda import PycudaMemory, share

DOUBLE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "pycuda_double")


def forget_pycuda():
    for name in [name for name in sys.modules if name.split(".")[0] == "pycuda"]:
        del sys.modules[name]


def load_double(monkeypatch):
    monkeypatch.syspath_prepend(DOUBLE)
    forget_pycuda()
    return importlib.import_module("pycuda.driver")


def load_real():
    driver = importlib.import_module("pycuda.driver")
    try:
        driver.init()
    except driver.Error as error:
        pytest.skip("no GPU for the real pycuda: {}".format(error))
    return driver


KINDS = ["double-pc", "double-jetson"] + (["real"] if importlib.util.find_spec("pycuda") else [])


@pytest.fixture(params=KINDS)
def driver(request, monkeypatch):
    """pycuda.driver; the double has no module of pycuda left behind it."""
    if request.param == "real":
        yield load_real()
        return
    request.getfixturevalue("cuda_stub")
    monkeypatch.setenv("STUB_CUDA_INTEGRATED", "1" if request.param == "double-jetson" else "0")
    yield load_double(monkeypatch)
    forget_pycuda()


@pytest.fixture
def context(driver):
    """A context of the program that is current in this thread."""
    made = driver.Device(0).make_context()
    yield made
    if driver.Context.get_current() is not None:
        made.detach()


@pytest.fixture
def live(request):
    """Function -> (allocations, streams) that the stub holds now; (0, 0) for the real pycuda, which does not tell."""
    if request.node.callspec.params["driver"] == "real":
        return lambda: (0, 0)
    library = ctypes.CDLL(os.environ["EDGESEG_CUDART"])
    return lambda: (library.stub_cuda_live_allocations(), library.stub_cuda_live_streams())


def round_trip(memory, buffer, value):
    """Fill the buffer, send it to the GPU and fetch it back."""
    with memory.active():
        buffer.array[...] = value
        buffer.upload()
        memory.synchronize()
        if not memory.gpu.integrated:
            buffer.array[...] = 0
        buffer.download()
        memory.synchronize()
        return buffer.array.copy()


def in_thread(function):
    """Call in another thread; what it returned, or raise what it raised."""
    values, errors = [], []

    def work():
        try:
            values.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return values[0]


def test_it_works_in_the_context_of_the_program(driver, context, live):
    memory = open_memory()
    assert isinstance(memory, PycudaMemory)
    assert driver.Context.get_current() is not None
    buffer = memory.buffer((2, 3), "float32")
    assert buffer.array.shape == (2, 3) and buffer.array.dtype == np.float32 and buffer.pointer
    assert (round_trip(memory, buffer, 7) == 7).all()
    kept = buffer.array  # whoever holds a view does not hold the memory
    memory.close()
    memory.close()
    assert live() == (0, 0) and kept is not None
    context.pop()
    assert driver.Context.get_current() is None  # it is on the stack of this thread as often as before
    context.push()


def test_the_gpu_is_the_same_as_through_libcudart(driver, context, monkeypatch):
    """So an engine is found again, whichever way it was built."""
    monkeypatch.setattr("edgeseg.trt.cudart._loaded", list)  # the stub of other tests is not for the real pycuda
    memory = open_memory()
    memory.close()
    try:
        other = in_thread(open_memory)
    except EnvironmentFault as fault:
        pytest.skip("no libcudart beside the real pycuda: {}".format(fault.message))
    other.close()
    assert isinstance(memory, PycudaMemory) and isinstance(other, CudartMemory) and other.gpu == memory.gpu


def test_other_threads_may_use_and_close_it(driver, context, live):
    memory = open_memory()
    buffer = memory.buffer((16,), "uint8")
    values, left = in_thread(lambda: (round_trip(memory, buffer, 3), driver.Context.get_current()))
    assert (values == 3).all() and left is None
    in_thread(lambda: memory.buffer((4,), "int8"))
    in_thread(memory.close)
    assert live() == (0, 0)


def test_its_stream_is_its_own_or_shared(driver, context, live):
    stream = driver.Stream()
    with share(stream):
        shared = open_memory()
        with share(None):
            own = open_memory()
    later = open_memory()
    assert shared.stream == stream.handle
    assert len({shared.stream, own.stream, later.stream}) == 3
    buffer = shared.buffer((8,), "uint8")
    assert (round_trip(shared, buffer, 5) == 5).all()
    for memory in (own, shared, later):
        memory.close()
    stream.synchronize()  # it is still the program's
    del stream
    assert live() == (0, 0)


def test_sharing_counts_for_the_thread_that_asks(driver, context):
    def open_in_thread():
        context.push()
        memory = open_memory()
        memory.close()
        context.pop()
        return memory.stream

    stream = driver.Stream()
    with share(stream):
        assert in_thread(open_in_thread) != stream.handle


def test_it_waits_for_what_the_program_put_on_a_shared_stream(driver, context):
    stream = driver.Stream()
    with share(stream):
        memory = open_memory()
    host, device = driver.pagelocked_empty((4,), np.uint8), driver.mem_alloc(4)
    host[...] = 9
    driver.memcpy_htod_async(device, host, stream)
    with memory.active():
        memory.synchronize()
    host[...] = 0
    driver.memcpy_dtoh_async(host, device, stream)
    stream.synchronize()
    assert (host == 9).all()
    memory.close()


def test_what_fails_half_way_leaves_nothing(driver, context, live, monkeypatch):
    memory = open_memory()
    held = live()

    def fail(*_):
        raise driver.MemoryError("cuMemAlloc failed: out of memory")

    name = "pagelocked_empty" if memory.gpu.integrated else "mem_alloc"
    with monkeypatch.context() as patch:
        patch.setattr(driver, name, fail)
        with pytest.raises(EnvironmentFault, match="pycuda: cuMemAlloc failed: out of memory") as caught:
            memory.buffer((4,), "uint8")
    assert "end other programs" in caught.value.fix
    assert live() == held
    memory.close()


def test_a_context_that_went_first(driver, context):
    memory = open_memory()
    memory.buffer((4,), "uint8")
    context.detach()
    with pytest.raises(EnvironmentFault, match="pycuda") as caught:
        with memory.active():
            pass
    assert caught.value.exit_code == 3 and "context" in caught.value.fix
    memory.close()


@pytest.mark.parametrize("version", ["8.5.2", "10.3.0"])
@pytest.mark.parametrize("driver", KINDS[:2], indirect=True)
def test_a_segmenter_in_a_program_with_pycuda(version, driver, context, live, double, make_jetson_bundle, painting):
    double(version)
    image, _ = painting
    bundle = make_jetson_bundle()
    stream = driver.Stream()
    with share(stream), edgeseg.Segmenter(bundle, "cpu") as plain, edgeseg.Segmenter(bundle, "tensorrt") as segmenter:
        assert segmenter.backend._session.memory.stream == stream.handle
        assert driver.Context.get_current() is context
        mask = segmenter(image, "rgb").mask
        assert (mask == plain(image, "rgb").mask).mean() > 0.98  # the double computes in fp16
        assert np.array_equal(mask, in_thread(lambda: segmenter(image, "rgb")).mask)
    assert driver.Context.get_current() is context
    del stream
    assert live() == (0, 0)


def test_pycuda_is_never_imported_by_us(cuda_stub, monkeypatch):
    monkeypatch.syspath_prepend(DOUBLE)
    forget_pycuda()
    memory = open_memory()
    memory.close()
    assert isinstance(memory, CudartMemory) and "pycuda" not in sys.modules


@pytest.fixture(scope="module")
def oracle():
    with open(os.path.join(DOUBLE, "oracle.json")) as file:
        return json.load(file)


def arity(function):
    parameters = inspect.signature(function).parameters.values()
    return [len([p for p in parameters if p.default is p.empty]), len(parameters)]


def arity_in(kind, name):
    value = vars(kind)[name]
    value = value.__func__ if isinstance(value, staticmethod) else value
    return arity(value) if callable(value) else None


def test_the_double_has_nothing_that_pycuda_has_not(oracle, cuda_stub, monkeypatch):
    driver = load_double(monkeypatch)
    for name, value in vars(driver).items():
        if name.startswith("_") or getattr(value, "__module__", "") != "pycuda.driver":
            continue
        if name in oracle["errors"]:
            assert [base.__name__ for base in value.__mro__] == oracle["errors"][name]
        elif inspect.isclass(value):
            real = oracle["classes"][name]
            found = {part: arity_in(value, part) for part in vars(value) if part in real or not part.startswith("_")}
            assert found == {part: real.get(part, "absent") for part in found}
        else:
            assert arity(value) == oracle["functions"][name], name
    forget_pycuda()


def test_the_oracle_is_of_the_real_pycuda(oracle):
    pytest.importorskip("pycuda.driver", reason="the real pycuda is not installed here")
    command = [sys.executable, "-I", os.path.join(DOUBLE, "make_oracle.py")]
    made = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode())
    for kind in ("classes", "functions", "errors"):
        for name, value in oracle[kind].items():
            assert made[kind][name] == value, name
