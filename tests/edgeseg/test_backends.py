"""Which runtime a device name and a bundle lead to, and onnxruntime's providers."""

import os
import subprocess
import sys
import types
from typing import List

import numpy as np
import pytest

import edgeseg
from edgeseg import backends
from edgeseg.backends import find_ways, has_nvidia_gpu, open_backend
from edgeseg.bundle import read_bundle
from edgeseg.device import Board
from edgeseg.manifest import TargetInfo

ALL_PROVIDERS = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.fixture
def jetson(bundles):
    """Function (precision="fp16", dla=None) -> a bundle for a Xavier."""
    bundle = read_bundle(os.path.join(str(bundles), "onnx.edgeseg"))

    def make(precision="fp16", dla=None):
        target = TargetInfo("xavier", "tensorrt", precision, dla)
        return bundle._replace(manifest=bundle.manifest._replace(target=target))

    return make


@pytest.fixture
def coral(bundles):
    """Function (*roles) -> a bundle for Coral with these payloads; what is in "edgetpu" is no network."""
    bundle = read_bundle(os.path.join(str(bundles), "int8.edgeseg"))

    def make(*roles):
        content = {"tflite": bundle.payloads["tflite"], "edgetpu": b"compiled"}
        manifest = bundle.manifest._replace(target=TargetInfo("coral", "edgetpu", "int8"))
        return bundle._replace(manifest=manifest, payloads={role: content[role] for role in roles})

    return make


@pytest.fixture
def tpus(monkeypatch):
    """The list of Edge TPUs that are seen, empty at first."""
    seen: List[str] = []
    monkeypatch.setattr("edgeseg.coral.devices.seen_tpus", lambda root="/": tuple(seen))
    return seen


@pytest.fixture
def on_gpu(monkeypatch):
    """This machine has a GPU, and no TensorRT for this Python."""
    monkeypatch.setattr(backends, "has_nvidia_gpu", lambda: True)
    installed = backends.available_package
    monkeypatch.setattr(
        backends, "available_package", lambda entry: None if entry.name == "tensorrt" else installed(entry)
    )
    reason = edgeseg.EnvironmentFault("TensorRT is for Python 3.8, this is 3.6", "use the system's Python")
    monkeypatch.setattr("edgeseg.trt.library.load_tensorrt", lambda: raise_(reason))


@pytest.fixture
def without_gpu(monkeypatch):
    monkeypatch.setattr(backends, "has_nvidia_gpu", lambda: False)


def raise_(error):
    raise error


@pytest.fixture
def onnxruntime():
    return pytest.importorskip("onnxruntime")


@pytest.fixture
def gpu_build(onnxruntime, monkeypatch, tmp_path):
    """An onnxruntime built for GPUs: it has every provider, and computes as the real one does on the CPU.

    Returns a namespace: `asked` are the providers of each session, `broken` names those that cannot be started.
    """

    state = types.SimpleNamespace(asked=[], broken=[])
    start = onnxruntime.InferenceSession

    def start_session(model, options, providers, **kwargs):
        state.asked.append(providers)
        names = [name if isinstance(name, str) else name[0] for name in providers]
        if names[0] in state.broken:
            raise RuntimeError("{} does not start".format(names[0]))
        session = start(model, options, providers=["CPUExecutionProvider"], **kwargs)
        session.get_providers = lambda: names
        return session

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ALL_PROVIDERS)
    monkeypatch.setattr(onnxruntime, "InferenceSession", start_session)
    monkeypatch.setenv("EDGESEG_CACHE", str(tmp_path / "engines"))
    return state


def devices(ways):
    return [way.entry.name + (":" + way.provider if way.provider else "") for way in ways]


def test_the_best_way_for_a_jetson_bundle(jetson, monkeypatch):
    monkeypatch.setattr(backends, "has_nvidia_gpu", lambda: True)
    assert devices(find_ways(jetson(), "auto")) == ["tensorrt", "onnxruntime:tensorrt", "onnxruntime:cuda"]
    assert devices(find_ways(jetson("int8", dla=0), "auto")) == ["tensorrt"]
    assert devices(find_ways(jetson(), "cpu")) == ["onnxruntime:cpu"]
    assert devices(find_ways(jetson(), "tensorrt")) == ["tensorrt"]
    monkeypatch.setattr(backends, "has_nvidia_gpu", lambda: False)
    assert devices(find_ways(jetson(), "auto")) == ["onnxruntime:cpu"]


