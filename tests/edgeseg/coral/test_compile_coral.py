"""`edgeseg compile` of a bundle for Coral, as a user meets it: report, exit codes, messages, the bundle after it."""

import json
import os
import signal
import subprocess
import sys

import pytest

from edgeseg.bundle import payload_info, read_bundle, write_bundle
from edgeseg.cli import main
from edgeseg.coral.package import read_packages
from edgeseg.manifest import TargetInfo
from edgeseg.tflite.model import read_tflite


@pytest.fixture
def bundle(bundles, tmp_path):
    """A bundle for Coral that is not compiled, verified by another file's."""
    source = read_bundle(os.path.join(str(bundles), "int8.edgeseg"))
    manifest = source.manifest._replace(target=TargetInfo("coral", "edgetpu", "int8"), verification={"agreement": 1.0})
    path = str(tmp_path / "coral.edgeseg")
    write_bundle(path, manifest, source.payloads)
    return path


@pytest.fixture
def compile_(bundle, capsys):
    """Function (arguments, code=0) -> (standard output, standard error) of `edgeseg compile` on the bundle."""

    def run(*arguments, code=0):
        capsys.readouterr()
        assert main(["compile", bundle] + list(arguments)) == code
        return capsys.readouterr()

    return run


def content(path):
    with open(path, "rb") as file:
        return file.read()


def test_the_bundle_gets_the_compiled_file(compile_, bundle, edgetpu_compiler):
    before = read_bundle(bundle)
    out, err = compile_()
    assert err == "edgeseg: compiling with Edge TPU compiler 16.0.384591198 (PATH)\n"
    lines = out.splitlines()
    assert lines[0] == bundle + ": compiled for the Edge TPU"
    assert lines[1].startswith("compiled by Edge TPU compiler 16.0.384591198 (PATH) in ")
    assert lines[2] == "operators: 3 of 3 on the Edge TPU, in 1 subgraph(s)"
    assert lines[3] == "parameters: 0.00 MB cached on chip, 0.00 MB streamed at each inference"
    assert lines[4] == "needs Edge TPU runtime 14 or later"
    after = read_bundle(bundle)
    assert after.payloads["tflite"] == before.payloads["tflite"]
    assert len(read_packages(read_tflite(after.payloads["edgetpu"]))) == 1
    assert [(info.role, info.path) for info in after.manifest.payloads][1:] == [("edgetpu", "network_edgetpu.tflite")]
    assert after.manifest.compilation and after.manifest.compilation["min_runtime"] == 14
    assert after.manifest.verification is None
    same = after.manifest._replace(
        payloads=before.manifest.payloads, compilation=None, verification=before.manifest.verification
    )
    assert same == before.manifest


def test_what_is_compiled_stays_so(compile_, bundle, edgetpu_compiler):
    compile_()
    before = content(bundle)
    edgetpu_compiler("large-activations")  # is not asked
    out, err = compile_()
    assert "compiled for the Edge TPU already; --force compiles anew" in out and "3 of 3" in out and err == ""
    assert json.loads(compile_("--json").out)["compiled_now"] is False
    assert content(bundle) == before
    assert "activations are too large" in compile_("--force", code=1).err
    assert content(bundle) == before
    runs = edgetpu_compiler()
    count = len(runs.read_text().splitlines())
    assert json.loads(compile_("--force", "--json").out)["compiled_now"] is True
    assert len(runs.read_text().splitlines()) == count + 2  # version, model
    assert len(read_bundle(bundle).manifest.payloads) == 2


def test_json(compile_, bundle, edgetpu_compiler):
    report = json.loads(compile_("--json").out)
    kept = read_bundle(bundle).manifest.compilation
    assert dict(kept or {}, bundle=bundle, compiled_now=True) == report and kept


def test_a_partial_result_only_on_request(compile_, bundle, edgetpu_compiler):
    edgetpu_compiler("partial:1")
    before = content(bundle)
    error = compile_(code=1).err
    assert "1 x CONV_2D: Operation is otherwise supported" in error and "--allow-partial" in error
    assert content(bundle) == before
    out = compile_("--allow-partial").out
    assert "operators: 2 of 3 on the Edge TPU" in out and "  on the CPU: 1 x CONV_2D: Operation is" in out


def test_without_a_compiler(compile_, bundle, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("EDGETPU_COMPILER", "EDGETPU_COMPILER_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    before = content(bundle)
    out, err = compile_(code=3)
    assert "there is no Edge TPU compiler here" in err and "fix: " in err and "edgetpu-compiler" in err and out == ""
    assert content(bundle) == before


def test_options_of_a_jetson(compile_, edgetpu_compiler):
    assert "--workspace is for bundles of a Jetson" in compile_("--workspace", "64", code=2).err


def test_other_bundles(bundles, bundle, capsys, tmp_path):
    for_cpu = os.path.join(str(bundles), "int8.edgeseg")
    assert main(["compile", for_cpu]) == 2 and "is for target cpu" in capsys.readouterr().err
    assert main(["compile", str(tmp_path / "no.edgeseg")]) == 2
    damaged = tmp_path / "damaged.edgeseg"
    damaged.write_bytes(content(bundle)[:-100])
    assert main(["compile", str(damaged)]) == 4


def test_a_bundle_whose_file_was_compiled_elsewhere(compile_, bundle, edgetpu_compiler):
    """It may hold nothing else, and no report."""
    compile_()
    made = read_bundle(bundle)
    payload = made.payloads["edgetpu"]
    infos = (payload_info("edgetpu", "network_edgetpu.tflite", payload),)
    write_bundle(bundle, made.manifest._replace(payloads=infos, compilation=None), {"edgetpu": payload})
    assert compile_().out == bundle + ": compiled for the Edge TPU already; --force compiles anew\n"
    assert json.loads(compile_("--json").out) == {"bundle": bundle, "compiled_now": False}
    assert "holds no tflite payload" in compile_("--force", code=4).err


def test_a_link_stays_a_link(bundle, edgetpu_compiler, tmp_path):
    link = tmp_path / "link.edgeseg"
    link.symlink_to(bundle)
    assert main(["compile", str(link)]) == 0
    assert link.is_symlink() and "edgetpu" in read_bundle(bundle).payloads


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_said_before_the_work(compile_, bundle, edgetpu_compiler, tmp_path):
    os.chmod(str(tmp_path), 0o555)
    try:
        assert "cannot be written" in compile_(code=3).err
    finally:
        os.chmod(str(tmp_path), 0o755)
    assert not edgetpu_compiler().exists()


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_the_compiler(bundle, edgetpu_compiler, wait_for_process, tmp_path, number, code):
    runs = edgetpu_compiler("hang")
    (tmp_path / "scratch").mkdir()
    before = content(bundle)
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeseg", "compile", bundle],
        env=dict(os.environ, TMPDIR=str(tmp_path / "scratch")),
        stderr=subprocess.PIPE,
    )
    child = "time.sleep(100)\0" + str(runs)
    wait_for_process(child, there=True)
    assert os.listdir(str(tmp_path / "scratch"))
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code and b"Traceback" not in err
    wait_for_process(child, there=False)
    assert os.listdir(str(tmp_path / "scratch")) == [] and content(bundle) == before
