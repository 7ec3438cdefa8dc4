"""Every name of TensorRT that our code uses exists, with those arguments, in each version from 8.2 to 11.4.

How it knows TensorRT's objects, the convention for names of variables included, is said in
tests/tensorrt_double/contract/__init__.py. What it does not recognise is found by running: the double records what
edgeseg touches, and each of these uses must have been checked.
"""

import glob
import importlib
import os
import re
import sys

import pytest

import edgeseg
from edgeseg.bundle import read_bundle
from edgeseg.trt.recipe import read_recipe

PACKAGE = os.path.dirname(os.path.abspath(edgeseg.__file__))
FILES = sorted(glob.glob(os.path.join(PACKAGE, "trt", "*.py"))) + [os.path.join(PACKAGE, "backends", "tensorrt.py")]
# Has names that are TensorRT's elsewhere (a context), and does not know TensorRT.
WITHOUT_TENSORRT = ("pycuda.py",)
VERSIONS = ("8.2", "8.5.2", "8.6.1", "10.3.0", "11.4.0")


def read(path):
    with open(path) as file:
        return file.read()


@pytest.fixture(scope="module")
def check(contract, oracles):
    """Function (source, file) -> report of the contract."""
    siblings = {
        "edgeseg." + os.path.relpath(path, PACKAGE)[: -len(".py")].replace(os.sep, "."): read(path) for path in FILES
    }
    return lambda source, file="planted.py": contract.check_source(source, file, oracles, siblings)


@pytest.mark.parametrize("path", FILES, ids=os.path.basename)
def test_our_code_keeps_the_contract(check, path):
    if os.path.basename(path) in WITHOUT_TENSORRT:
        assert "trt." not in read(path).replace("edgeseg.trt.", "") and "import tensorrt" not in read(path)
        return
    assert check(read(path), path).findings == []


def test_it_looks_at_enough(check):
    """Were the convention for names broken in a file, it would be checked for nothing."""
    uses = {os.path.basename(path): len(check(read(path), path).seen) for path in FILES}
    assert uses["build.py"] > 40 and uses["engine.py"] > 15 and uses["library.py"] > 4, uses


