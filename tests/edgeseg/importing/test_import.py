"""`edgeseg import` as a user meets it: a file that others made, a bundle, masks."""

import collections
import json
import os
import subprocess

import numpy as np
import pytest

import edgeseg
from edgeseg.backends import BACKENDS, available_package
from edgeseg.bundle import read_bundle
from edgeseg.cli import main
from edgeseg.errors import CheckFailed
from edgeseg.importing import trial
from edgeseg.importing.build import ImportRequest, import_model, make_bundle
from edgeseg.importing.output import OutputOptions
from edgeseg.palette import CAMVID

cv2 = pytest.importorskip("cv2")

Run = collections.namedtuple("Run", "returncode stdout stderr")
NAMES = "".join("{} {} {} {}\n".format(c.name, *c.color) for c in CAMVID)


@pytest.fixture
def run(capfd):
    """Function (*arguments) -> exit code, stdout and stderr of `edgeseg import`."""

    def call(*arguments):
        return Run(main(["import"] + [str(a) for a in arguments]), *capfd.readouterr())

    return call


def has_tflite():
    return available_package(next(entry for entry in BACKENDS if entry.name == "tflite")) is not None


needs_tflite = pytest.mark.skipif(not has_tflite(), reason="no runtime for .tflite files")


@pytest.fixture
def foreign(bundles, save):
    """Function (name) -> path of the .tflite file in int8.edgeseg or fp32.edgeseg, as if others had made it."""

    def unpack(name):
        return save(name + ".tflite", read_bundle(os.path.join(bundles, name + ".edgeseg")).payloads["tflite"])

    return unpack


@pytest.fixture
def labels(save):
    return save("labels.txt", NAMES)


@pytest.mark.parametrize("name, told", [("int8", ()), ("fp32", ("--input-range", "-1", "1"))])
def test_what_we_export_is_imported_as_what_it_is(run, foreign, labels, bundles, tmp_path, name, told):
    out = tmp_path / "out.edgeseg"
    done = run(foreign(name), "--labels", labels, "--resize", "half_pixel", "-o", out, *told)
    assert done.returncode == 0, done.stderr
    ours, theirs = (read_bundle(str(p)) for p in (out, os.path.join(bundles, name + ".edgeseg")))
    assert ours.payloads == theirs.payloads and ours.manifest.classes == theirs.manifest.classes
    assert ours.manifest.output == theirs.manifest.output and ours.manifest.target == theirs.manifest.target
    mine, other = ours.manifest.input, theirs.manifest.input
    assert (mine.shape, mine.dtype, mine.color, mine.fit) == (other.shape, other.dtype, other.color, other.fit)
    assert np.allclose((mine.scale, mine.offset), (other.scale, other.offset))
    assert ours.manifest.network[1:] == (1.0, (64, 96), 8, 4 * 11, 8 * 12 * 3 * 11)
    assert "tried on a generated street" in done.stdout or not has_tflite()


@needs_tflite
def test_masks_are_the_classes(foreign, labels, tmp_path, painting):
    image, expected = painting
    out = str(tmp_path / "out.edgeseg")
    request = ImportRequest(foreign("int8"), out, labels, output=OutputOptions(resize="half_pixel"))
    found = import_model(request, lambda text: None)
    assert found.trial.shares and found.trial.milliseconds > 0
    with edgeseg.Segmenter(out, "tflite") as segmenter:
        mask = segmenter(image, "rgb").mask
    assert (mask == expected)[8::16, 8::16].all()


def test_json(run, foreign, labels, tmp_path):
    out = tmp_path / "out.edgeseg"
    done = run(
        foreign("int8"), "--labels", labels, "--resize", "half_pixel", "-o", out, "--json", "--name", "x", "--no-trial"
    )
    report = json.loads(done.stdout)
    assert report["manifest"]["network"]["architecture"] == "x" and report["trial"]["skipped"] == "--no-trial"
    known = report["manifest"]["provenance"]
    assert (known["imported_from"], known["labels"], known["resize"]) == ("int8.tflite", "labels.txt", "--resize")


def test_coral_waits_for_the_compiler(run, foreign, labels, tmp_path):
    out = tmp_path / "out.edgeseg"
    done = run(
        foreign("int8"), "--labels", labels, "--resize", "half_pixel", "-o", out, "--target", "coral", "--no-trial"
    )
    assert done.returncode == 0, done.stderr
    bundle = read_bundle(str(out))
    assert bundle.manifest.target == ("coral", "edgetpu", "int8", None)
    assert list(bundle.payloads) == ["tflite"] and bundle.manifest.compilation is None
    assert "edgeseg compile {}".format(out) in done.stdout


def test_messages_reach_the_user(run, foreign, labels, tmp_path):
    done = run(foreign("fp32"), "--labels", labels, "-o", tmp_path / "out.edgeseg")
    assert (done.returncode, done.stdout) == (2, "") and "Traceback" not in done.stderr
    assert "nothing in the file says which values" in done.stderr and "fix: say what the network" in done.stderr
    assert not (tmp_path / "out.edgeseg").exists()


@needs_tflite
def test_a_model_that_does_not_run_is_not_packed(run, network, save, four, tmp_path):
    """Its convolution has no bias and strides that do not give its output: no converter writes that."""
    path = save("model.tflite", network().data())
    before = sorted(os.listdir(str(tmp_path)))
    done = run(path, "--labels", four, "--resize", "half_pixel", "-o", tmp_path / "out.edgeseg")
    assert done.returncode == 4 and "cannot be run: CONV_2D (operator 0): no bias" in done.stderr
    assert sorted(os.listdir(str(tmp_path))) == before


