"""A Jetson's bundle through the public interface: masks, the engine's second use, everything that goes wrong."""

import contextlib
import ctypes
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import edgeseg
from edgeseg.bundle import payload_info, read_bundle, write_bundle
from edgeseg.golden import Golden, pack_golden, unpack_golden

VERSIONS = ("8.2", "8.5.2", "8.6.1", "10.3.0", "11.4.0")
BUILDING = "building the engine"


@pytest.fixture
def board(double, cuda_stub, make_jetson_bundle, monkeypatch, tmp_path):
    """Function (version, bundle options, environment) -> path of a bundle that fits; nothing is left on the GPU."""
    monkeypatch.setenv("EDGESEG_CACHE", str(tmp_path / "engines"))

    def make(version="8.5.2", environment=None, **options):
        double(version, **(environment or {}))
        options.setdefault("precision", "fp32" if version == "11.4.0" else "fp16")
        return make_jetson_bundle(dtype="float32" if version == "8.2" else "uint8", **options)

    yield make
    stub = ctypes.CDLL(cuda_stub)
    assert (stub.stub_cuda_live_allocations(), stub.stub_cuda_live_streams()) == (0, 0)


def run(path, image):
    """The result of one frame."""
    with edgeseg.Segmenter(path, "tensorrt") as segmenter:
        return segmenter(image, "rgb")


def engine_of(path):
    """The one engine that is kept for the bundle at `path`."""
    folder = os.environ["EDGESEG_CACHE"]
    (engine,) = glob.glob(os.path.join(folder, os.path.basename(path)[: -len(".edgeseg")] + "-*.engine"))
    return engine


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("precision, agreement", [("fp32", 1.0), ("fp16", 0.99)])
def test_masks_are_those_of_onnxruntime(board, painting, version, precision, agreement):
    if (version, precision) == ("11.4.0", "fp16"):
        precision = "fp32"  # a float graph, which it refuses to build in fp16
    path = board(version, precision=precision)
    image = np.ascontiguousarray(painting[0].repeat(3, 0).repeat(2, 1))
    with edgeseg.Segmenter(path, "tensorrt") as segmenter, edgeseg.Segmenter(path, "onnxruntime") as reference:
        assert segmenter.backend.name == "tensorrt"
        for frame in (image, image[::-1], image):
            found, wanted = segmenter(frame, "rgb"), reference(frame, "rgb")
            assert found.mask.shape == frame.shape[:2] and (found.mask == wanted.mask).mean() >= agreement
            assert np.abs(found.confidence - wanted.confidence).max() < 0.01


def test_description_is_for_people(board):
    path = board(precision="int8", dla=1, extra={"activation-ranges": b'{"cells": 255, "scores": 2.5}'})
    with edgeseg.Segmenter(path, "tensorrt") as segmenter:
        assert segmenter.backend.description == "tensorrt (TensorRT 8.5.2.2, GPU sm_72, int8, DLA 1)"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_second_run_builds_nothing(board, painting, capsys, version):
    path = board(version)
    first = run(path, painting[0])
    assert capsys.readouterr().err.count(BUILDING) == 1
    engine = engine_of(path)
    written = os.stat(engine).st_mtime_ns
    second = run(path, painting[0])
    assert capsys.readouterr().err == "" and os.stat(engine).st_mtime_ns == written
    assert np.array_equal(first.mask, second.mask)


def test_a_recording_opens_no_engine_for_each_core(board, double, tmp_path):
    path = board()
    command = [sys.executable, "-m", "edgeseg", "run", path, "--camera", "pattern:96x64?frames=5", "--threads", "8"]
    command += ["--device", "tensorrt", "--json", str(tmp_path / "out.jsonl")]
    done = subprocess.run(command, env=double("8.5.2"), stderr=subprocess.PIPE, universal_newlines=True, check=False)
    assert done.returncode == 0 and "2 at a time" in done.stderr and "5 frames" in done.stderr, done.stderr
    assert done.stderr.count(BUILDING) == 1