MISUSES = [
    ("misspelt method", "builder.build_serialised_network(network, config)", "does not exist .*8.2, .*11.4.0"),
    ("misspelt property", "config.max_workspace = 3", "IBuilderConfig.max_workspace does not exist"),
    ("misspelt class", "trt.OnxParser(network, log)", "trt.OnxParser does not exist"),
    ("misspelt enum member", "config.set_flag(trt.BuilderFlag.FP61)", "BuilderFlag.FP61 does not exist"),
    ("8 only", "config.max_workspace_size = 1", r"max_workspace_size does not exist \(TensorRT 10.3.0, 11.4.0\)"),
    ("8 only, method", "context.execute_async_v2([], 0)", r"v2 does not exist \(TensorRT 10.3.0, 11.4.0\)"),
    ("10 only", "trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED", r"\(TensorRT 8.2, 8.5.2, 8.6.1\)"),
    ("10 only, class", "class M(trt.IProgressMonitor): pass", r"IProgressMonitor does not exist \(TensorRT 8.2, 8.5"),
    ("not in 8.2", "engine.num_io_tensors", r"num_io_tensors does not exist \(TensorRT 8.2\)"),
    ("not in 11", "config.set_flag(trt.BuilderFlag.FP16)", r"FP16 does not exist \(TensorRT 11.4.0\)"),
    ("not in 11, property", "builder.platform_has_fast_int8", r"int8 does not exist \(TensorRT 11.4.0\)"),
    (
        "too few arguments",
        "config.set_timing_cache(cache)",
        r"set_timing_cache\(...\) takes \(cache, ignore_mismatch\)",
    ),
    ("too many arguments", "trt.Builder(log, 3)", r"trt.Builder\(..., ...\) takes \(logger\)"),
    ("unknown keyword", "parser.parse(model=b'', name='x')", r"parse\(model=, name=\) takes \(model, path=\)"),
    ("arguments unpacked", "config.set_timing_cache(*both)", "takes"),
    ("number for an enum", "config.set_flag(1)", "flag is a number"),
    ("number for an enum, by name", "config.set_flag(flag=3)", "flag is a number"),
    ("number made an enum", "config.set_flag(trt.BuilderFlag(0))", "write the member's name"),
    ("number for flags", "builder.create_network(1 << 0)", "flags is a number"),
    ("number for flags, variable", "bits = 0; bits |= 1; builder.create_network(bits)", "flags is a number"),
    ("number to a property", "config.profiling_verbosity = 2", "profiling_verbosity is set to a number"),
    ("enum compared with a number", "if tensor.dtype == 1: pass", "compared with a number"),
    ("nptype", "trt.nptype(tensor.dtype)", "trt.nptype fails under NumPy 1.24"),
    ("property called", "parser.num_errors()", "OnnxParser.num_errors cannot be called"),
    ("method not called", "if builder.reset: pass", "Builder.reset is a method and is not called"),
    ("read-only", "builder.num_DLA_cores = 1", "Builder.num_DLA_cores cannot be assigned"),
    ("no constructor", "trt.IBuilderConfig()", "cannot be called"),
    ("name not written out", "getattr(config, name)", "cannot be checked"),
    ("misspelt guard", "if hasattr(config, 'set_memory_pool_limits'): pass", "no version has it"),
    ("misspelt guard of an enum", "if 'FP61' in trt.BuilderFlag.__members__: pass", "no version has it"),
    ("guard of another object", "if hasattr(engine, 'num_io_tensors'): config.max_workspace_size = 1", "10.3.0"),
    ("wrong branch", "if hasattr(config, 'set_memory_pool_limit'): config.max_workspace_size = 1", "10.3.0"),
    ("guard after use", "engine.num_bindings; hasattr(engine, 'num_bindings')", "num_bindings does not exist"),
    ("unguarded in or", "hasattr(engine, 'num_bindings') or engine.num_bindings", "does not exist"),
    ("unknown receiver", "thing.create_execution_context()", "name its owner"),
    ("through a call", "builder.create_builder_config().sett_flag(3)", "IBuilderConfig.sett_flag does not exist"),
    ("through another name", "a = runtime.deserialize_cuda_engine(b''); a.num_binding", "ICudaEngine.num_binding does"),
    ("of self", "self._engine.num_bindings", "num_bindings does not exist"),
    ("wrong override", "class L(trt.ILogger):\n  def log(self, msg): pass", "ILogger.log is overridden with 1 arg"),
    ("misspelt override", "class L(trt.ILogger):\n  def logs(self, a, b): pass", "no such method to override"),
]


@pytest.mark.parametrize("source, finding", [row[1:] for row in MISUSES], ids=[row[0] for row in MISUSES])
def test_a_planted_misuse_is_caught(check, source, finding):
    findings = check("def f(trt, self):\n  " + source.replace("\n", "\n  ")).findings
    assert len(findings) == 1 and re.search(finding, findings[0]), findings
    assert findings[0].startswith("planted.py:")


GOOD = [
    """
def f(trt, config):
    if hasattr(config, "set_memory_pool_limit"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1)
    else:
        config.max_workspace_size = 1
""",
    """
def f(engine):
    if not hasattr(engine, "num_io_tensors"):
        return engine.num_bindings
    return engine.num_io_tensors
""",
    """
def f(engine, builder):
    count = engine.num_io_tensors if hasattr(engine, "num_io_tensors") else engine.num_bindings
    old = hasattr(engine, "num_bindings") and engine.num_bindings
    return count, old, getattr(builder, "platform_has_fast_int8", True)
""",
    """
def f(trt, config):
    names = trt.BuilderFlag.__members__
    if "INT8" in names:
        config.set_flag(trt.BuilderFlag.INT8)
""",
    """
def has_flags(trt):
    return "FP16" in trt.BuilderFlag.__members__


def f(trt, config, wanted):
    if wanted and has_flags(trt):
        config.set_flag(flag=trt.BuilderFlag.FP16)
""",
    """
def f(context):
    is_old = not hasattr(context, "execute_async_v3")
    if is_old:
        context.execute_async_v2(bindings=[], stream_handle=0)
""",
    """
def f(trt, builder):
    flags = 0
    if "EXPLICIT_BATCH" in trt.NetworkDefinitionCreationFlag.__members__:
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    return builder.create_network(flags)
""",
    """
def _count(engine):
    return engine.num_bindings


def f(engine):
    return _count(engine) if hasattr(engine, "num_bindings") else 0
""",
    """
def f(trt):
    if hasattr(trt, "IProgressMonitor"):
        class Monitor(trt.IProgressMonitor):
            def __init__(self):
                trt.IProgressMonitor.__init__(self)

            def step_complete(self, phase_name, step):
                return True
""",
    """
import json


def f(path: str, engine: "Engine", tensors: List[TensorInfo]):
    network = json.loads(path)
    return network.get("layers"), engine.anything(1), [tensor.is_input for tensor in tensors]
""",
]


