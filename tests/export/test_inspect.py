"""edgeseg inspect: everything that the file says, and a clear word on other files."""

import json
import subprocess
import sys
import zipfile

import pytest

from edgeseg.bundle import read_bundle
from edgeseg.cli import main


def inspect(capsys, path, *options):
    assert main(["inspect", str(path), *options]) == 0
    return capsys.readouterr().out


def test_bundle(int8_bundle, capsys):
    text = inspect(capsys, int8_bundle)
    manifest = read_bundle(str(int8_bundle)).manifest
    reports = json.loads(manifest.to_json())
    with zipfile.ZipFile(int8_bundle) as archive:
        packed = archive.getinfo("network.tflite").compress_size
    (payload,) = manifest.payloads
    for words in (
        "bundle for cpu: backend tflite, int8",
        "fcn8 width 0.35, 64x96 (height x width), stride 8",
        "input: uint8 [1, 64, 96, 3] nhwc rgb",
        "output: logits int8 [1, 8, 12, 11] nhwc",
        "half_pixel",
        str(payload.bytes),
        str(packed),
        payload.sha256,
        reports["calibration"]["sha256"],
        f"mIoU {reports['parity']['miou_float']:.2%} float",
        manifest.provenance["network_sha256"],
        "first stage that differs: none",
    ):
        assert words in text
    for cls in manifest.classes:
        (row,) = [line.split() for line in text.splitlines() if line.split()[:1] == [cls.name]]
        assert row[1:] == [
            str(cls.id),
            "#{:02x}{:02x}{:02x}".format(*cls.color),
            f"{reports['accuracy']['iou'][cls.name]:.2%}",
            f"{reports['calibration']['coverage'][cls.name]:.2%}",
        ]


def test_bundle_json(int8_bundle, capsys):
    found = json.loads(inspect(capsys, int8_bundle, "--json"))
    assert found["manifest"] == json.loads(read_bundle(str(int8_bundle)).manifest.to_json())
    assert set(found["packed_bytes"]) == {"manifest.json", "network.tflite"}


def test_bundle_with_empty_reports(int8_bundle, tmp_path, capsys):
    from edgeseg.bundle import write_bundle

    bundle = read_bundle(str(int8_bundle))
    bare = bundle.manifest._replace(calibration=None, parity={}, accuracy=None, provenance={})
    write_bundle(str(tmp_path / "bare.edgeseg"), bare, bundle.payloads)
    assert "calibration\n  none" in inspect(capsys, tmp_path / "bare.edgeseg")


def test_tflite(int8_bundle, fp32_bundle, tmp_path, capsys):
    for name, path, verdict in (("i", int8_bundle, "full-integer: yes"), ("f", fp32_bundle, "full-integer: no")):
        file = tmp_path / f"{name}.tflite"
        file.write_bytes(read_bundle(str(path)).payloads["tflite"])
        text = inspect(capsys, file)
        assert verdict in text and "DEPTHWISE_CONV_2D" in text and "[1, 64, 96, 3]" in text
        found = json.loads(inspect(capsys, file, "--json"))
        assert (found["full_integer_problems"] == []) == (name == "i")
        assert {"name": "RESIZE_BILINEAR", "version": 3, "count": 1} in found["operators"]


@pytest.fixture(scope="module")
def xavier_bundle(workshop, tmp_path_factory):
    """The network exported for a DLA core of a Xavier."""
    from edgeseg.export.pipeline import ExportRequest, export_bundle

    out = tmp_path_factory.mktemp("xavier") / "small.edgeseg"
    request = ExportRequest(str(workshop.network), out, "xavier", "fp16", str(workshop.data), dla=0)
    export_bundle(request, lambda text: None)
    return out


