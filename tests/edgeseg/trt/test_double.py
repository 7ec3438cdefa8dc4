"""The double of TensorRT is as strict as the real one, and computes: other tests rest on it."""

import ctypes
import importlib
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

from edgeseg.bundle import read_bundle

VERSIONS = ("8.2", "8.5.2", "8.6.1", "10.3.0", "11.4.0")
TO_DEVICE, TO_HOST = 1, 2


class World:
    """The double of one version with a logger and what a build takes."""

    def __init__(self, onnx):
        self.trt: Any = importlib.import_module("tensorrt")
        trt = self.trt
        self.plans = importlib.import_module("tensorrt._plan")
        self.lines = lines = []
        self.onnx = onnx

        class Log(trt.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self):
                super().__init__()

            def log(self, severity, msg):
                if severity <= self.ERROR:
                    lines.append(msg)

        self.log = Log()
        self.builder = self.trt.Builder(self.log)
        self.config = self.builder.create_builder_config()

    def flags(self):
        names = self.trt.NetworkDefinitionCreationFlag.__members__
        return 1 << int(names["EXPLICIT_BATCH"]) if "EXPLICIT_BATCH" in names else 0

    def parse(self, onnx=None, flags=None):
        self.network = self.builder.create_network(self.flags() if flags is None else flags)
        self.parser = self.trt.OnnxParser(self.network, self.log)
        return self.parser.parse(self.onnx if onnx is None else onnx)

    def build(self):
        assert self.parse(), self.parser.get_error(0)
        return self.builder.build_serialized_network(self.network, self.config)

    def load(self, plan):
        return self.trt.Runtime(self.log).deserialize_cuda_engine(plan)


@pytest.fixture
def world(double, make_jetson_bundle):
    """Function (version, **environment) -> World."""

    def make(version, **environment):
        double(version, **environment)
        dtype = "float32" if version == "8.2" else "uint8"
        return World(read_bundle(make_jetson_bundle(dtype=dtype)).payloads["onnx"])

    return make


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_is_that_of_the_version(double, oracles, version):
    double(version)
    trt = importlib.import_module("tensorrt")
    names = {name for oracle in oracles.values() for name in oracle}
    for name in sorted(names):
        described = oracles[version].get(name)
        assert hasattr(trt, name) == (described is not None), name
        if described and "enum" in described:
            found = {member: int(value) for member, value in getattr(trt, name).__members__.items()}
            assert found == described["enum"]
        elif described and "class" in described and name != "IHostMemory":
            public = {m for m in dir(getattr(trt, name)) if not m.startswith("_")}
            assert public == {m for m in described["class"] if not m.startswith("_")}, name


def test_what_a_version_lacks_is_an_attribute_error(world):
    assert not hasattr(world("8.2").config, "set_memory_pool_limit")
    with pytest.raises(AttributeError):
        world("10.3.0").config.max_workspace_size = 1 << 20
    trt = world("11.4.0").trt
    assert not hasattr(trt.BuilderFlag, "FP16") and not hasattr(trt, "Undefined")
    assert int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) == 0  # was 1 in 10.x


def test_calls_are_checked(world):
    made = world("10.3.0")
    trt, config = made.trt, made.config
    for wrong in (
        lambda: config.set_flag(0),
        lambda: config.set_flag(trt.DataType.FLOAT),
        config.set_flag,
        lambda: config.set_flag(trt.BuilderFlag.FP16, 1),
        lambda: config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1.5),
        lambda: config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size=1),
        lambda: setattr(config, "profiling_verbosity", 2),
        lambda: setattr(config, "DLA_core", "0"),
        lambda: trt.OnnxParser(config, made.log),
        lambda: made.builder.build_serialized_network(made.config, made.config),
    ):
        with pytest.raises(TypeError):
            wrong()
    for read_only in ("num_DLA_cores", "color"):
        with pytest.raises(AttributeError):
            setattr(made.builder, read_only, 3)
    config.set_memory_pool_limit(pool_size=5, pool=trt.MemoryPoolType.WORKSPACE)
    assert config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) == 5
    with pytest.raises(NotImplementedError, match=r"Builder\.reset"):  # rather than something made up
        made.builder.reset()


def reference(onnx, image):
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