def test_nan_in_a_later_frame_is_no_bug_of_ours(board, double, tmp_path):
    path = board()
    subprocess.run([sys.executable, "-m", "edgeseg", "compile", path], env=double("8.5.2"), check=True)
    command = [sys.executable, "-m", "edgeseg", "run", path, "--camera", "pattern:96x64?frames=2"]
    command += ["--device", "tensorrt", "--json", str(tmp_path / "out.jsonl")]
    environment = double("8.5.2", EDGESEG_DOUBLE_FAULTS="nan-output")
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, universal_newlines=True, check=False)
    assert done.returncode == 1 and "NaN" in done.stderr and "edgeseg compile" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_closed_segmenter_says_so(board, painting):
    with edgeseg.Segmenter(board(), "tensorrt") as segmenter:
        segmenter(painting[0])
    with pytest.raises(RuntimeError, match="closed"):
        segmenter(painting[0])


def test_force_measures_the_kernels_anew(board, painting, monkeypatch):
    """The timing cache would give the same engine again."""
    from edgeseg.trt import provide
    from edgeseg.trt.build import build as real

    path = board()
    given = []

    def build(*arguments):
        given.append(arguments[4])
        return real(*arguments)

    monkeypatch.setattr(provide, "build", build)
    for force in (False, True):
        session = provide.open_session()
        request = provide.Request(say=lambda text: None, force=force)
        provide.provide_engine(session, read_bundle(path), request).engine.close()
        session.close()
    os.remove(engine_of(path))
    run(path, painting[0])
    assert [bool(timing) for timing in given] == [False, False, True]


def test_no_memory_to_load_an_engine_does_not_mean_a_bad_engine(board, painting, monkeypatch):
    path = board()
    run(path, painting[0])
    before = os.stat(engine_of(path)).st_mtime_ns
    import tensorrt

    from edgeseg.trt.library import open_log

    def without_memory(self, plan):
        open_log(tensorrt).log(tensorrt.ILogger.ERROR, "Error Code 1: Cuda Runtime (out of memory)")

    monkeypatch.setattr(tensorrt.Runtime, "deserialize_cuda_engine", without_memory)
    with pytest.raises(edgeseg.EnvironmentFault, match="out of memory") as error:
        run(path, painting[0])
    assert error.value.fix == "end other programs that use the GPU"
    assert os.stat(engine_of(path)).st_mtime_ns == before


def test_the_plan_is_a_plain_file(board, painting):
    path = board()
    run(path, painting[0])
    import tensorrt

    with open(engine_of(path), "rb") as file:
        plan = file.read()
    log = tensorrt.Logger(tensorrt.Logger.ERROR)
    assert tensorrt.Runtime(log).deserialize_cuda_engine(plan) is not None
    with open(engine_of(path).replace(".engine", ".json")) as file:
        told = json.load(file)
    assert told["bytes"] == len(plan) and told["key"]["tensorrt"] == "8.5.2.2" and told["key"]["precision"] == "fp16"
    assert told["facts"]["layers"]["fp16"] > 0 and told["facts"]["check"]["relative_error"] < 0.05


def truncate(engine):
    with open(engine, "r+b") as file:
        file.truncate(200)


def damage_facts(engine):
    with open(engine.replace(".engine", ".json"), "w") as file:
        file.write('{"engine": "x')


def foreign(engine):
    """The files of another board under the name of this one's."""
    with open(engine.replace(".engine", ".json"), "r+") as file:
        content = json.load(file)
        content["key"]["gpu"] = "NVIDIA Jetson Nano"
        file.seek(0)
        file.truncate()
        json.dump(content, file)


def of_an_older_tensorrt(engine):
    """What a JetPack that reports the same version leaves: hash and key fit, but TensorRT refuses the plan."""
    import hashlib

    plan = b"a plan of another time" * 20
    with open(engine, "wb") as file:
        file.write(plan)
    with open(engine.replace(".engine", ".json"), "r+") as file:
        content = dict(json.load(file), bytes=len(plan), sha256=hashlib.sha256(plan).hexdigest())
        file.seek(0)
        file.truncate()
        json.dump(content, file)