def test_onnx(xavier_bundle, tmp_path, capsys):
    """Recognised by its content, whatever its name; a broken rule is told, and is no failure of `inspect`."""
    content = read_bundle(str(xavier_bundle)).payloads["onnx"]
    for name in ("network.onnx", "network.bin"):
        (tmp_path / name).write_bytes(content)
        text = inspect(capsys, tmp_path / name)
        for words in (
            "opset 13, IR version 7, made by edgeseg",
            "G MACs, float32",
            "input: image uint8 [1, 64, 96, 3]",
            "output: logits float32 [1, 11, 8, 12]",
            "rules of TensorRT: 1 broken, 1 of them error(s)",
            "error uint8-input, TensorRT 8.2\n    image: the input is uint8",
            "fix: give it a float32 input",
        ):
            assert words in text
        assert ["Resize", "1"] in [line.split() for line in text.splitlines()]
    found = json.loads(inspect(capsys, tmp_path / "network.onnx", "--json"))
    assert (found["opset"], found["bytes"], found["precision"]) == (13, len(content), "float32")
    assert found["macs"] == read_bundle(str(xavier_bundle)).manifest.network.macs
    assert {"name": "Resize", "count": 1} in found["operators"]
    assert found["inputs"] == [{"name": "image", "dtype": "uint8", "shape": [1, 64, 96, 3]}]
    assert {v["rule"]: v["tensorrt"] for v in found["violations"]} == {"uint8-input": ["8.2"]}


def test_bundle_for_tensorrt(xavier_bundle, capsys):
    """The rules are those of the board's own TensorRT; what is left to do on the board is said."""
    text = inspect(capsys, xavier_bundle)
    for words in (
        "bundle for xavier: backend tensorrt, fp16",
        "rules of TensorRT: none broken",
        "DLA core 0 of Xavier: ",
        f"left to do on the board (xavier): edgeseg compile {xavier_bundle.name}",
    ):
        assert words in text
    found = json.loads(inspect(capsys, xavier_bundle, "--json"))
    assert found["violations"] == [] and found["manifest"]["target"]["dla"] == 0


def test_without_the_package_onnx(xavier_bundle, tmp_path, capsys, monkeypatch):
    from edgeseg.cli import inspect_onnx

    monkeypatch.setattr(inspect_onnx, "can_read_onnx", lambda: False)
    text = inspect(capsys, xavier_bundle)
    assert "left to do on the board" in text and "rules of TensorRT" not in text
    (tmp_path / "network.onnx").write_bytes(read_bundle(str(xavier_bundle)).payloads["onnx"])
    assert main(["inspect", str(tmp_path / "network.onnx")]) == 3
    assert "pip install 'edgeseg[export]'" in capsys.readouterr().err


def test_network(workshop, capsys):
    text = inspect(capsys, workshop.network)
    for words in ("network trained by edgeseg", "architecture: fcn8", "Sky, Building", "val_miou: 0.5"):
        assert words in text
    assert json.loads(inspect(capsys, workshop.network, "--json"))["network"]["dataset"] == "CamVid"


def test_other_files(tmp_path, int8_bundle, xavier_bundle, capsys):
    onnx = read_bundle(str(xavier_bundle)).payloads["onnx"]
    cases = {
        "cut.onnx": (onnx[:-100], 2, "not an ONNX file, or it is damaged"),
        "cut.bin": (onnx[:3000], 2, "not an ONNX file, or it is damaged"),
        "text.onnx": (b"hello", 2, "not an ONNX file, or it is damaged"),
        "empty.onnx": (b"", 2, "not an ONNX file"),
        "text.edgeseg": (b"hello", 4, "not a bundle"),
        "empty.edgeseg": (b"", 4, "not a bundle"),
        "cut.edgeseg": (int8_bundle.read_bytes()[:-100], 4, "truncated"),
        "cut.tflite": (read_bundle(str(int8_bundle)).payloads["tflite"][:3000], 4, "truncated or damaged"),
    }
    for name, (content, code, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        assert main(["inspect", str(tmp_path / name)]) == code
        text = capsys.readouterr()
        assert words in text.err and "fix:" in text.err and not text.out
    assert main(["inspect", str(tmp_path / "none")]) == 2
    assert main(["inspect", str(tmp_path)]) == 2


@pytest.mark.parametrize(
    "module",
    [
        "edgeseg.zoo",
        "edgeseg.models.zoo",
        "edgeseg.cli.inspect",
        "edgeseg.cli.inspect_onnx",
        "edgeseg.tflite.model",
    ],
)
def test_light_imports(module):
    heavy = ["keras", "tensorflow", "cv2", "ai_edge_litert", "onnx"]
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"