@pytest.mark.parametrize("source", GOOD)
def test_an_attribute_check_lets_a_name_through(check, source):
    assert check(source).findings == []


def test_the_conventions_are_of_real_names(contract, oracles):
    for name in contract.RECEIVERS.values():
        assert name == "trt" or any(name in oracle for oracle in oracles.values()), name
    for (owner, member), gives in contract.RETURNS.items():
        assert any(member in oracle.get(owner, {}).get("class", {}) for oracle in oracles.values()), (owner, member)
        assert any(gives in oracle for oracle in oracles.values()), gives


# Written down from another source than the oracle: 8.2 from python/src/infer/pyCore.cpp of NVIDIA/TensorRT, the rest
# from the release notes. "x" for each of VERSIONS that has the name.
TABLE = """
Builder.build_engine xxx..
Builder.build_serialized_network xxxxx
Builder.platform_has_fast_fp16 xxxx.
Builder.platform_has_fast_int8 xxxx.
Builder.num_DLA_cores xxxxx
Builder.is_network_supported xxxxx
NetworkDefinitionCreationFlag.EXPLICIT_BATCH xxxx.
NetworkDefinitionCreationFlag.STRONGLY_TYPED ...xx
IBuilderConfig.max_workspace_size xxx..
IBuilderConfig.set_memory_pool_limit .xxxx
BuilderFlag.FP16 xxxx.
BuilderFlag.INT8 xxxx.
BuilderFlag.BF16 ...x.
BuilderFlag.STRICT_TYPES xxx..
BuilderFlag.OBEY_PRECISION_CONSTRAINTS xxxx.
BuilderFlag.DIRECT_IO xxxxx
BuilderFlag.GPU_FALLBACK xxxxx
BuilderFlag.VERSION_COMPATIBLE ..xxx
IBuilderConfig.int8_calibrator xxxx.
ITensor.set_dynamic_range xxxx.
ILayer.precision xxxx.
IBuilderConfig.builder_optimization_level ..xxx
IBuilderConfig.hardware_compatibility_level ..xxx
IBuilderConfig.create_timing_cache xxxxx
IBuilderConfig.set_timing_cache xxxxx
IBuilderConfig.get_timing_cache xxxxx
IBuilderConfig.default_device_type xxxxx
IBuilderConfig.DLA_core xxxxx
IBuilderConfig.profiling_verbosity xxxxx
ICudaEngine.create_engine_inspector xxxxx
ICudaEngine.num_bindings xxx..
ICudaEngine.binding_is_input xxx..
ICudaEngine.num_io_tensors .xxxx
ICudaEngine.get_tensor_name .xxxx
ICudaEngine.get_tensor_mode .xxxx
ICudaEngine.get_tensor_shape .xxxx
ICudaEngine.get_tensor_dtype .xxxx
IExecutionContext.execute_async_v2 xxx..
IExecutionContext.set_binding_shape xxx..
IExecutionContext.execute_async_v3 .xxxx
IExecutionContext.set_tensor_address .xxxx
IExecutionContext.set_input_shape .xxxx
IExecutionContext.infer_shapes .xxxx
IExecutionContext.execute_v2 xxxxx
ICudaEngine.device_memory_size xxxx.
ICudaEngine.device_memory_size_v2 ...xx
OnnxParser.parse xxxxx
OnnxParser.num_errors xxxxx
OnnxParser.get_error xxxxx
OnnxParser.supports_model xxxx.
OnnxParser.supports_model_v2 ...xx
OnnxParserFlag.NATIVE_INSTANCENORM ..xxx
DataType.UINT8 .xxxx
DataType.INT64 ...xx
MemoryPoolType.TACTIC_DRAM ..xxx
TacticSource.CUBLAS xxxx.
Runtime.engine_host_code_allowed ..xxx
"""