@pytest.fixture
def instead(monkeypatch):
    """Function (script): a shell runs it instead of `edgeseg run`."""
    real = subprocess.run

    def replace(script):
        def run_script(command, **options):
            return real(["/bin/sh", "-c", script], **options)

        monkeypatch.setattr(subprocess, "run", run_script)

    return replace


def test_a_crash_of_the_runtime_is_survived(instead):
    instead("kill -SEGV $$")
    with pytest.raises(CheckFailed, match="the runtime crashes on this model: SIGSEGV"):
        trial.try_bundle("x.edgeseg")


def test_a_runtime_that_hangs(instead, monkeypatch):
    monkeypatch.setattr(trial, "_SECONDS", 0.2)
    instead("exec sleep 20")
    with pytest.raises(CheckFailed, match="no result within"):
        trial.try_bundle("x.edgeseg")


def test_no_runtime_is_no_fault(instead):
    instead("printf 'edgeseg: error: tflite is not installed (package x)\\n  fix: pip\\n' >&2; exit 3")
    assert trial.try_bundle("x.edgeseg").skipped == "tflite is not installed (package x)"


# The golden test of google-coral: pycoral/tests/segment_test.py and libcoral/coral/segmentation_models_test.cc.


def google_iou(one, other):
    """array_iou of pycoral's test."""
    same = np.count_nonzero(one == other)
    return same / (one.size + other.size - same)


@pytest.fixture
def bird(shared_data):
    """Google's picture, and the classes of its pixels."""
    image = cv2.imread(shared_data("coral", "bird_segmentation.bmp"))
    mask = cv2.imread(shared_data("coral", "bird_segmentation_mask.bmp"), cv2.IMREAD_GRAYSCALE)
    assert image.shape == (513, 513, 3) and mask.shape == (513, 513)
    return image, mask


@pytest.fixture
def deeplab(shared_data, tmp_path):
    """Function (name, **options) -> what to import: a file of google-coral with its labels."""

    def request(name="deeplabv3_mnv2_pascal_quant.tflite", **options):
        labels = shared_data("coral", "pascal_voc_segmentation_labels.txt")
        out = str(tmp_path / "out.edgeseg")
        return ImportRequest(shared_data("coral", name), out, labels, trial=False, **options)

    return request


@needs_tflite
def test_golden(deeplab, bird):
    image, expected = bird
    masks = []
    for upsampling, kind, stride in (("graph", "classes", 1), ("device", "logits", 16)):
        request = deeplab(upsampling=upsampling)
        import_model(request, lambda text: None)
        with edgeseg.Segmenter(request.out, "cpu") as segmenter:
            manifest = segmenter.manifest
            assert (manifest.output.kind, manifest.network.stride) == (kind, stride)
            assert manifest.output.resize == ("half_pixel" if stride == 1 else "align_corners")
            result = segmenter(image)
        check_golden(result, expected, kind)
        masks.append(result.mask)
    # The graph rounds upsampled logits to 8 bits, we do not: few pixels differ. By another convention many would.
    assert google_iou(*masks) > 0.99


def check_golden(result, expected, kind):
    assert google_iou(result.mask, expected) > 0.90  # Google's threshold; ai-edge-litert gives 0.958 and 0.957
    assert list(result.shares()) == ["background", "bird"]
    if kind == "logits":
        assert 0.9 < result.confidence.mean() <= 1
    else:
        with pytest.raises(edgeseg.UsageError, match="no confidence"):
            _ = result.confidence


def test_cost_of_deeplab(deeplab):
    """Sandler et al. 2018, table 7: 2.11 M parameters, 2.75 B multiply-adds."""
    network = make_bundle(deeplab(upsampling="graph")).manifest.network
    assert (
        network.macs is not None
        and abs(network.macs / 2.75e9 - 1) < 0.01
        and abs(network.parameters / 2.11e6 - 1) < 0.01
    )


@pytest.mark.parametrize("upsampling", ["graph", "device"])
def test_compiled_for_the_edge_tpu(deeplab, shared_data, upsampling):
    compiled = "deeplabv3_mnv2_pascal_quant_edgetpu.tflite"
    alone = make_bundle(deeplab(compiled, upsampling=upsampling))
    assert alone.manifest.target == ("coral", "edgetpu", "int8", None) and list(alone.payloads) == ["edgetpu"]
    assert alone.manifest.payloads[0].path == "network_edgetpu.tflite"
    assert alone.manifest.network.macs is None and alone.manifest.network.parameters > 2.1e6
    plain = shared_data("coral", "deeplabv3_mnv2_pascal_quant.tflite")
    both = make_bundle(deeplab(compiled, upsampling=upsampling, cpu=plain))
    assert set(both.payloads) == {"tflite", "edgetpu"} and both.payloads["edgetpu"] == alone.payloads["edgetpu"]
    assert both.manifest.network.macs and both.manifest.output == alone.manifest.output
    with open(shared_data("coral", compiled), "rb") as file:
        assert (both.payloads["edgetpu"] == file.read()) == (upsampling == "graph")


def test_twins_that_are_none(deeplab, shared_data, foreign):
    compiled = "deeplabv3_mnv2_pascal_quant_edgetpu.tflite"
    with pytest.raises(edgeseg.UsageError, match="have other inputs: uint8"):
        make_bundle(deeplab(compiled, cpu=foreign("int8")))
    with pytest.raises(edgeseg.UsageError, match="is compiled for the Edge TPU too"):
        make_bundle(deeplab(compiled, cpu=shared_data("coral", compiled)))
    with pytest.raises(edgeseg.UsageError, match="no CPU runs it"):
        make_bundle(deeplab(compiled, target="cpu"))
