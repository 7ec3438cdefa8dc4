"""The Edge TPU's child process: it computes what the file says, and its errors become words with a remedy."""

import os

import numpy as np
import pytest
from compiled import compiled_file

from edgeseg.backends import BACKENDS, available_package, open_backend
from edgeseg.bundle import read_bundle
from edgeseg.coral.child import explain
from edgeseg.errors import EnvironmentFault
from edgeseg.worker.process import Job
from edgeseg.worker.shared import TensorSpec
from edgeseg.worker.supervisor import Limits, Worker


@pytest.mark.parametrize(
    ("said", "meaning", "fix"),
    [
        (
            "Failed to prepare for TPU. Failed precondition: Package requires runtime version (14), which is newer "
            "than this runtime version (13).Node number 0 (EdgeTpuDelegateForCustomOp) failed to prepare.",
            "compiled for a newer libedgetpu",
            "edgetpu_compiler --min_runtime_version",
        ),
        (
            "Unsupported data type in custom op handler: 6Node number 0 (EdgeTpuDelegateForCustomOp) failed to "
            "prepare.",
            "built for another TensorFlow Lite",
            "edgeseg doctor",
        ),
        (
            "Encountered unresolved custom op: edgetpu-custom-op.\nSee instructions: "
            "https://www.tensorflow.org/lite/guide/ops_custom Node number 0 (edgetpu-custom-op) failed to prepare.",
            "built for another TensorFlow Lite",
            "edgeseg doctor",
        ),
        (
            "Encountered an unresolved custom op. Did you miss a custom op or delegate?Node number 9 "
            "(EdgeTpuDelegateForCustomOp) failed to invoke.",
            "built for another TensorFlow Lite",
            "edgeseg doctor",
        ),
        (
            "Failed to retrieve TPU context.Node number 0 failed to prepare.",
            "has lost the Edge TPU",
            "plug it in again",
        ),
        ("Custom op already assigned to a different TPU.", "several Edge TPUs", "--device :0"),
        (
            "Failed to execute request. Node number 0 (EdgeTpuDelegateForCustomOp) failed to invoke.",
            "the Edge TPU failed",
            "plug it in again",
        ),
        (
            "Didn't find op for builtin opcode 'RESIZE_BILINEAR' version '4'.\nRegistration failed.\n",
            "newer than this interpreter",
            "pip install -U ai-edge-litert",
        ),
        (
            "libusb-1.0.so.0: cannot open shared object file: No such file or directory",
            "cannot be loaded",
            "apt install libusb-1.0-0",
        ),
        ("something new", "does not run with libedgetpu", "edgeseg doctor"),
    ],
)
def test_what_libedgetpu_says(said, meaning, fix):
    fault = explain(said, "")
    assert isinstance(fault, EnvironmentFault)
    assert meaning in fault.message and fault.message.endswith(" ".join(said.split())) and fix in fault.fix


def test_what_it_does_not_say_is_looked_for(monkeypatch):
    monkeypatch.setattr("edgeseg.coral.child.explain_no_device", lambda name: EnvironmentFault(str(name), "look"))
    assert explain("Failed to load delegate from /usr/lib/libedgetpu.so.1\n", "usb:1").message == "usb:1"


@pytest.fixture
def bundle(bundles):
    found = read_bundle(os.path.join(bundles, "int8.edgeseg"))
    if available_package(BACKENDS[0]) not in ("ai_edge_litert", "tflite_runtime"):
        pytest.skip("no interpreter that loads delegates")
    return found


@pytest.fixture
def open_tpu(bundle, libedgetpu, monkeypatch, tmp_path):
    """Function (faults, **options) -> a Worker with the double of an Edge TPU; the first inference is its warm-up."""
    workers = []

    def make(faults="", **changed):
        monkeypatch.setenv("EDGETPU_DOUBLE_FAULTS", faults)
        monkeypatch.setenv("EDGETPU_DOUBLE_EVENTS", str(tmp_path))
        options = {"package": available_package(BACKENDS[0]), "library": libedgetpu, "delegate": {}}
        options.update({"device": "", "threads": 1}, **changed)
        source, sink = bundle.manifest.input, bundle.manifest.output
        specs = TensorSpec(source.shape, source.dtype), TensorSpec(sink.shape, sink.dtype)
        job = Job("edgeseg.coral.child:EdgeTpu", options, compiled_file(bundle.payloads["tflite"]), *specs)
        workers.append(Worker("the Edge TPU", job, "mend it", Limits(infer_s=10.0, pause_s=0.01, attempts=2)))
        return workers[-1]

    yield make
    for worker in workers:
        worker.close()


def test_it_computes_what_the_cpu_does(open_tpu, bundle, painting):
    worker, cpu = open_tpu(), open_backend(bundle, "tflite")
    assert worker.found == {"input": [[1, 64, 96, 3], "uint8"], "output": [[1, 8, 12, 11], "int8"]}
    for image in (painting[0], painting[0][::-1]):
        worker.input[0] = image
        cpu.input()[0] = image
        assert np.array_equal(worker.infer(), cpu.infer())
    assert worker.counters == (2, 0, 0, "")


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        ("invoke:error@3", "reported: the Edge TPU failed: "),
        ("invoke:abort@3", "was ended by SIGABRT (F driver/usb/usb_driver.cc"),
        ("invoke:crash@3", "was ended by SIGSEGV"),
    ],
)
def test_a_fault_of_the_tpu_costs_time_and_nothing_else(faults, told, open_tpu, bundle, painting):
    worker, cpu = open_tpu(faults), open_backend(bundle, "tflite")
    for shift in range(4):
        worker.input[0] = cpu.input()[0] = np.roll(painting[0], shift, axis=1)
        assert np.array_equal(worker.infer(), cpu.infer())
    assert worker.counters[:3] == (4, 1, 1) and worker.counters.last_fault.startswith(told)


def test_a_tpu_that_is_pulled_out(open_tpu):
    worker = open_tpu("invoke:abort@2 open:error@2")
    with pytest.raises(EnvironmentFault) as caught:
        worker.infer()
    assert "failed 2 times on one frame" in caught.value.message
    assert "no Edge TPU is attached" in caught.value.message and caught.value.fix.endswith("; or mend it")


@pytest.mark.parametrize(
    ("faults", "meaning"),
    [("open:error", "no Edge TPU is attached"), ("prepare:error", "has lost the Edge TPU"), ("open:abort", "SIGABRT")],
)
def test_a_tpu_that_cannot_be_opened(faults, meaning, open_tpu):
    with pytest.raises(EnvironmentFault, match=meaning):
        open_tpu(faults)


def test_a_library_that_is_not_there(open_tpu):
    with pytest.raises(EnvironmentFault, match="cannot be loaded"):
        open_tpu(library="/nowhere/libedgetpu.so.1")
