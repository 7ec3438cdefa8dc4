"""What is asked of each TensorRT for each bundle, and what is refused before it would fail."""

import os

import numpy as np
import pytest

from edgeseg.bundle import read_bundle
from edgeseg.errors import BundleError, EdgesegError, EnvironmentFault, UsageError
from edgeseg.trt.budget import available_bytes, workspace_bytes
from edgeseg.trt.build import build
from edgeseg.trt.memory import Gpu, Memory
from edgeseg.trt.progress import Progress
from edgeseg.trt.provide import open_session
from edgeseg.trt.recipe import read_recipe

VERSIONS = ("8.2", "8.5.2", "8.6.1", "10.3.0", "11.4.0")
WITH_FLAGS = VERSIONS[:-1]  # until 11.0 took the precision flags away
RANGES = {"pixels": 255.0, "planes": 255.0, "cells": 255.0, "scores": 2.5}


@pytest.fixture
def built(double, cuda_stub, make_jetson_bundle):
    """Function (version, recipe changes) -> (what the double was asked for, what was built)."""
    sessions = []

    def make(version, timing=b"", progress=None, environment=None, **changes):
        double(version, **(environment or {}))
        path = make_jetson_bundle(precision="fp32", dtype="float32" if version == "8.2" else "uint8")
        recipe = read_recipe(read_bundle(path))._replace(**changes)
        session = open_session()
        sessions.append(session)
        with session.memory.active():
            made = build(session.trt, session.log, recipe, 300 << 20, timing, progress or Progress())
        assert session.log.take_errors() == []
        from tensorrt import _plan

        return _plan.read_plan(made.plan)[0], made

    yield make
    for session in sessions:
        session.close()


@pytest.mark.parametrize("version", WITH_FLAGS)
def test_precision_flags(built, version):
    assert not {"FP16", "INT8"} & set(built(version, precision="fp32")[0]["flags"])
    assert {"FP16", "INT8"} & set(built(version, precision="fp16")[0]["flags"]) == {"FP16"}
    assert {"FP16", "INT8"} <= set(built(version, precision="int8")[0]["flags"])  # for what is not quantised


@pytest.mark.parametrize("version", VERSIONS)
def test_weights_of_the_pattern_2_4_may_be_skipped(built, version):
    assert "SPARSE_WEIGHTS" not in built(version)[0]["flags"]
    assert "SPARSE_WEIGHTS" in built(version, sparse=True)[0]["flags"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_build(built, version):
    about, made = built(version)
    assert about["workspace"] == 300 << 20
    assert about["profiling_verbosity"] == "DETAILED"
    assert about["strongly_typed"] == (version not in WITH_FLAGS)
    assert about["device"] == "GPU" and about["optimization_level"] == 3
    assert type(made.plan) is bytes and type(made.timing) is bytes


@pytest.mark.parametrize("version", WITH_FLAGS)
@pytest.mark.parametrize("core", [0, 1])
def test_dla(built, version, core):
    about = built(version, precision="fp16", dla=core)[0]
    assert (about["device"], about["dla_core"]) == ("DLA", core)
    assert {"GPU_FALLBACK", "FP16"} <= set(about["flags"]) and not about["dynamic_ranges"]
    about = built(version, precision="int8", dla=core, ranges=RANGES)[0]
    assert {"GPU_FALLBACK", "FP16", "INT8"} <= set(about["flags"])
    assert about["dynamic_ranges"] == {name: [-limit, limit] for name, limit in RANGES.items()}


@pytest.mark.parametrize("version", WITH_FLAGS)
def test_what_int8_would_spoil_on_a_dla_stays_in_float(built, version):
    ranges = dict(RANGES, scores=None)
    about = built(version, precision="int8", dla=0, ranges=ranges)[0]
    assert set(about["dynamic_ranges"]) == set(ranges) - {"scores"}
    assert "PREFER_PRECISION_CONSTRAINTS" in about["flags"]
    (layer,) = [layer for layer in about["layers"] if "scores" in layer["outputs"]]
    assert layer["precision"] == "HALF"
    assert [other["outputs"] for other in about["layers"] if other["precision_is_set"]] == [layer["outputs"]]
    about = built(version, precision="int8", dla=0, ranges=RANGES)[0]
    assert "PREFER_PRECISION_CONSTRAINTS" not in about["flags"]


REFUSALS = [
    ("no such DLA", {"dla": 2, "precision": "fp16"}, "8.5.2", {}, "DLA core 2; .* has 2", "another --dla"),
    ("no DLA", {"dla": 0, "precision": "fp16"}, "8.2", {"STUB_CUDA_CAPABILITY": "62"}, "has 0", "another --dla"),
    ("DLA in fp32", {"dla": 0, "precision": "fp32"}, "10.3.0", {}, "fp16 or int8", "--precision fp16"),
    (
        "int8 on TX2",
        {"precision": "int8"},
        "8.2",
        {"STUB_CUDA_CAPABILITY": "62"},
        "no instructions",
        "--precision fp16",
    ),
    (
        "int8 on Nano",
        {"precision": "int8"},
        "8.2",
        {"STUB_CUDA_CAPABILITY": "53"},
        "no instructions",
        "--precision fp16",
    ),
    (
        "fp16 on a GTX 1080",
        {"precision": "fp16"},
        "8.6.1",
        {"STUB_CUDA_CAPABILITY": "61"},
        "no instr",
        "--precision fp32",
    ),
    ("uint8 pixels", {"input_dtype": "uint8"}, "8.2", {}, "uint8 pixels, which TensorRT 8.2", "--target tx2"),
    ("float graph on 11", {"precision": "fp16"}, "11.4.0", {}, "no fp16 tensors", "--target orin --precision fp16"),
    ("graph without Q/DQ on 11", {"precision": "int8"}, "11.4.0", {}, "no int8 tensors", "--precision int8"),
    ("ranges on 11", {"precision": "int8", "ranges": RANGES}, "11.4.0", {}, "no longer takes", "--precision fp16"),
    ("ranges of strangers", {"precision": "int8", "ranges": {"x9": 1.0}}, "8.5.2", {}, "does not have: x9", "again"),
]


@pytest.mark.parametrize(
    "changes, version, environment, message, fix", [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS]
)
def test_refused_before_tensorrt_fails(built, changes, version, environment, message, fix):
    with pytest.raises(BundleError, match=message) as caught:
        built(version, environment=environment, **changes)
    assert fix in caught.value.fix


def test_float16_graph_on_tensorrt_11(built):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    kernel = numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float16), "kernel")
    nodes = [
        helper.make_node("Cast", ["image"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["half", "kernel"], ["scores"]),
        helper.make_node("Cast", ["scores"], ["logits"], to=TensorProto.FLOAT),
    ]
    ends = [
        helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 3, 4, 4]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2, 4, 4]),
    ]
    graph = helper.make_graph(nodes, "half", ends[:1], ends[1:], [kernel])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 7
    onnx.checker.check_model(model)
    about = built("11.4.0", precision="fp16", onnx=model.SerializeToString())[0]
    assert about["strongly_typed"] and "HALF" in [layer["precision"] for layer in about["layers"]]