STALE = [
    (truncate, "is damaged"),
    (damage_facts, "is damaged"),
    (foreign, "another network or board"),
    (of_an_older_tensorrt, "does not take this engine"),
]


@pytest.mark.parametrize("version", ["8.2", "11.4.0"])
@pytest.mark.parametrize("spoil, reason", STALE, ids=[row[0].__name__ for row in STALE])
def test_a_stale_engine_is_built_again(board, painting, capsys, spoil, reason, version):
    path = board(version)
    wanted = run(path, painting[0])
    spoil(engine_of(path))
    capsys.readouterr()
    found = run(path, painting[0])
    told = capsys.readouterr().err
    assert reason in told and told.count(BUILDING) == 1
    assert np.array_equal(found.mask, wanted.mask)
    run(path, painting[0])
    assert capsys.readouterr().err == ""


def test_another_tensorrt_gets_its_own_engine(board, painting, double, capsys):
    path = board("8.5.2")
    run(path, painting[0])
    double("8.6.1")
    run(path, painting[0])
    assert capsys.readouterr().err.count(BUILDING) == 2
    double("8.5.2")
    run(path, painting[0])
    assert capsys.readouterr().err == ""


def test_a_new_export_is_built(board, painting, capsys):
    """Another network under the same name."""
    path = board()
    run(path, painting[0])
    bundle = read_bundle(path)
    golden = unpack_golden(bundle.payloads["golden"])
    # The bias of class 0: what follows the name "bias" is its raw data.
    onnx = bytearray(bundle.payloads["onnx"])
    at = bytes(onnx).rindex(b"bias") + len(b"bias") + 2
    onnx[at : at + 4] = np.float32(1).tobytes()
    logits = golden.logits.copy()
    logits[..., 0] += 1 - np.frombuffer(bundle.payloads["onnx"][at : at + 4], np.float32)
    payloads = {"onnx": bytes(onnx), "golden": pack_golden(Golden(golden.image, logits))}
    infos = tuple(payload_info(info.role, info.path, payloads[info.role]) for info in bundle.manifest.payloads)
    write_bundle(path, bundle.manifest._replace(payloads=infos), payloads)
    capsys.readouterr()
    assert (run(path, painting[0]).mask == 0).mean() > 0.9
    assert BUILDING in capsys.readouterr().err


FAULTS = [
    ("nan-output", "fp16", "NaN or infinity", "--precision fp32"),
    ("wrong-output", "fp16", "does not give the masks of the bundle's golden frame: .*200.0.% RMS", "--force"),
    ("fp32-engine", "fp16", "built no fp16 layer", "--force"),
    ("fp32-engine", "int8", "built no int8 layer", "--force"),
]


@pytest.mark.parametrize("version", ["8.2", "10.3.0"])
@pytest.mark.parametrize("fault, precision, message, fix", FAULTS, ids=[row[0] + "-" + row[1] for row in FAULTS])
def test_a_bad_engine_is_neither_run_nor_kept(board, fault, precision, message, fix, version):
    path = board(version, {"EDGESEG_DOUBLE_FAULTS": fault}, precision=precision)
    with pytest.raises(edgeseg.CheckFailed, match=message) as caught:
        edgeseg.Segmenter(path, "tensorrt")
    assert fix in caught.value.fix
    assert glob.glob(os.path.join(os.environ["EDGESEG_CACHE"], "*.engine")) == []