def test_the_oracle_is_as_documented(oracles):
    for line in TABLE.split("\n")[1:-1]:
        name, marks = line.split()
        owner, member = name.split(".")
        found = [member in next(iter(oracles[version].get(owner, {"": {}}).values())) for version in VERSIONS]
        assert found == [mark == "x" for mark in marks], name
    assert list(oracles) == list(VERSIONS)


def unchecked(touched, check):
    """Uses of TensorRT that ran and that the contract did not see."""
    seen = {path: check(read(path), path).seen for path in {path for path, _, _ in touched}}
    return sorted(
        (os.path.basename(path), owner, name) for path, owner, name in touched if (owner, name) not in seen[path]
    )


RUNS = [
    ("8.2", {"dtype": "float32"}, {}),
    ("8.5.2", {}, {}),
    ("8.5.2", {"precision": "int8", "dla": 0, "extra": {"activation-ranges": b'{"scores": 3.0}'}}, {}),
    ("8.6.1", {}, {"EDGESEG_DOUBLE_FAULTS": "build-fails"}),
    ("10.3.0", {"precision": "fp32"}, {"EDGESEG_DOUBLE_FAULTS": "execute-fails"}),
    ("11.4.0", {"precision": "fp32"}, {}),
    ("11.4.0", {"precision": "fp16"}, {}),
]


@pytest.mark.parametrize("version, bundle, environment", RUNS)
def test_what_runs_was_checked(double, cuda_stub, make_jetson_bundle, check, version, bundle, environment):
    double(version, **environment)
    path = make_jetson_bundle(**bundle)
    provide = importlib.import_module("edgeseg.trt.provide")
    session = provide.open_session()
    try:
        made = provide.provide_engine(session, read_bundle(path), provide.Request(say=lambda text: None))
        made.engine.close()
    except edgeseg.EdgesegError:
        pass  # some of these end in a fault of ours; what they touch until then counts
    finally:
        session.close()
    touched = sys.modules["tensorrt._surface"].touched
    assert {owner for _, owner, _ in touched} >= {"", "Builder", "OnnxParser"}
    assert unchecked(touched, check) == []


def test_a_refused_graph_was_checked(double, cuda_stub, jetson_bundle, check):
    double("10.3.0")
    build = importlib.import_module("edgeseg.trt.build")
    library = importlib.import_module("edgeseg.trt.library")
    trt = library.load_tensorrt()
    recipe = read_recipe(read_bundle(jetson_bundle))._replace(onnx=b"not ONNX")
    progress = importlib.import_module("edgeseg.trt.progress").Progress()
    with pytest.raises(edgeseg.EdgesegError):
        build.build(trt, library.open_log(trt), recipe, 1 << 20, b"", progress)
    touched = sys.modules["tensorrt._surface"].touched
    assert {owner for _, owner, _ in touched} >= {"OnnxParser", "ParserError"}
    assert unchecked(touched, check) == []


def test_a_use_under_a_name_that_says_nothing_is_seen_by_running(double, check, tmp_path):
    double("10.3.0")
    path = tmp_path / "planted.py"
    path.write_text("def f(made):\n    return made[0].reset()\n")
    space: dict = {"__name__": "edgeseg.planted"}
    exec(compile(path.read_text(), str(path), "exec"), space)
    trt = importlib.import_module("tensorrt")
    sys.modules["tensorrt._surface"].touched.clear()
    with pytest.raises(NotImplementedError):
        space["f"]([trt.Builder(trt.Logger())])
    touched = sys.modules["tensorrt._surface"].touched
    assert unchecked(touched, check) == [("planted.py", "Builder", "reset")]