class Device:
    """Device memory for one image and its logits, by the stub."""

    def __init__(self, path):
        self.cuda = ctypes.CDLL(path)
        self.cuda.cudaMemcpyAsync.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
        self.stream = self.make("cudaStreamCreateWithFlags", 1)

    def make(self, function, argument):
        handle = ctypes.c_void_p()
        assert getattr(self.cuda, function)(ctypes.byref(handle), ctypes.c_size_t(argument)) == 0
        return handle.value

    def copy(self, to, source, size, kind):
        return self.cuda.cudaMemcpyAsync(to, source, size, kind, self.stream)

    def synchronize(self):
        return self.cuda.cudaStreamSynchronize(ctypes.c_void_p(self.stream))


def start(made, engine, source, sink, stream):
    """Enqueue on `stream`, by names or by bindings."""
    context = engine.create_execution_context()
    if hasattr(context, "set_tensor_address"):
        assert context.set_tensor_address("image", source) and context.set_tensor_address("logits", sink)
        assert not context.set_tensor_address("stranger", sink)
        return context.execute_async_v3(stream)
    assert [engine.get_binding_name(i) for i in range(engine.num_bindings)] == ["image", "logits"]
    return context.execute_async_v2([source, sink], stream)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_engine_computes_on_device_memory(world, cuda_stub, painting, version):
    made = world(version)
    engine = made.load(made.build())
    image = painting[0][None].astype("float32" if version == "8.2" else "uint8")
    wanted = reference(made.onnx, image)
    found = np.zeros_like(wanted)
    device = Device(cuda_stub)
    source, sink = device.make("cudaMalloc", image.nbytes), device.make("cudaMalloc", found.nbytes)
    assert device.copy(source, image.ctypes.data, image.nbytes, TO_DEVICE) == 0
    assert start(made, engine, source, sink, device.stream)
    assert device.copy(found.ctypes.data, sink, found.nbytes, TO_HOST) == 0
    assert not found.any()  # nothing is done before the stream is synchronised
    assert device.synchronize() == 0
    np.testing.assert_array_equal(found, wanted)
    assert not start(made, engine, image.ctypes.data, sink, device.stream)  # host memory
    assert "illegal memory access" in made.lines[-1]
    for address in (source, sink):
        assert device.cuda.cudaFree(ctypes.c_void_p(address)) == 0
        assert device.cuda.cudaFree(ctypes.c_void_p(address)) == 1  # twice
    assert device.cuda.cudaStreamDestroy(ctypes.c_void_p(device.stream)) == 0
    assert device.cuda.stub_cuda_live_allocations() == device.cuda.stub_cuda_live_streams() == 0


def test_an_event_waits_for_what_came_before_it(cuda_stub):
    device = Device(cuda_stub)
    event = ctypes.c_void_p(device.make("cudaEventCreateWithFlags", 3))
    memory = device.make("cudaMalloc", 4)
    host = np.array([7, 0, 0], np.int32)
    assert device.copy(memory, host.ctypes.data, 4, TO_DEVICE) == 0
    assert device.copy(host.ctypes.data + 4, memory, 4, TO_HOST) == 0
    assert device.cuda.cudaEventRecord(event, ctypes.c_void_p(device.stream)) == 0
    assert device.copy(host.ctypes.data + 8, memory, 4, TO_HOST) == 0
    assert device.cuda.cudaEventSynchronize(event) == 0 and host.tolist() == [7, 7, 0]
    assert device.synchronize() == 0 and host.tolist() == [7, 7, 7]
    assert device.copy(memory, memory, 4, TO_HOST) == 1  # not host memory
    assert device.cuda.cudaEventDestroy(event) == 0 and device.cuda.cudaFree(ctypes.c_void_p(memory)) == 0
    assert device.cuda.cudaStreamDestroy(ctypes.c_void_p(device.stream)) == 0


def test_mapped_memory_is_device_memory_and_page_locked_is_not(cuda_stub):
    cuda = ctypes.CDLL(cuda_stub)
    for flags, error in ((2, 0), (0, 1)):
        host, address = ctypes.c_void_p(), ctypes.c_void_p()
        assert cuda.cudaHostAlloc(ctypes.byref(host), ctypes.c_size_t(8), flags) == 0
        assert cuda.cudaHostGetDevicePointer(ctypes.byref(address), host, 0) == error
        assert cuda.stub_cuda_is_device(host, ctypes.c_size_t(8)) == (error == 0)
        assert cuda.cudaFreeHost(host) == 0
        cuda.cudaGetLastError()