def test_a_golden_frame_of_another_network(board):
    path = board()
    bundle = read_bundle(path)
    golden = unpack_golden(bundle.payloads["golden"])
    for other, error in (
        (Golden(golden.image, golden.logits[..., ::-1]), edgeseg.CheckFailed),
        (Golden(golden.image, golden.logits[:4]), edgeseg.BundleError),
        (Golden(golden.image[:32], golden.logits), edgeseg.BundleError),
    ):
        spoilt = bundle._replace(payloads=dict(bundle.payloads, golden=pack_golden(other)))
        with pytest.raises(error, match="golden frame"):
            edgeseg.Segmenter(spoilt, "tensorrt")
    spoilt = bundle._replace(payloads=dict(bundle.payloads, golden=b"PK"))
    with pytest.raises(edgeseg.BundleError, match="golden frame is damaged"):
        edgeseg.Segmenter(spoilt, "tensorrt")


@pytest.mark.parametrize("is_built", [False, True])
@pytest.mark.parametrize("part", ["input", "output"])
def test_a_manifest_that_lies_about_the_tensors(board, painting, part, is_built):
    bundle = read_bundle(board())
    if is_built:
        run(bundle, painting[0])
    tensor = getattr(bundle.manifest, part)
    lie = bundle.manifest._replace(**{part: tensor._replace(dtype="int8", shape=tensor.shape[:3] + (7,))})
    with pytest.raises(edgeseg.BundleError, match="the manifest says"):
        edgeseg.Segmenter(bundle._replace(manifest=lie), "tensorrt")


@pytest.fixture
def closed(monkeypatch):
    """What is closed, in order; "engine" only where it was open."""
    from edgeseg.trt.cudart import CudartMemory
    from edgeseg.trt.engine import Engine

    order = []

    def recording(kind, name):
        close = kind.close

        def record(self):
            if getattr(self, "_context", self):
                order.append(name)
            close(self)

        monkeypatch.setattr(kind, "close", record)

    recording(Engine, "engine")
    recording(CudartMemory, "memory")
    return order


def test_engines_are_closed_before_the_memory(board, painting, closed, monkeypatch):
    bundle = read_bundle(board())
    run(bundle, painting[0])
    assert closed == ["engine", "memory"]
    shorter = bundle.manifest._replace(output=bundle.manifest.output._replace(shape=(1, 8, 12, 7)))
    for wrong, fault in ((bundle._replace(manifest=shorter), ""), (bundle, "nan-output"), (bundle, "execute-fails")):
        monkeypatch.setenv("EDGESEG_DOUBLE_FAULTS", fault)
        if fault:
            shutil.rmtree(os.environ["EDGESEG_CACHE"], ignore_errors=True)
        del closed[:]
        with pytest.raises(edgeseg.EdgesegError):
            edgeseg.Segmenter(wrong, "tensorrt")
        assert closed == ["engine", "memory"]


def test_a_folder_that_cannot_be_written_is_a_warning(board, painting, monkeypatch, tmp_path, capsys):
    path = board()
    wanted = run(path, painting[0])
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGESEG_CACHE", str(tmp_path / "file" / "engines"))  # refused to root too
    capsys.readouterr()
    assert np.array_equal(run(path, painting[0]).mask, wanted.mask)
    told = capsys.readouterr().err
    assert "warning: engines cannot be kept in" in told and "EDGESEG_CACHE=FOLDER" in told and BUILDING in told
    run(path, painting[0])
    assert BUILDING not in capsys.readouterr().err  # a second Segmenter of this process takes the first one's engine


def test_a_folder_that_may_only_be_read_serves_its_engines(board, painting, monkeypatch, capsys):
    path = board()
    run(path, painting[0])
    capsys.readouterr()
    monkeypatch.setattr("edgeseg.trt.cache.EngineCache.prepare", None)  # not reached, so nothing is written
    monkeypatch.setattr("edgeseg.trt.cache.EngineCache.locked", None)
    run(path, painting[0])
    assert capsys.readouterr().err == ""


ONE_FRAME = """
import sys
import numpy as np
import edgeseg
{before}
with edgeseg.Segmenter(sys.argv[1], "tensorrt") as segmenter:
    print(segmenter(np.zeros((64, 96, 3), np.uint8)).mask.shape)
"""


def start(path, environment, before=""):
    command = [sys.executable, "-c", ONE_FRAME.format(before=before), path]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True
    )


