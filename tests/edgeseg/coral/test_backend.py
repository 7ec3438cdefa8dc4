"""The backends that run a .tflite file: what they refuse before a runtime sees it, and the Edge TPU's own."""

import importlib.machinery
import os
import sys
import types

import pytest
from compiled import compiled_file

import edgeseg
from edgeseg.backends import BACKENDS, available_package, edgetpu, open_backend
from edgeseg.bundle import read_bundle
from edgeseg.coral.library import Library
from edgeseg.manifest import TargetInfo
from edgeseg.worker.supervisor import Limits

STOCK = Library("/usr/lib/libedgetpu.so.1", "a4dfb8d1a71385bd6d122e4f27f86dcebb96712d", "6.3.0 20170516", "max")


@pytest.fixture
def plain(bundles):
    if available_package(BACKENDS[0]) is None:
        pytest.skip("no TensorFlow Lite interpreter")
    return read_bundle(os.path.join(bundles, "int8.edgeseg"))


@pytest.fixture
def compiled(plain):
    """A compiled bundle for Coral."""
    payloads = dict(plain.payloads, edgetpu=compiled_file(plain.payloads["tflite"]))
    manifest = plain.manifest._replace(target=TargetInfo("coral", "edgetpu", "int8"))
    return plain._replace(path="coral.edgeseg", manifest=manifest, payloads=payloads)


@pytest.fixture
def plugged(libedgetpu, monkeypatch):
    """An Edge TPU is there: the double."""
    monkeypatch.setenv("EDGESEG_LIBEDGETPU", libedgetpu)
    monkeypatch.setattr(edgetpu, "LIMITS", Limits(infer_s=10.0, pause_s=0.01, attempts=2))


def with_payload(bundle, role, content):
    return bundle._replace(payloads=dict(bundle.payloads, **{role: content}))


@pytest.mark.parametrize("role", ["tflite", "edgetpu"])
@pytest.mark.parametrize("keep", [0, 4, 7, 100, -100])
def test_truncated_files_reach_no_runtime(role, keep, compiled, plugged):
    bundle = with_payload(compiled, role, compiled.payloads[role][:keep])
    with pytest.raises(edgeseg.BundleError, match="payload {} of coral.edgeseg: ".format(role)):
        open_backend(bundle, role)


@pytest.mark.parametrize("role", ["tflite", "edgetpu"])
def test_foreign_operators_reach_no_runtime(role, compiled, plugged):
    content = compiled.payloads["edgetpu"].replace(b"edgetpu-custom-op", b"another-custom-op")
    with pytest.raises(edgeseg.BundleError, match="operators that TensorFlow Lite lacks: another-custom-op"):
        open_backend(with_payload(compiled, role, content), role)


def test_a_compiled_file_is_not_for_the_cpu(compiled):
    bundle = with_payload(compiled, "tflite", compiled.payloads["edgetpu"])
    with pytest.raises(edgeseg.BundleError, match="compiled for the Edge TPU, which the CPU cannot run") as caught:
        open_backend(bundle, "cpu")
    assert "from before edgetpu_compiler" in caught.value.fix


def test_a_plain_file_is_not_for_the_edge_tpu(compiled, plugged):
    bundle = with_payload(compiled, "edgetpu", compiled.payloads["tflite"])
    with pytest.raises(edgeseg.BundleError, match=r"payload edgetpu of coral.edgeseg is not compiled") as caught:
        open_backend(bundle, "usb")
    assert caught.value.fix == "edgeseg compile coral.edgeseg"


def test_an_edge_tpu_at_work(compiled, plain, plugged, painting, monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("EDGETPU_DOUBLE_EVENTS", str(tmp_path))
    monkeypatch.setenv("EDGETPU_DOUBLE_FAULTS", "invoke:abort@4")
    with edgeseg.Segmenter(compiled, "usb") as tpu, edgeseg.Segmenter(plain, "tflite") as cpu:
        backend = tpu.backend
        assert (backend.name, backend.instances, backend.package) == ("edgetpu", 1, available_package(BACKENDS[0]))
        assert backend.description.startswith("edgetpu (usb 1-1, runtime 14, {} ".format(backend.package))
        assert backend.description[-1] == ")" and "restart" not in backend.description
        for _ in range(4):
            assert (tpu(painting[0], "rgb").mask == cpu(painting[0], "rgb").mask).all()
        assert backend.description.endswith(", 1 restart)")
        assert backend.counters[:3] == (4, 1, 1)
    captured = capfd.readouterr()
    assert (
        captured.out == "" and captured.err.count("edgeseg: warning: the Edge TPU's process was ended by SIGABRT") == 1
    )
    with pytest.raises(RuntimeError, match="closed"):
        tpu(painting[0])


def test_an_edge_tpu_that_keeps_failing(compiled, plugged, painting, monkeypatch):
    monkeypatch.setenv("EDGETPU_DOUBLE_FAULTS", "invoke:abort@2")  # in each child, the warm-up is the first
    with edgeseg.Segmenter(compiled, "usb") as tpu:
        with pytest.raises(edgeseg.EnvironmentFault, match="the Edge TPU failed 2 times on one frame") as caught:
            tpu(painting[0])
    assert "powered hub" in caught.value.fix and "--device cpu" in caught.value.fix


def test_the_network_must_be_that_of_the_manifest(compiled, plugged):
    other = compiled.manifest._replace(output=compiled.manifest.output._replace(dtype="uint8"))
    with pytest.raises(edgeseg.BundleError, match=r"the output tensor of coral.edgeseg is .* int8, its manifest says"):
        open_backend(compiled._replace(manifest=other), "usb")


def test_a_library_and_an_interpreter_that_corrupt_memory(plain):
    if available_package(BACKENDS[0]) == "tensorflow":
        pytest.skip("no interpreter that loads delegates")
    with pytest.raises(edgeseg.EnvironmentFault, match="corrupt memory together"):
        edgetpu.choose_interpreter(STOCK)


def test_the_interpreter_that_fits_is_taken(tmp_path, monkeypatch):
    """Of several that are installed, whichever comes first."""

    def install(name, version=""):
        module = types.ModuleType(name)
        module.__version__ = version  # type: ignore[attr-defined]
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        module.__spec__.submodule_search_locations = [str(tmp_path / name)]
        monkeypatch.setitem(sys.modules, name, module)

    install("ai_edge_litert", "2.3.0")
    install("tflite_runtime", "2.5.0.post1")
    community = STOCK._replace(tensorflow_commit="f4247ebb6f9e7421f38c3f01a9a5d5cd54bd24fd", compiler="12.2.0")
    assert edgetpu.choose_interpreter(STOCK) == ("tflite_runtime", "2.5.0.post1")
    assert edgetpu.choose_interpreter(community) == ("ai_edge_litert", "2.3.0")
    install("pycoral")  # PyPI's, another program
    assert edgetpu.choose_interpreter(community) == ("ai_edge_litert", "2.3.0")
    (tmp_path / "pycoral" / "utils").mkdir(parents=True)
    (tmp_path / "pycoral" / "utils" / "edgetpu.py").write_text("")
    assert edgetpu.choose_interpreter(community) == ("tflite_runtime", "2.5.0.post1")