@pytest.mark.parametrize("version", VERSIONS)
def test_networks_that_tensorrt_cannot_read(built, version):
    for onnx in (b"not an ONNX file", b"\x08\x07"):
        with pytest.raises(BundleError, match=r"cannot read the network of .*edgeseg\n  Failed to parse") as caught:
            built(version, onnx=onnx)
        assert "edgeseg inspect" in caught.value.fix and "TensorRT: " in caught.value.message


@pytest.mark.parametrize("version", VERSIONS)
def test_an_operator_that_tensorrt_does_not_have_is_named(built, version):
    with pytest.raises(BundleError, match="Xonv"):
        built(version, onnx=graph_of(built, version).replace(b"\x22\x04Conv", b"\x22\x04Xonv"))


def graph_of(built, version):
    """The ONNX bytes of the test bundle."""
    _, made = built(version)
    from tensorrt import _plan

    return _plan.read_plan(made.plan)[1]


def test_mutated_networks_never_crash(built):
    """Each is refused as ours, or built; what it then computes is for the golden frame to judge."""
    onnx = graph_of(built, "8.5.2")
    random = np.random.RandomState(0)
    outcomes = {"refused": 0, "built": 0}
    for _ in range(60):
        mutated = bytearray(onnx)
        mutated[random.randint(len(mutated))] ^= 1 << random.randint(8)
        try:
            built("8.5.2", onnx=bytes(mutated))
            outcomes["built"] += 1
        except EdgesegError as error:
            assert error.fix and error.exit_code in (3, 4)
            outcomes["refused"] += 1
    assert outcomes["refused"] > 10 and outcomes["built"] > 10, outcomes


@pytest.mark.parametrize("version", VERSIONS)
def test_measured_times_are_used_again(built, version):
    first = built(version)[1]
    assert built(version, timing=first.timing)[1].timing == first.timing
    if version in WITH_FLAGS:  # other kernels: those that were measured before are still there
        alone = built(version, precision="fp16")[1].timing
        assert built(version, precision="fp16", timing=first.timing)[1].timing not in (alone, first.timing)
    for useless in (b"damaged", first.timing[:-7], first.timing[::-1]):
        assert built(version, timing=useless)[1].timing == first.timing  # and no error is left in the log
    other = VERSIONS[VERSIONS.index(version) - 1]
    assert built(other, timing=first.timing)[1].timing != first.timing


@pytest.mark.parametrize("version", VERSIONS)
def test_a_failed_build_says_what_tensorrt_logged(built, version):
    with pytest.raises(EnvironmentFault, match=r"could not build an engine of .*edgeseg") as caught:
        built(version, environment={"EDGESEG_DOUBLE_FAULTS": "build-fails"})
    assert "OutOfMemory" in caught.value.message and "Could not find any implementation" in caught.value.message
    assert "--workspace" in caught.value.fix


