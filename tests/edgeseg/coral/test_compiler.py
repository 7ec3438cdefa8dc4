"""Running the Edge TPU compiler: what is taken as success, what each failure becomes, that nothing is left behind."""

import os
import re

import pytest

from edgeseg.bundle import read_bundle
from edgeseg.coral import compiler as module
from edgeseg.coral.compiler import CompilationFailed, compile_tflite
from edgeseg.coral.compiler_tool import Compiler
from edgeseg.coral.package import read_packages, split
from edgeseg.errors import BundleError, EnvironmentFault
from edgeseg.tflite.model import read_tflite


@pytest.fixture
def network(bundles):
    """A full-integer .tflite file of three operators."""
    return read_bundle(os.path.join(str(bundles), "int8.edgeseg")).payloads["tflite"]


@pytest.fixture
def scratch(monkeypatch, tmp_path):
    """The folder for temporary files, which has to be empty at the end."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield folder
    assert os.listdir(str(folder)) == []


class Run:
    """Call it with (mode="", version="16", ...) for the compilation."""

    def __init__(self, use, network, program):
        self._use, self._network, self._program = use, network, program
        self.said = []  # what was logged
        self.runs = []  # arguments of each run

    def __call__(self, mode="", version="16", **options):
        runs = self._use(mode, version)
        try:
            compiler = Compiler(self._program, "", "PATH", version + ".0")
            return compile_tflite(self._network, compiler, self.said.append, **options)
        finally:
            self.runs = runs.read_text().splitlines() if runs.exists() else []


@pytest.fixture
def run(edgetpu_compiler, scratch, network, tmp_path):
    return Run(edgetpu_compiler, network, str(tmp_path / "compiler" / "edgetpu_compiler"))


def test_success(run, network):
    payload, report = run()
    compiled, model = read_tflite(payload), read_tflite(network)
    assert len(read_packages(compiled)) == 1 and split(compiled).cpu == ()
    assert [compiled.tensors[i].name for i in compiled.inputs] == [model.tensors[i].name for i in model.inputs]
    assert report["compiler"] == "16.0" and report["found"] == "PATH" and report["attempts"] == 1
    assert report["options"] == "--show_operations --timeout_sec 180"
    assert run.runs == ["--show_operations --timeout_sec 180 network.tflite"]
    assert report["bytes"] == len(payload) and report["subgraphs"] == 1 and report["min_runtime"] == 14
    assert report["cached_bytes"] == read_packages(compiled)[0].cached_bytes > 0 and report["streamed_bytes"] == 0
    assert report["on_chip_used_bytes"] == round(3.86 * 2**20) and report["on_chip_free_bytes"] == round(3.83 * 2**20)
    names = [operator.name for operator in model.operators]
    assert {row["operator"]: row["count"] for row in report["operators"]} == {n: names.count(n) for n in names}
    assert {row["status"] for row in report["operators"]} == {"Mapped to Edge TPU"}
    assert run.said == [] and report["seconds"] >= 0


def test_the_log_file_has_the_operators_too(run):
    assert run("no-table").report["operators"] == run().report["operators"]


@pytest.mark.parametrize("version", ["14", "15"])
def test_older_versions_know_no_time_limit(run, version):
    report = run(version=version).report
    assert run.runs == ["--show_operations network.tflite"]
    assert report["min_runtime"] == 13 and report["operators"]


@pytest.mark.parametrize(
    "mode, attempts, message, size_matters",
    [
        ("unparsable", 1, "does not know TRANSPOSE_CONV in version 4", False),
        ("new-operator", 1, "operator number 151", False),
        ("not-quantized", 1, "float tensors", False),
        ("damaged", 1, "cannot parse the file", False),
        ("custom-op", 1, "custom operator FlexErf", False),
        ("dynamic", 1, "dynamic size", False),
        ("interpreter", 1, "cannot run the file", False),
        ("large-activations", 1, "activations are too large", True),
        ("failure-with-code-0", 1, "activations are too large", True),
        ("own-timeout", 1, "gave up at its time limit", True),
        ("internal-error", 3, "internal compiler error", True),
        ("uncaught", 3, "crashed (std::out_of_range: vector)", True),
        ("no-reason", 3, "gave no reason", True),
        ("version-only", 3, "gave no reason", True),
        ("segfault", 3, "crashed with signal 11", True),
        ("killed", 1, "memory runs out", False),
        ("success-with-code-1", 3, "reports success, but ended with exit code 1", True),
        ("unwritable", 1, "could not write its result", False),
        ("no-file", 1, "wrote no file", False),
        ("truncated", 1, "wrote a damaged file", False),
        ("no-custom-op", 1, "mapped nothing", False),
        ("says-partial", 1, "reports 2 operators on the CPU, the file has 0", False),
        ("says-3-subgraphs", 1, "reports 3 Edge TPU subgraphs, the file has 1", False),
    ],
)
def test_failures(run, mode, attempts, message, size_matters):
    with pytest.raises(CompilationFailed) as caught:
        run(mode)
    assert message in caught.value.message and caught.value.fix and caught.value.exit_code == 1
    assert caught.value.size_matters == size_matters
    assert len(run.runs) == attempts and len(run.said) == attempts - 1


def test_the_message_quotes_the_compiler(run):
    with pytest.raises(CompilationFailed) as caught:
        run("large-activations")
    assert "\n  | Compilation failed: Compilation failed due to large activation tensors in model.\n" in str(
        caught.value
    )
    assert "16.0" in caught.value.message and "--imgsz" in caught.value.fix


def test_what_fails_at_random_is_tried_again(run):
    assert run("flaky:2:internal-error").report["attempts"] == 3
    assert len(run.runs) == 3
    assert [text.split(" failed")[0] for text in run.said] == [
        "attempt 1 of 3 to compile",
        "attempt 2 of 3 to compile",
    ]
    assert all("internal compiler error" in text for text in run.said)


def test_operators_on_the_cpu_are_named(run):
    with pytest.raises(CompilationFailed) as caught:
        run("partial:2")
    text = str(caught.value)
    assert "2 operator(s) are left to the CPU" in text and "--allow-partial" in caught.value.fix
    assert re.search(
        r"\n  1 x \w+: Operation is otherwise supported, but not mapped due to some unspecified limit", text
    )
    assert "\n  1 x CONV_2D: More than one subgraph is not supported" in text
    assert caught.value.size_matters  # an unspecified limitation is often one of size


def test_a_partial_result_on_request(run):
    payload, report = run("partial:2", allow_partial=True)
    assert len(split(read_tflite(payload)).cpu) == 2
    assert [row["count"] for row in report["operators"] if row["status"] != "Mapped to Edge TPU"] == [1, 1]


def test_other_inputs_than_those_of_the_network(run, network, monkeypatch):
    monkeypatch.setattr(module, "read_tflite", _with_another_output(network))
    with pytest.raises(CompilationFailed, match="other inputs and outputs"):
        run()


def _with_another_output(network):
    def read(data):
        model = read_tflite(data)
        if data == network:
            tensors = list(model.tensors)
            tensors[model.outputs[0]] = tensors[model.outputs[0]]._replace(zero_point=(7,))
            model = model._replace(tensors=tuple(tensors))
        return model

    return read


def test_a_compiler_that_hangs_is_ended_with_all_that_it_started(run, monkeypatch, wait_for_process, tmp_path):
    monkeypatch.setattr(module, "_MARGIN_SECONDS", 1.0)
    with pytest.raises(CompilationFailed, match="still at work 1 s past its time limit of 1 s") as caught:
        run("hang", timeout=1)
    assert caught.value.size_matters and len(run.runs) == 1
    wait_for_process(str(tmp_path / "runs.txt"), there=False)  # the child of the compiler


@pytest.mark.parametrize(
    "mode, message", [("exec-format", "not a program for this machine"), ("library", "libc++.so.1")]
)
def test_a_compiler_that_cannot_run_here(run, mode, message):
    with pytest.raises(EnvironmentFault, match=re.escape(message)):
        run(mode)


def test_a_file_that_is_no_network(scratch):
    with pytest.raises(BundleError):
        compile_tflite(b"no network", Compiler("/bin/false", "", "PATH", "16.0"), print)


def test_a_full_disk(run, monkeypatch):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(EnvironmentFault, match="disk full"):
            run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
