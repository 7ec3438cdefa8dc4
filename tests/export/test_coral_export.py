"""`--target coral`: what is in the bundle, which size it becomes, what is refused, and that nothing is left behind."""

import re

import numpy as np
import pytest

from edgeseg.bundle import read_bundle
from edgeseg.cli import export as export_command
from edgeseg.cli import main
from edgeseg.coral.compiler import CompilationFailed
from edgeseg.coral.preflight import preflight
from edgeseg.errors import CheckFailed, EnvironmentFault, UsageError
from edgeseg.export.coral import smaller_sizes
from edgeseg.export.pipeline import ExportRequest, export_bundle
from edgeseg.export.source import at_size, open_network
from edgeseg.models.file import load_network, save_network
from edgeseg.models.spec import NetworkSpec
from edgeseg.tflite.model import read_tflite


@pytest.fixture
def no_compiler(monkeypatch):
    """No compiler on this machine, whatever it has."""
    monkeypatch.setattr("edgeseg.export.coral.find_compiler", lambda: None)


class Export:
    """Call it with changes of the request for the bundle for coral."""

    def __init__(self, request):
        self._request = request
        self.said: list[str] = []

    def __call__(self, **changes):
        self.said = []
        export_bundle(self._request._replace(**changes), self.said.append)
        return read_bundle(str(self._request.out))


@pytest.fixture
def export(workshop, tmp_path):
    out = tmp_path / "coral.edgeseg"
    return Export(ExportRequest(str(workshop.network), out, "coral", data=str(workshop.data)))


@pytest.fixture
def refused(export, tmp_path):
    """Ask for an export that must fail; returns the error. No file may be left."""

    def ask(kind, **changes):
        with pytest.raises(kind) as caught:
            export(**changes)
        assert not (tmp_path / "coral.edgeseg").exists() and not list(tmp_path.glob("*.tmp"))
        assert caught.value.fix
        return caught.value

    return ask


def test_without_a_compiler(no_compiler, export, int8_bundle):
    bundle, for_cpu = export(), read_bundle(str(int8_bundle))
    assert bundle.manifest.target == ("coral", "edgetpu", "int8", None)
    assert list(bundle.payloads) == ["tflite"] and bundle.manifest.compilation is None
    assert constants(bundle) == constants(for_cpu)
    assert preflight(read_tflite(bundle.payloads["tflite"])).whole
    for part in ("input", "output", "accuracy", "calibration", "parity"):
        assert getattr(bundle.manifest, part) == getattr(for_cpu.manifest, part)
    assert any(re.match(r"preflight: (\d+) of \1 operators on the Edge TPU", line) for line in export.said)


def test_with_a_compiler(edgetpu_compiler, export):
    bundle = export()
    assert sorted(bundle.payloads) == ["edgetpu", "tflite"]
    report = bundle.manifest.compilation
    assert report and report["compiler"] == "16.0.384591198" and "refused_sizes" not in report
    assert sum(row["count"] for row in report["operators"]) == len(read_tflite(bundle.payloads["tflite"]).operators)
    assert bundle.manifest.parity and bundle.manifest.parity["agreement"] >= 0.97
    assert "compiling with Edge TPU compiler 16.0.384591198 (PATH)" in export.said


def test_a_size_that_does_not_compile(edgetpu_compiler, any_size, export, int8_bundle):
    """The next one is taken; weights, calibration, parity and accuracy are then those of that size."""
    edgetpu_compiler("large:64x96")
    bundle, direct = export(imgsz=((96, 128), (64, 96), (32, 64))), read_bundle(str(int8_bundle))
    for part in ("network", "input", "output", "calibration", "parity", "accuracy"):
        assert getattr(bundle.manifest, part) == getattr(direct.manifest, part)
    assert constants(bundle) == constants(direct)
    compilation = bundle.manifest.compilation
    assert compilation and list(compilation["refused_sizes"]) == ["96x128"]
    assert "activations are too large" in compilation["refused_sizes"]["96x128"]
    assert [line for line in export.said if line.startswith("falling back")] == ["falling back to the input size 64x96"]
    assert any(line.startswith("96x128 does not compile: ") for line in export.said)


def constants(bundle):
    """Operators and constants of the .tflite file: its names and order of tensors differ between conversions."""
    model = read_tflite(bundle.payloads["tflite"])
    return [
        (o.name, [(t.shape, t.scale, t.zero_point, t.data) for t in (model.tensors[i] for i in o.inputs) if t.data])
        for o in model.operators
    ]


def test_no_size_compiles(edgetpu_compiler, any_size, refused):
    edgetpu_compiler("large:32x32")
    text = str(refused(CompilationFailed, imgsz=((96, 128), (64, 96))))
    assert "no input size compiles\n  96x128: " in text and "\n  64x96: " in text and "--imgsz HEIGHT WIDTH" in text


def test_faults_of_the_network_are_those_of_every_size(edgetpu_compiler, any_size, refused, export):
    edgetpu_compiler("not-quantized")
    assert "float tensors" in refused(CompilationFailed, imgsz=((96, 128), (64, 96))).message
    assert not [line for line in export.said if "falling back" in line]


def test_operators_on_the_cpu_are_an_error(edgetpu_compiler, refused):
    edgetpu_compiler("partial:2")
    text = str(refused(CompilationFailed))
    assert "no input size compiles\n  64x96: 2 operator(s) are left to the CPU" in text