def test_a_disk_that_fills_up_is_a_warning(board, double):
    path = board()
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    process = start(path, double("8.5.2"), limit)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "(64, 96)\n"), errors
    assert "warning: the engine was built, but could not be kept: disk full" in errors
    assert [name for name in os.listdir(os.environ["EDGESEG_CACHE"]) if name != ".lock"] == []


def test_two_processes_at_once_build_one_engine(board, double):
    path = board()
    environment = double("8.5.2", EDGESEG_DOUBLE_FAULTS="slow-build=2")
    processes = [start(path, environment) for _ in range(2)]
    told = ""
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, "(64, 96)\n"), errors
        told += errors
    assert told.count(BUILDING + " of") == 1 and told.count("waiting for another process") == 1
    engine_of(path)


@pytest.mark.parametrize("version", ["8.5.2", "10.3.0"])
def test_ctrl_c_while_it_builds(board, double, version):
    path = board(version)
    environment = dict(double(version, EDGESEG_DOUBLE_FAULTS="slow-build=300"), PYTHONUNBUFFERED="1")
    command = [sys.executable, "-m", "edgeseg", "run", path, "--camera", "pattern:96x64", "--device", "tensorrt"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, universal_newlines=True)
    assert process.stderr is not None
    assert any(BUILDING in line for line in iter(process.stderr.readline, ""))
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130 and "interrupted" in errors and "Traceback" not in errors
    assert [name for name in os.listdir(os.environ["EDGESEG_CACHE"]) if name != ".lock"] == []


def test_opened_in_one_thread_called_in_another(board, painting):
    path = board()
    opened, results = [], []
    work = [
        lambda: opened.append(edgeseg.Segmenter(path, "tensorrt")),
        lambda: results.append(opened[0](painting[0], "rgb")),
        lambda: results.append(opened[0](painting[0], "rgb")),
    ]
    for step in work:
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
    assert len(results) == 2 and np.array_equal(results[0].mask, results[1].mask)
    opened[0].close()


@pytest.mark.parametrize("version", VERSIONS)
def test_no_gpu(board, version):
    path = board(version, {"STUB_CUDA_ERROR": "35"})
    with pytest.raises(edgeseg.EnvironmentFault, match="driver") as caught:
        edgeseg.Segmenter(path, "tensorrt")
    assert caught.value.fix and caught.value.exit_code == 3


def test_too_little_memory_is_said_before_the_build(board, monkeypatch, capsys):
    path = board()
    monkeypatch.setattr("edgeseg.trt.budget.read_ram", lambda root: None)
    monkeypatch.setenv("STUB_CUDA_FREE_BYTES", str(100 << 20))
    with pytest.raises(edgeseg.EnvironmentFault, match="100 MiB of memory are free"):
        edgeseg.Segmenter(path, "tensorrt")
    assert BUILDING not in capsys.readouterr().err
    shutil.rmtree(os.environ["EDGESEG_CACHE"])


def test_a_mutated_network_is_refused_or_recognised(board):
    """Networks with a flipped bit, as after a mistake of an exporter: refused, or caught by the golden frame."""
    bundle = read_bundle(board())
    golden = unpack_golden(bundle.payloads["golden"])
    random = np.random.RandomState(1)
    refused = 0
    for _ in range(40):
        onnx = bytearray(bundle.payloads["onnx"])
        onnx[random.randint(len(onnx))] ^= 1 << random.randint(8)
        mutated = bundle._replace(payloads=dict(bundle.payloads, onnx=bytes(onnx)))
        try:
            with contextlib.closing(edgeseg.Segmenter(mutated, "tensorrt")) as segmenter:
                logits, _ = segmenter.logits(golden.image, "rgb")
                error = np.square(logits - golden.logits).mean() / np.square(golden.logits).mean()
                assert error < 0.05**2  # a flip that does not matter
        except edgeseg.EdgesegError as fault:
            assert fault.fix and fault.exit_code in (1, 3, 4)
            refused += 1
    assert refused > 10