def test_a_bundle_for_the_cpu_stays_there(bundles, on_gpu):
    for name, way in (("onnx", "onnxruntime:cpu"), ("int8", "tflite")):
        bundle = read_bundle(os.path.join(str(bundles), name + ".edgeseg"))
        assert devices(find_ways(bundle, "auto")) == [way]


@pytest.mark.parametrize(
    "device", ["tpu", "onnxruntime:", "onnxruntime:rocm", "cpu:0", "tensorrt:0", "usb:", "usb:x", "pcie", ""]
)
def test_unknown_devices(device, jetson):
    with pytest.raises(edgeseg.UsageError) as caught:
        open_backend(jetson(), device)
    assert repr(device) in caught.value.message
    assert "auto, cpu, tflite, edgetpu, tensorrt, onnxruntime, fake, onnxruntime:cpu" in caught.value.fix
    assert "usb, pci, and usb:1, pci:0, :0 for one Edge TPU" in caught.value.fix


@pytest.mark.parametrize("device", ["cpu", "onnxruntime", "onnxruntime:cpu"])
def test_the_cpu_is_the_cpu(device, jetson, gpu_build, on_gpu):
    backend = open_backend(jetson(), device)
    assert gpu_build.asked == [["CPUExecutionProvider"]]
    assert backend.instances == 0 and "onnxruntime (" in backend.description