@pytest.mark.parametrize("version", ["8.5.2", "10.3.0"])
def test_a_foreign_or_damaged_plan_is_refused(world, monkeypatch, version):
    made = world(version)
    plan = bytes(made.build())
    assert made.load(plan) is not None and made.lines == []
    middle = len(plan) // 2
    for damaged, text in (
        (plan[:-1], "Size specified in header does not match archive size"),
        (plan[:20], "Size specified in header does not match archive size"),
        (b"", "Magic tag does not match"),
        (b"\0" * len(plan), "Magic tag does not match"),
        (plan[:middle] + bytes([plan[middle] ^ 1]) + plan[middle + 1 :], "CRC does not match"),
    ):
        assert made.load(damaged) is None
        assert text in made.lines[-2] and "Engine deserialization failed" in made.lines[-1]
    monkeypatch.setenv("STUB_CUDA_CAPABILITY", "86")
    assert made.load(plan) is None
    assert "incompatible device, expecting compute 8.6 got compute 7.2, please rebuild" in made.lines[-2]
    other = world("8.6.1")
    assert other.load(plan) is None and "Version tag does not match. Note: Current Version" in other.lines[-2]


def test_a_graph_that_is_none_is_refused(world):
    made = world("8.5.2")
    for damaged in (b"", b"not ONNX", made.onnx[: len(made.onnx) // 2], made.onnx[:-1]):
        assert not made.parse(damaged)
        assert made.parser.num_errors == 1 and made.parser.get_error(0).desc() and made.lines
    assert made.builder.build_serialized_network(made.network, made.config) is None
    assert "Network must have at least one output" in made.lines[-1]
    assert not made.parse(flags=0)  # implicit batch
    assert "EXPLICIT_BATCH" in str(made.parser.get_error(0))


def test_no_uint8_in_8_2(world, jetson_bundle):
    made = world("8.2")
    assert not made.parse(read_bundle(jetson_bundle).payloads["onnx"])
    assert "Failed to convert ONNX date type" in str(made.parser.get_error(0))


def layers(made, plan):
    inspector = made.load(plan).create_engine_inspector()
    return json.loads(inspector.get_engine_information(made.trt.LayerInformationFormat.JSON))["Layers"]


def test_precision_follows_flags_and_ranges(world):
    made = world("8.5.2")
    made.config.profiling_verbosity = made.trt.ProfilingVerbosity.DETAILED
    for flag, form in ((None, "FP32"), ("FP16", "FP16"), ("INT8", "FP16")):
        if flag:
            made.config.set_flag(getattr(made.trt.BuilderFlag, flag))
        conv = next(layer for layer in layers(made, made.build()) if layer["LayerType"] == "Convolution")
        assert form in conv["Outputs"][0]["Format/Datatype"]
    made.parse()
    for i in range(made.network.num_layers):
        made.network.get_layer(i).get_output(0).set_dynamic_range(-1, 1)
    plan = made.builder.build_serialized_network(made.network, made.config)
    conv = next(layer for layer in layers(made, plan) if layer["LayerType"] == "Convolution")
    assert "Int8" in conv["Outputs"][0]["Format/Datatype"]
    asked = made.plans.read_plan(plan)[0]
    assert {"FP16", "INT8"} <= set(asked["flags"]) and asked["dynamic_ranges"]["scores"] == [-1, 1]
    made.config.profiling_verbosity = made.trt.ProfilingVerbosity.LAYER_NAMES_ONLY
    assert layers(made, made.build())[-1] == "Transpose_4"


def test_quantizers_need_the_int8_flag_before_11(world):
    onnx = pytest.importorskip("onnx")
    made = world("8.5.2")
    model = onnx.load_from_string(made.onnx)
    graph = model.graph
    for name, value in (("scale", np.float32(0.01)), ("zero", np.int8(0))):
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), name))
    pair = [
        onnx.helper.make_node("QuantizeLinear", ["cells", "scale", "zero"], ["q"]),
        onnx.helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"]),
    ]
    graph.node[3].input[0] = "dq"
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes[:3] + pair + nodes[3:])
    made.onnx = model.SerializeToString()
    assert made.build() is None and "int8 is not configured in the builder" in made.lines[-1]
    made.config.set_flag(made.trt.BuilderFlag.INT8)
    precisions = {layer["name"]: layer["precision"] for layer in made.plans.read_plan(made.build())[0]["layers"]}
    assert precisions["Conv_5"] == "INT8" and "QuantizeLinear_3" not in precisions