def test_a_compiler_that_does_not_work_is_said_before_the_work(refused, export, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGETPU_COMPILER", str(tmp_path / "gone"))
    assert "is not a program" in refused(EnvironmentFault).message
    assert export.said == []


def test_operators_that_the_edge_tpu_does_not_take(no_compiler, workshop, refused, tmp_path):
    """Keras' nearest neighbours become TILE 3, which ends the compiler."""
    import keras
    from keras import layers

    _, card = load_network(workshop.network)
    image = keras.Input((64, 96, 3), name="image")
    x = layers.Conv2D(8, 3, 16, padding="same", activation="relu")(image)
    x = layers.UpSampling2D(2, interpolation="nearest")(x)
    save_network(tmp_path / "nearest.keras", keras.Model(image, layers.Conv2D(11, 1)(x)), card)
    error = refused(CheckFailed, network=str(tmp_path / "nearest.keras"))
    assert "TILE" in error.message and "fcn8 at 64x96" in error.message


def test_targets_that_are_not_for_floats(refused):
    assert "use --precision int8" in str(refused(UsageError, precision="fp16"))


def test_zoo_network_without_data(edgetpu_compiler, box, export, int8_bundle):
    """The shipped file is compiled; the figures are those of that file, and say so."""
    bundle, shipped = export(network="fcn8-camvid", data=None), read_bundle(str(int8_bundle))
    assert bundle.manifest.target == ("coral", "edgetpu", "int8", None)
    assert bundle.payloads["tflite"] == shipped.payloads["tflite"] and "edgetpu" in bundle.payloads
    assert bundle.manifest.compilation
    assert bundle.manifest.parity == shipped.manifest.parity and bundle.manifest.accuracy == shipped.manifest.accuracy
    assert bundle.manifest.provenance["reused"]["parity"]["images"] == 20


def test_zoo_network_without_data_at_another_size(edgetpu_compiler, box, any_size, refused):
    error = refused(UsageError, network="fcn8-camvid", data=None, imgsz=((96, 128),))
    assert "is for images of 64 x 96 (height x width), not 96 x 128" in error.message and "--data" in error.fix
    edgetpu_compiler("large:32x32")
    error = refused(CompilationFailed, network="fcn8-camvid", data=None)
    assert "too large" in error.message and error.fix.startswith("give --data DIR")


@pytest.mark.parametrize("target", ["cpu", "xavier"])
def test_any_target_at_another_size(any_size, export, target):
    manifest = export(target=target, imgsz=((96, 128),)).manifest
    assert manifest.network.imgsz == (96, 128) and manifest.input.shape == (1, 96, 128, 3)
    assert manifest.parity and manifest.parity["agreement"] >= 0.97


def test_sizes_that_cannot_be(refused, no_compiler):
    assert "only coral falls back" in refused(UsageError, target="cpu", imgsz=((64, 96), (32, 64))).message
    for sizes in (((100, 96),), ((64, 96), (100, 96))):
        error = refused(UsageError, imgsz=sizes)
        assert "divisible by 32" in error.message and "--imgsz 96 96" in error.fix


def test_a_network_that_edgeseg_builds_otherwise(refused, no_compiler):
    """That of the workshop has few of the layers of fcn8."""
    assert "has other layers than fcn8" in refused(UsageError, imgsz=((96, 128),)).message


def test_another_size_has_the_same_weights():
    source = open_network("fcn8-camvid")
    sized = at_size(source, (64, 96))
    assert sized.network.input_shape == (None, 64, 96, 3) and sized.card.spec.imgsz == (64, 96)
    assert at_size(source, source.card.spec.imgsz) is source
    for ours, theirs in zip(sized.network.get_weights(), source.network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (sized.sha256, sized.zoo_name) == (source.sha256, source.zoo_name)


def fall_backs(height, width, architecture="fcn8"):
    return smaller_sizes(NetworkSpec(architecture, 1.0, (height, width), 11))


def test_fall_back_sizes():
    assert fall_backs(352, 480) == [(320, 448), (288, 384), (256, 352), (224, 320), (192, 256)]
    assert fall_backs(512, 512)[0] == (480, 480) and fall_backs(512, 512)[-1] == (256, 256)
    assert fall_backs(64, 96) == [] and fall_backs(32, 32) == []
    assert fall_backs(64, 64) == [(32, 32)] and fall_backs(64, 64, "spp") == []  # which takes no smaller ones
    for height, width in fall_backs(288, 800):
        assert height % 32 == width % 32 == 0 and abs(width / height * 288 / 800 - 1) <= 0.1


def test_what_the_command_says(edgetpu_compiler, any_size, workshop, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(export_command, "log", lambda text: None)
    out = str(tmp_path / "a.edgeseg")
    command = ["export", str(workshop.network), "--target", "coral", "--data", str(workshop.data), "-o", out]
    edgetpu_compiler("large:64x96")
    assert main([*command, "--imgsz", "96", "128", "--imgsz", "64", "96"]) == 0
    text = capsys.readouterr().out
    assert (
        "MB for coral, int8" in text and re.search(r"operators: (\d+) of \1 on the Edge TPU", text) and "mIoU" in text
    )
    assert "input size 96x128 was refused: the Edge TPU compiler 16.0.384591198 failed: the activations" in text
    assert "input size: 64x96; the figures above are its own" in text
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(command) == 0
    text = capsys.readouterr().out
    assert f"left to do on a machine that has it: edgeseg compile {out}" in text and "edgetpu-compiler" in text
    edgetpu_compiler()
    monkeypatch.setenv("EDGETPU_COMPILER", str(tmp_path / "compiler" / "edgetpu_compiler"))
    assert main(["compile", out]) == 0
    assert "edgetpu" in read_bundle(out).payloads


def test_the_help_names_it(capsys):
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    text = capsys.readouterr().out
    assert "cpu, coral, or a Jetson" in " ".join(text.split()) and "--imgsz HEIGHT WIDTH" in text