class Listener(Progress):
    """A progress that remembers."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def step(self, phase, step):
        super().step(phase, step)
        self.heard.append(self.text)


@pytest.mark.parametrize("version", VERSIONS)
def test_phases_are_heard_where_tensorrt_tells(built, version):
    progress = Listener()
    built(version, progress=progress)
    if version in ("10.3.0", "11.4.0"):
        assert progress.heard[0] == "Building Engine 1/10" and progress.heard[-1] == "Building Engine 10/10"
    else:
        assert progress.heard == []
    assert progress.text == ""


def test_a_build_that_is_told_to_stop_ends(built):
    progress = Listener()
    progress.cancelled = True
    with pytest.raises(EnvironmentFault):
        built("10.3.0", progress=progress, environment={"EDGESEG_DOUBLE_FAULTS": "slow-build=1"})
    assert len(progress.heard) == 1


class ABoard(Memory):
    """The memory of a board, for the rules on workspace."""

    def __init__(self, free_mib, total_mib, integrated=True):
        super().__init__()
        self.free_mib = free_mib
        self.gpu = Gpu((5, 3), 1, integrated, total_mib << 20, "a board")

    def free_bytes(self):
        return self.free_mib << 20


@pytest.fixture
def linux(tmp_path):
    """Function (MiB available, lines of swaps) -> a folder with proc/meminfo and proc/swaps."""

    def make(available, *swaps):
        (tmp_path / "proc").mkdir(exist_ok=True)
        text = "MemTotal: {} kB\nMemFree: 1000 kB\nMemAvailable: {} kB\nSwapTotal: {} kB\n"
        total = sum(mib for _, mib in swaps) << 10
        (tmp_path / "proc" / "meminfo").write_text(text.format(8 << 20, available << 10, total))
        rows = ["{} partition {} 0 -1".format(name, mib << 10) for name, mib in swaps]
        (tmp_path / "proc" / "swaps").write_text("\n".join(["Filename Type Size Used Priority"] + rows) + "\n")
        return str(tmp_path)

    return make


def test_what_is_free(linux):
    assert available_bytes(ABoard(200, 4000), linux(900)) == 900 << 20  # one DRAM: what Linux can give back counts
    assert available_bytes(ABoard(200, 4000, False), linux(900)) == 200 << 20
    assert available_bytes(ABoard(9000, 12000, False), linux(900)) == 900 << 20
    assert available_bytes(ABoard(200, 4000), linux(900, ("/dev/zram0", 500), ("/swapfile", 2000))) == 2900 << 20
    assert available_bytes(ABoard(200, 4000), os.path.join(linux(900), "nowhere")) == 200 << 20


@pytest.mark.parametrize(
    "free, total, workspace",
    [(3000, 3956, 256), (513, 3956, 256), (6000, 7800, 1024), (900, 7800, 450), (30000, 31000, 1024)],
)
def test_workspace_that_suits_the_board(monkeypatch, free, total, workspace):
    monkeypatch.setattr("edgeseg.trt.budget.read_ram", lambda root: None)
    assert workspace_bytes(ABoard(free, total)) >> 20 == workspace


def test_too_little_memory(monkeypatch):
    monkeypatch.setattr("edgeseg.trt.budget.read_ram", lambda root: None)
    with pytest.raises(EnvironmentFault, match="400 MiB of memory are free, a TensorRT build needs 512 MiB") as caught:
        workspace_bytes(ABoard(400, 3956))
    assert "swap file" in caught.value.fix and "multi-user" in caught.value.fix and "zram" in caught.value.fix
    assert workspace_bytes(ABoard(3000, 3956), 2000 << 20) == 2000 << 20
    with pytest.raises(UsageError, match="4000 MiB is more than the 3000 MiB"):
        workspace_bytes(ABoard(3000, 3956), 4000 << 20)


def test_recipe_of_a_bundle(bundles, make_jetson_bundle):
    with pytest.raises(UsageError, match="for target cpu"):
        read_recipe(read_bundle(os.path.join(bundles, "onnx.edgeseg")))
    bundle = read_bundle(
        make_jetson_bundle(precision="int8", dla=1, extra={"activation-ranges": b'{"planes": 2, "scores": null}'})
    )
    recipe = read_recipe(bundle)
    assert (recipe.precision, recipe.dla, recipe.ranges) == ("int8", 1, {"planes": 2.0, "scores": None})
    assert not recipe.sparse
    for wrong in (b"", b"[]", b"{}", b'{"planes": 0}', b'{"planes": -1}', b'{"planes": "2"}', b'{"planes": NaN}', b"{"):
        with pytest.raises(BundleError, match="activation ranges"):
            read_recipe(bundle._replace(payloads=dict(bundle.payloads, **{"activation-ranges": wrong})))
    for role in ("onnx", "golden", "activation-ranges"):
        rest = {name: data for name, data in bundle.payloads.items() if name != role}
        with pytest.raises(BundleError, match=role.replace("-", " ")):
            read_recipe(bundle._replace(payloads=rest))