def test_dla_is_refused_where_it_is_not(world, monkeypatch):
    made = world("8.5.2")
    assert made.builder.num_DLA_cores == 2
    made.config.default_device_type = made.trt.DeviceType.DLA
    made.config.DLA_core = 1
    assert made.build() is None and "neither fp16 nor int8" in made.lines[-1]
    made.config.set_flag(made.trt.BuilderFlag.FP16)
    assert made.build() is None and "GPU fallback is not enabled" in made.lines[-1]
    made.config.set_flag(made.trt.BuilderFlag.GPU_FALLBACK)
    asked = made.plans.read_plan(made.build())[0]
    assert asked["dla_core"] == 1 and {layer["device"] for layer in asked["layers"]} == {"DLA", "GPU"}
    monkeypatch.setenv("STUB_CUDA_CAPABILITY", "53")
    assert made.builder.num_DLA_cores == 0 and not made.builder.platform_has_fast_int8
    assert made.build() is None and "DLA is not supported" in made.lines[-1]


def test_timing_cache(world, monkeypatch):
    made = world("8.5.2")
    assert made.config.set_timing_cache(made.config.create_timing_cache(b""), False)
    made.build()
    data = bytes(made.config.get_timing_cache().serialize())
    assert made.config.create_timing_cache(b"damaged") is None and "damaged" in made.lines[-1]
    config = made.builder.create_builder_config()
    assert config.set_timing_cache(config.create_timing_cache(data), False)
    monkeypatch.setenv("STUB_CUDA_CAPABILITY", "87")
    assert not config.set_timing_cache(config.create_timing_cache(data), False)


def test_host_memory_is_a_buffer_and_no_sequence(world):
    memory = world("8.5.2").build()
    assert len(bytes(memory)) == memory.nbytes == memoryview(memory).nbytes
    with pytest.raises(TypeError):
        len(memory)
    with pytest.raises(TypeError):
        memory[0]


def test_a_progress_monitor_can_end_a_build(world):
    made = world("10.3.0")
    trt: Any = made.trt
    steps = []

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self):
            super().__init__()

        def phase_start(self, phase_name, parent_phase, num_steps):
            steps.append(num_steps)

        def step_complete(self, phase_name, step):
            steps.append(step)
            return step < 2

        def phase_finish(self, phase_name):
            steps.append("end")

    made.config.progress_monitor = Monitor()
    assert made.build() is None and steps == [10, 0, 1, 2, "end"]


def test_faults_on_demand(world, cuda_stub, painting, monkeypatch):
    made = world("8.5.2", EDGESEG_DOUBLE_FAULTS="build-fails")
    assert made.build() is None and "OutOfMemory" in made.lines[-2] and "implementation for node" in made.lines[-1]
    monkeypatch.setenv("EDGESEG_DOUBLE_FAULTS", "slow-fp16 slow-int8 dla=1 slow-build=0.2")
    builder = made.builder
    assert (builder.platform_has_fast_fp16, builder.platform_has_fast_int8, builder.num_DLA_cores) == (False, False, 1)
    begun = time.monotonic()
    engine = made.load(made.build())
    assert time.monotonic() - begun >= 0.2
    cuda = ctypes.CDLL(cuda_stub)
    memory = ctypes.c_void_p()
    assert cuda.cudaMalloc(ctypes.byref(memory), ctypes.c_size_t(1 << 16)) == 0
    image = memory.value or 0
    logits = image + (1 << 15)
    context = engine.create_execution_context()
    outputs = []
    for fault in ("", "wrong-output", "nan-output"):
        monkeypatch.setenv("EDGESEG_DOUBLE_FAULTS", fault)
        ctypes.memset(image, 9, 1 << 15)
        assert context.execute_v2([image, logits])
        outputs.append(np.frombuffer((ctypes.c_float * 96).from_address(logits), np.float32).copy())
    assert np.array_equal(outputs[0], -outputs[1]) and np.isnan(outputs[2]).all()
    monkeypatch.setenv("EDGESEG_DOUBLE_FAULTS", "execute-fails")
    assert not context.execute_v2([image, logits])
    assert cuda.cudaFree(memory) == 0


def test_the_default_logger_writes_to_standard_output(double):
    """As the real one: for a program whose standard output is data, that would be a fault."""
    code = "import tensorrt as t; t.Logger(t.Logger.INFO).log(t.Logger.WARNING, 'careful')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=double("8.6.1"), stdout=subprocess.PIPE, universal_newlines=True, check=True
    )
    assert done.stdout.endswith("[TRT] [W] careful\n")
