"""TensorRT and CUDA for tests without a GPU: the double of tests/tensorrt_double, the libcudart of tests/cuda_stub."""

import importlib
import os
import re
import runpy
import shutil
import subprocess
import sys

import pytest

from edgeseg.bundle import payload_info, read_bundle, write_bundle
from edgeseg.golden import Golden, pack_golden
from edgeseg.manifest import TargetInfo

TESTS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DOUBLE = os.path.join(TESTS, "tensorrt_double")


def forget_double():
    """Let the next `import tensorrt` read its version again."""
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorrt"]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def contract():
    """The package tests/tensorrt_double/contract."""
    sys.path.insert(0, DOUBLE)
    try:
        return importlib.import_module("contract")
    finally:
        sys.path.remove(DOUBLE)


@pytest.fixture(scope="session")
def oracles():
    """The recorded API of each version: {"8.2": {...}, ...}."""
    space = runpy.run_path(os.path.join(DOUBLE, "tensorrt", "_oracle.py"))
    return {version: space["load_oracle"](version) for version in space["VERSIONS"]}


@pytest.fixture
def double(monkeypatch, tmp_path):
    """Function (version, **environment) -> environment for subprocesses that find TensorRT's double of that version.

    The same holds in this process until the test ends: `import tensorrt` gives the double, engines are cached in a
    folder of the test. Further variables by keyword: double("8.5.2", EDGESEG_DOUBLE_FAULTS="nan-output").
    """
    monkeypatch.syspath_prepend(DOUBLE)
    monkeypatch.setenv("EDGESEG_CACHE", str(tmp_path / "engines"))
    monkeypatch.delenv("EDGESEG_DOUBLE_FAULTS", raising=False)

    def use(version, **environment):
        forget_double()
        for name, value in dict(environment, EDGESEG_DOUBLE_TENSORRT=version).items():
            monkeypatch.setenv(name, value)
        path = os.pathsep.join([DOUBLE] + [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p])
        return dict(os.environ, PYTHONPATH=path)

    yield use
    forget_double()


@pytest.fixture(scope="session")
def compile_library(tmp_path_factory):
    """Function (source in tests/cuda_stub, name of the library, *options of gcc) -> path; skips where gcc is absent."""
    folder = tmp_path_factory.mktemp("libraries")

    def compile_(source, name, *options):
        if not shutil.which("gcc"):
            pytest.skip("no gcc to compile tests/cuda_stub/" + source)
        path = os.path.join(str(folder), name)
        text = os.path.join(TESTS, "cuda_stub", source)
        warnings = ["-std=gnu99", "-Wall", "-Wextra", "-Werror"]
        subprocess.run(
            ["gcc"] + warnings + ["-O1", "-g", "-shared", "-fPIC", "-o", path, text, "-pthread"] + list(options),
            check=True,
        )
        return path

    return compile_


@pytest.fixture(scope="session")
def _cudart(compile_library):
    return compile_library("cudart.c", "libcudart.so")


@pytest.fixture
def cuda_stub(_cudart, monkeypatch):
    """Path of the compiled libcudart; $EDGESEG_CUDART names it and the GPU is a Xavier's, until the test ends."""
    monkeypatch.setenv("EDGESEG_CUDART", _cudart)
    for name in ("ERROR", "CAPABILITY", "INTEGRATED", "FREE_BYTES"):
        monkeypatch.delenv("STUB_CUDA_" + name, raising=False)
    return _cudart


@pytest.fixture
def make_jetson_bundle(bundles, painting, tmp_path):
    """Function (target="xavier", precision="fp16", dla=None, dtype="uint8", extra={}) -> path of a bundle.

    The network is that of onnx.edgeseg (tests/device_bundles.py), with a golden frame computed by onnxruntime.
    `dtype="float32"` is for TensorRT 8.2, which takes no uint8. `extra` are further payloads by role.
    """
    runtime = pytest.importorskip("onnxruntime")

    def make(target="xavier", precision="fp16", dla=None, dtype="uint8", extra=None):
        source = read_bundle(os.path.join(str(bundles), "onnx.edgeseg"))
        onnx = source.payloads["onnx"] if dtype == "uint8" else with_float_input(source.payloads["onnx"])
        image = painting[0]
        session = runtime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
        logits = session.run(None, {"image": image[None].astype(dtype)})[0][0]
        payloads = dict(extra or {}, onnx=onnx, golden=pack_golden(Golden(image, logits)))
        infos = [payload_info(role, "payload/" + role, data) for role, data in sorted(payloads.items())]
        manifest = source.manifest._replace(
            target=TargetInfo(target, "tensorrt", precision, dla),
            payloads=tuple(infos),
            input=source.manifest.input._replace(dtype=dtype),
        )
        path = str(tmp_path / "{}-{}-{}-{}.edgeseg".format(target, precision, dtype, dla))
        write_bundle(path, manifest, payloads)
        return path

    return make


@pytest.fixture
def jetson_bundle(make_jetson_bundle):
    """Path of a bundle for target xavier in fp16, with a golden frame; see `make_jetson_bundle` for others."""
    return make_jetson_bundle()


def with_float_input(onnx):
    """The ONNX bytes with the input "image" of type float32: one byte of its ValueInfoProto, elem_type 2 -> 1."""
    (found,) = re.finditer(rb"\x0a\x05image\x12.\x0a.\x08\x02", onnx, re.DOTALL)
    return onnx[: found.end() - 1] + b"\x01" + onnx[found.end() :]