def test_never_silently_on_the_cpu(jetson, onnxruntime, on_gpu, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(edgeseg.EnvironmentFault) as caught:
        edgeseg.Segmenter(jetson())
    fault = caught.value
    assert fault.exit_code == 3
    assert "TensorRT is for Python 3.8, this is 3.6" in fault.message and "use the system's Python" in fault.fix
    assert "has no CUDAExecutionProvider, only CPUExecutionProvider" in fault.message and "Jetson_Zoo" in fault.fix
    assert fault.fix.endswith("--device cpu") and fault.fix.count("Jetson_Zoo") == 1


def test_what_to_install_for_the_gpu(jetson, on_gpu, monkeypatch):
    monkeypatch.setattr(backends, "available_package", lambda entry: None)
    with pytest.raises(edgeseg.EnvironmentFault) as caught:
        open_backend(jetson())
    assert caught.value.message.count("onnxruntime is not installed") == 1
    assert "Jetson_Zoo" in caught.value.fix and "edgeseg[onnx]" not in caught.value.fix
    with pytest.raises(edgeseg.EnvironmentFault) as caught:
        open_backend(jetson(), "cpu")
    assert "edgeseg[onnx]" in caught.value.fix


def test_a_gpu_that_is_not_seen_is_said_first(jetson, without_gpu, monkeypatch):
    monkeypatch.setattr(backends, "available_package", lambda entry: None)
    with pytest.raises(edgeseg.EnvironmentFault) as caught:
        open_backend(jetson())
    assert caught.value.fix.startswith("let this process see an NVIDIA GPU (in a container: --runtime nvidia); or ")
    with pytest.raises(edgeseg.EnvironmentFault) as caught:
        open_backend(jetson(), "cpu")
    assert "NVIDIA GPU" not in caught.value.fix


def test_a_bundle_for_the_cpu_on_a_jetson(bundles, monkeypatch, board):
    import edgeseg.device

    xavier = edgeseg.device.find_board(board("xavier"))
    monkeypatch.setattr(edgeseg.device, "find_board", lambda: xavier)
    monkeypatch.setattr(backends, "available_package", lambda entry: None)
    with pytest.raises(edgeseg.EnvironmentFault) as caught:
        open_backend(read_bundle(os.path.join(str(bundles), "int8.edgeseg")))
    assert "edgeseg export fcn8-camvid --target xavier -o board.edgeseg" in caught.value.fix


def test_a_dla_bundle_is_for_tensorrt_alone(jetson, gpu_build, on_gpu):
    with pytest.raises(edgeseg.EnvironmentFault, match="for the GPU of a xavier") as caught:
        open_backend(jetson("int8", dla=0))
    assert "--device cpu" in caught.value.fix and not gpu_build.asked


def test_without_a_gpu_the_cpu_is_taken(jetson, onnxruntime, without_gpu, painting):
    with edgeseg.Segmenter(jetson()) as segmenter:
        assert segmenter.backend.description.startswith("onnxruntime (")
        segmenter(painting[0])


def test_without_tensorrt_its_provider_is_taken(jetson, gpu_build, on_gpu, painting, bundles):
    with edgeseg.Segmenter(jetson()) as segmenter, edgeseg.Segmenter(jetson(), "cpu") as plain:
        assert segmenter.backend.description.startswith("onnxruntime:tensorrt (onnxruntime ")
        assert segmenter.backend.instances == 2
        assert np.array_equal(segmenter(painting[0]).mask, plain(painting[0]).mask)
    (tensorrt, _), *rest = gpu_build.asked[0]
    assert [tensorrt] + rest == ALL_PROVIDERS


def test_a_provider_that_does_not_start_makes_room_for_the_next(jetson, gpu_build, on_gpu, capsys):
    gpu_build.broken.append("TensorrtExecutionProvider")
    assert open_backend(jetson()).name == "onnxruntime:cuda"
    told = capsys.readouterr().err
    assert "warning: onnxruntime:cuda takes over: " in told and "Python 3.8" in told  # why TensorRT does not run it
    with pytest.raises(edgeseg.EnvironmentFault, match="cannot start TensorrtExecutionProvider"):
        open_backend(jetson(), "onnxruntime:tensorrt")  # asked for by name: that or nothing
    gpu_build.broken.append("CUDAExecutionProvider")
    with pytest.raises(edgeseg.EnvironmentFault, match="cannot start CUDAExecutionProvider"):
        open_backend(jetson())


def test_a_provider_that_is_not_there(jetson, onnxruntime, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(edgeseg.EnvironmentFault, match="has no CUDAExecutionProvider") as caught:
        open_backend(jetson(), "onnxruntime:cuda")
    assert caught.value.exit_code == 3 and "onnxruntime-gpu" in caught.value.fix


@pytest.mark.filterwarnings("ignore:Specified provider")  # the real onnxruntime says so and goes on with the CPU
@pytest.mark.parametrize("device", ["onnxruntime:cuda", "onnxruntime:tensorrt"])
def test_falling_back_to_the_cpu_is_noticed(device, jetson, onnxruntime, monkeypatch, tmp_path):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers() and has_nvidia_gpu():
        pytest.skip("this onnxruntime has a GPU to run on")
    monkeypatch.setenv("EDGESEG_CACHE", str(tmp_path))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ALL_PROVIDERS)
    with pytest.raises(edgeseg.EnvironmentFault, match="cannot start") as caught:
        open_backend(jetson(), device)
    assert "libonnxruntime_providers_" in caught.value.message or "cannot open shared object" in caught.value.message


def test_options_of_the_tensorrt_provider(jetson, onnxruntime, tmp_path, monkeypatch):
    from edgeseg.backends.onnxruntime import tensorrt_options

    monkeypatch.setenv("EDGESEG_CACHE", str(tmp_path))
    fp16 = tensorrt_options(jetson("fp16"), "1.15.0")
    assert (fp16["trt_fp16_enable"], fp16["trt_int8_enable"]) == ("True", "False")
    int8 = tensorrt_options(jetson("int8"), "1.14.1")
    assert (int8["trt_fp16_enable"], int8["trt_int8_enable"]) == ("True", "True")
    assert tensorrt_options(jetson("fp32"), "1.9.0")["trt_fp16_enable"] == "False"
    assert fp16["trt_timing_cache_enable"] == "True" and "trt_timing_cache_enable" not in int8
    folder = fp16["trt_engine_cache_path"]
    assert fp16["trt_engine_cache_enable"] == "True" and os.path.isdir(folder) and folder.startswith(str(tmp_path))
    retrained = jetson()._replace(payloads={"onnx": jetson().payloads["onnx"] + b"other weights"})
    assert tensorrt_options(retrained, "1.15.0")["trt_engine_cache_path"] != folder
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGESEG_CACHE", str(tmp_path / "file"))
    with pytest.raises(edgeseg.EnvironmentFault, match="cannot be kept") as caught:
        tensorrt_options(jetson(), "1.15.0")
    assert "EDGESEG_CACHE=" in caught.value.fix


def test_a_damaged_network(jetson, onnxruntime):
    bundle = jetson()._replace(payloads={"onnx": jetson().payloads["onnx"][:100]})
    with pytest.raises(edgeseg.BundleError, match="cannot load the network"):
        open_backend(bundle, "cpu")


def test_a_failure_while_it_runs(jetson, gpu_build, on_gpu):
    backend = open_backend(jetson(), "onnxruntime:cuda")
    backend._binding = None  # what onnxruntime refuses
    with pytest.raises(edgeseg.EnvironmentFault, match="onnxruntime:cuda cannot infer") as caught:
        backend.infer()
    assert caught.value.exit_code == 3
    backend.close()
    backend.close()


def test_the_best_way_for_a_coral_bundle(coral, tpus):
    compiled, plain, alone = coral("tflite", "edgetpu"), coral("tflite"), coral("edgetpu")
    assert devices(find_ways(compiled, "auto")) == ["tflite"]
    assert devices(find_ways(alone, "auto")) == ["edgetpu"]  # it says why there is none
    tpus.append("a TPU")
    assert devices(find_ways(compiled, "auto")) == ["edgetpu"]
    assert devices(find_ways(alone, "auto")) == ["edgetpu"]
    assert devices(find_ways(plain, "auto")) == ["tflite"]
    assert devices(find_ways(compiled, "cpu")) == devices(find_ways(compiled, "tflite")) == ["tflite"]


@pytest.mark.parametrize(
    ("device", "name"),
    [("edgetpu", ""), ("usb", "usb"), ("pci", "pci"), ("usb:1", "usb:1"), ("pci:0", "pci:0"), (":0", ":0")],
)
def test_names_of_edge_tpus(device, name, coral):
    (way,) = find_ways(coral("tflite", "edgetpu"), device)
    assert (way.entry.name, way.device) == ("edgetpu", name)


def test_a_coral_bundle_is_never_on_the_cpu_in_silence(coral, tpus, capsys):
    if backends.available_package(backends.BACKENDS[0]) is None:
        pytest.skip("no LiteRT")
    assert open_backend(coral("tflite", "edgetpu")).name == "tflite"
    told = capsys.readouterr().err
    assert told.startswith("edgeseg: warning: no Edge TPU is seen here: ") and "edgeseg doctor" in told
    tpus.append("a TPU")
    bundle = coral("tflite")
    assert open_backend(bundle).name == "tflite"
    told = capsys.readouterr().err
    assert "warning: " in told and told.endswith(": edgeseg compile {}\n".format(bundle.path))
    assert open_backend(bundle, "cpu").name == "tflite"  # what was asked for
    assert capsys.readouterr().err == ""


def test_the_fault_of_an_edge_tpu_names_the_cpu(coral, tpus, monkeypatch):
    fault = edgeseg.EnvironmentFault("it is in use", "stop the other program")
    monkeypatch.setattr(backends, "_open", lambda *_: raise_(fault))
    tpus.append("a TPU")
    for roles, fix in (
        (("tflite", "edgetpu"), "stop the other program; or run it on the CPU all the same: --device cpu"),
        (("edgetpu",), "stop the other program"),
    ):
        with pytest.raises(edgeseg.EnvironmentFault) as caught:
            open_backend(coral(*roles))
        assert (caught.value.message, caught.value.fix) == ("it is in use", fix)
    with pytest.raises(edgeseg.EnvironmentFault) as caught:
        open_backend(coral("tflite", "edgetpu"), "usb")
    assert caught.value.fix == "stop the other program"


@pytest.mark.parametrize("device", ["edgetpu", "usb", "pci:1"])
def test_what_an_edge_tpu_does_not_run(device, coral, bundles):
    bundle = coral("tflite")
    with pytest.raises(edgeseg.BundleError, match="is not compiled for the Edge TPU yet") as caught:
        open_backend(bundle, device)
    assert caught.value.fix == "edgeseg compile " + bundle.path
    for name in ("int8", "onnx"):
        with pytest.raises(edgeseg.BundleError, match="for target cpu, which device '{}'".format(device)) as caught:
            open_backend(read_bundle(os.path.join(str(bundles), name + ".edgeseg")), device)
        assert "--target coral" in caught.value.fix


def test_what_the_cpu_does_not_run(coral):
    with pytest.raises(edgeseg.BundleError, match="compiled for the Edge TPU alone") as caught:
        open_backend(coral("edgetpu"), "cpu")
    assert "--cpu UNCOMPILED.tflite" in caught.value.fix


def test_where_a_gpu_is(monkeypatch, tmp_path):
    monkeypatch.setattr("edgeseg.device.find_board", lambda: Board(model="a PC"))
    monkeypatch.setattr(backends, "_GPU_NODES", (str(tmp_path / "nvidiactl"),))
    assert not has_nvidia_gpu()
    (tmp_path / "nvidiactl").write_text("")
    assert has_nvidia_gpu()
    monkeypatch.setattr(backends, "_GPU_NODES", ())
    monkeypatch.setattr("edgeseg.device.find_board", lambda: Board(soc="tegra194"))
    assert has_nvidia_gpu()


def test_onnxruntime_reports_nothing(tmp_path):
    """From 1.31 on it has telemetry, which leaves a file in the folder for temporary files when it is imported."""
    pytest.importorskip("onnxruntime")
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    code = "from edgeseg.quiet import import_runtime; import_runtime('onnxruntime')"
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(environment, TMPDIR=str(tmp_path)))
    assert os.listdir(str(tmp_path)) == []
