"""A plan runs: the numbers, the memory, any thread; and plans that TensorRT refuses."""

import ctypes
import threading

import numpy as np
import pytest

from edgeseg.bundle import read_bundle
from edgeseg.errors import EnvironmentFault
from edgeseg.golden import unpack_golden
from edgeseg.trt.build import build
from edgeseg.trt.engine import Engine, RefusedPlan, TensorInfo
from edgeseg.trt.progress import Progress
from edgeseg.trt.provide import open_session
from edgeseg.trt.recipe import read_recipe

VERSIONS = ("8.2", "8.5.2", "8.6.1", "10.3.0", "11.4.0")


def live(cuda_stub):
    """Allocations of the stub that are not freed."""
    return ctypes.CDLL(cuda_stub).stub_cuda_live_allocations()


class Board:
    """A session with one bundle, and the plan that was built of it."""

    def __init__(self, path):
        self.bundle = read_bundle(path)
        self.golden = unpack_golden(self.bundle.payloads["golden"])
        self.session = open_session()
        recipe = read_recipe(self.bundle)
        with self.session.memory.active():
            made = build(self.session.trt, self.session.log, recipe, 256 << 20, b"", Progress())
        self.plan = made.plan

    def load(self, plan=None, dla=None):
        return Engine(self.session.trt, self.session.log, self.session.memory, plan or self.plan, dla)


@pytest.fixture
def board(double, cuda_stub, make_jetson_bundle):
    """Function (version, environment) -> Board; all are closed in the end, and nothing of them is left."""
    boards = []

    def make(version, **environment):
        double(version, **environment)
        dtype = "float32" if version == "8.2" else "uint8"
        boards.append(Board(make_jetson_bundle(precision="fp32", dtype=dtype)))
        return boards[-1]

    yield make
    for made in boards:
        made.session.close()
    assert live(cuda_stub) == 0


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("integrated", ["1", "0"])  # mapped memory as on a Jetson, and copies
def test_it_computes_what_onnxruntime_computes(board, version, integrated):
    here = board(version, STUB_CUDA_INTEGRATED=integrated)
    engine = here.load()
    dtype = "float32" if version == "8.2" else "uint8"
    assert engine.input_info == TensorInfo("image", True, (1, 64, 96, 3), dtype)
    assert engine.output_info == TensorInfo("logits", False, (1, 8, 12, 11), "float32")
    assert engine.input.shape == (1, 64, 96, 3) and engine.input.dtype == dtype
    for image in (here.golden.image, here.golden.image[::-1], here.golden.image):
        engine.input[0] = image
        engine.execute()
        wanted = here.golden.logits if image is here.golden.image else here.golden.logits[::-1]
        assert np.allclose(engine.output[0], wanted, atol=1e-5)
    engine.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_frame_allocates_nothing(board, cuda_stub, version):
    engine = board(version).load()
    engine.execute()
    before = live(cuda_stub), engine.input.ctypes.data, engine.output.ctypes.data
    for _ in range(5):
        engine.execute()
    assert (live(cuda_stub), engine.input.ctypes.data, engine.output.ctypes.data) == before
    engine.close()


def test_from_any_thread(board):
    here = board("8.5.2")
    engine = here.load()
    outputs, faults = [], []

    def work():
        try:
            for _ in range(20):
                engine.execute()
            outputs.append(engine.output.copy())
        except Exception as error:
            faults.append(error)

    engine.input[0] = here.golden.image
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults and len(outputs) == 4
    assert all(np.allclose(output[0], here.golden.logits, atol=1e-5) for output in outputs)
    thread = threading.Thread(target=engine.close)
    thread.start()
    thread.join()


@pytest.mark.parametrize("version", VERSIONS)
def test_closed_is_closed(board, cuda_stub, version):
    here = board(version)
    for _ in range(2):  # an engine can be loaded again
        engine = here.load()
        assert live(cuda_stub) > 0
        engine.close()
        engine.close()
        assert live(cuda_stub) == 0
    with pytest.raises(RuntimeError, match="closed"):
        engine.execute()


@pytest.mark.parametrize("version", VERSIONS)
def test_plans_that_tensorrt_refuses(board, cuda_stub, version):
    here = board(version)
    flipped = bytearray(here.plan)
    flipped[len(flipped) // 2] ^= 1
    for plan in (here.plan[:-100], here.plan[:10], bytes(flipped), b"not a plan"):
        with pytest.raises(RefusedPlan, match="does not take this engine\n  TensorRT: ") as caught:
            here.load(plan)
        assert "edgeseg compile" in caught.value.fix and caught.value.exit_code == 3
    assert live(cuda_stub) == 0
    here.load().close()  # the next one is taken


def test_plan_of_another_gpu(board, monkeypatch):
    here = board("8.5.2")
    monkeypatch.setenv("STUB_CUDA_CAPABILITY", "87")
    with pytest.raises(RefusedPlan):
        here.load()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_failing_gpu(board, monkeypatch, version):
    engine = board(version).load()
    monkeypatch.setenv("EDGESEG_DOUBLE_FAULTS", "execute-fails")
    with pytest.raises(EnvironmentFault, match=r"could not run the engine\n  TensorRT: .*illegal memory access"):
        engine.execute()
    monkeypatch.setenv("EDGESEG_DOUBLE_FAULTS", "")
    engine.execute()
    engine.close()


def test_no_room_on_the_gpu(board, cuda_stub, monkeypatch):
    here = board("10.3.0")
    memory = here.session.memory
    make = memory.buffer

    def full(shape, dtype):
        monkeypatch.setenv("STUB_CUDA_FREE_BYTES", "1000" if live(cuda_stub) else "1000000")
        return make(shape, dtype)

    monkeypatch.setattr(memory, "buffer", full)
    with pytest.raises(EnvironmentFault, match="memory"):
        here.load()
    assert live(cuda_stub) == 0  # the first buffer was given back


def test_the_dla_core_is_set_before_the_plan_is_read(board, monkeypatch):
    here = board("8.5.2")
    cores = []
    deserialize = here.session.trt.Runtime.deserialize_cuda_engine

    def recording(runtime, plan):
        cores.append(runtime.DLA_core)
        return deserialize(runtime, plan)

    monkeypatch.setattr(here.session.trt.Runtime, "deserialize_cuda_engine", recording)
    here.load(dla=1).close()
    assert cores == [1]
