"""`edgeseg inspect` on files for the Edge TPU, as a user reads it."""

import json
import os
import random

import pytest
from compiled import compiled_file

from edgeseg.bundle import payload_info, read_bundle, write_bundle
from edgeseg.cli import main
from edgeseg.manifest import TargetInfo
from edgeseg.zoo import zoo_bundle


def inspect(capsys, *arguments):
    assert main(["inspect"] + [str(a) for a in arguments]) == 0
    return capsys.readouterr().out


def coral_bundle(bundles, path, compiled):
    """A bundle for Coral at `path`; its last operator stays on the CPU."""
    bundle = read_bundle(os.path.join(bundles, "int8.edgeseg"))
    payloads, infos = dict(bundle.payloads), list(bundle.manifest.payloads)
    if compiled:
        payloads["edgetpu"] = compiled_file(payloads["tflite"], keep_on_cpu=1)
        infos.append(payload_info("edgetpu", "network_edgetpu.tflite", payloads["edgetpu"]))
    manifest = bundle.manifest._replace(
        target=TargetInfo("coral", "edgetpu", "int8"),
        payloads=tuple(infos),
        compilation={"compiler": "16.0.384591198"} if compiled else None,
    )
    write_bundle(str(path), manifest, payloads)
    return path


def test_preflight_of_anyones_file(capsys, shared_data):
    path = shared_data("coral", "deeplabv3_mnv2_pascal_quant.tflite")
    assert "preflight" not in inspect(capsys, path)
    lines = inspect(capsys, path, "--target", "coral").splitlines()
    assert "  CONV_2D                  1     38   36    2" in lines
    place = lines.index("  #64 RESIZE_BILINEAR ResizeBilinear")
    assert lines[place - 1].startswith("on the CPU: 1x1 -> 33x33")
    assert lines[place + 1].startswith("    fix: ")
    assert sum(line.startswith("  #") for line in lines) == 8
    assert lines[-1] == (
        "verdict: 64 of 72 operators on the Edge TPU (89%), up to #64 RESIZE_BILINEAR ResizeBilinear, "
        "parameters cached on chip"
    )
    found = json.loads(inspect(capsys, path, "--target", "coral", "--json"))["preflight"]
    assert [v["place"] for v in found["verdicts"]].count("tpu") == 64
    assert found["first_break"]["number"] == 64 and found["mapped_share"] == 64 / 72
    assert (found["whole"], found["cached"], found["min_runtime_version"]) == (False, True, "1.14.0")


@pytest.mark.parametrize("data", [b"", b"version https://git-lfs.github.com/spec/v1"], ids=["empty", "git-lfs"])
def test_what_only_has_the_name_of_a_tflite_file(tmp_path, capsys, data):
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    assert main(["inspect", str(path)]) == 4
    assert "not a .tflite file" in capsys.readouterr().err


def test_postflight_of_a_compiled_file(capsys, shared_data):
    path = shared_data("coral", "deeplabv3_mnv2_pascal_quant_edgetpu.tflite")
    text = inspect(capsys, path)
    for words in (
        "compiled for the Edge TPU: 1 subgraph(s), 8 operator(s) left on the CPU",
        "needs Edge TPU runtime 12 or later",
        "2,337,216 bytes cached on chip, 0 streamed",
        "instructions 398,768 bytes, scratch 0 bytes, narrow memory 194,916 bytes",
        "input: MobilenetV2/MobilenetV2/input 513x513x3 fixed-point 8",
        "output: image_pooling/Relu 1x1x256",
        "on the CPU: ARG_MAX ArgMax",
    ):
        assert words in text
    assert "full-integer" not in text
    found = json.loads(inspect(capsys, path, "--json"))["postflight"]
    assert [operator["operator"] for operator in found["cpu"]][-1] == "ARG_MAX"
    (package,) = found["packages"]
    assert (package["min_runtime"], package["cached_bytes"], package["streamed_bytes"]) == (12, 2337216, 0)
    assert [e["type"] for e in package["executables"]] == ["execution-only", "parameter-caching"]


def test_the_shipped_bundle_would_map_as_a_whole(capsys):
    assert "preflight" not in inspect(capsys, zoo_bundle())
    text = inspect(capsys, zoo_bundle(), "--target", "coral")
    assert "verdict: 82 of 82 operators on the Edge TPU (100%), in one subgraph, parameters cached on chip" in text


def test_a_bundle_for_coral(capsys, bundles, tmp_path):
    path = coral_bundle(bundles, tmp_path / "net.edgeseg", compiled=False)
    text = inspect(capsys, path)
    assert "preflight" in text and "verdict: " in text
    assert "left to do" in text and text.splitlines()[-1].endswith("edgeseg compile net.edgeseg")
    assert json.loads(inspect(capsys, path, "--json"))["preflight"]["whole"]

    path = coral_bundle(bundles, tmp_path / "compiled.edgeseg", compiled=True)
    text = inspect(capsys, path)
    assert "1 subgraph(s), 1 operator(s) left on the CPU" in text and "compiler 16.0.384591198" in text
    assert "preflight" not in text and "left to do" not in text
    assert json.loads(inspect(capsys, path, "--json"))["postflight"]["packages"][0]["min_runtime"] == 14


def test_what_there_is_nothing_to_say_about(capsys, bundles, shared_data, tmp_path):
    def refused(code, *arguments):
        assert main(["inspect"] + [str(a) for a in arguments]) == code
        return capsys.readouterr().err

    assert "--target coral" in refused(2, zoo_bundle(), "--target", "jetson")
    assert "holds no .tflite" in refused(2, os.path.join(bundles, "onnx.edgeseg"), "--target", "coral")
    with open(shared_data("coral", "deeplabv3_mnv2_pascal_quant_edgetpu.tflite"), "rb") as file:
        data = bytearray(file.read())
    mark = data.index(b"DWN1")
    data[mark : mark + 4] = b"DWN9"
    (tmp_path / "damaged.tflite").write_bytes(bytes(data))
    assert "not DWN1" in refused(4, tmp_path / "damaged.tflite")


@pytest.mark.parametrize("name", ["compiled", "plain"])
def test_mutated_files_are_told_or_refused(name, bundles, tmp_path, capsys):
    plain = read_bundle(os.path.join(bundles, "int8.edgeseg")).payloads["tflite"]
    whole = compiled_file(plain) if name == "compiled" else plain
    random.seed(7)
    codes = set()
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(random.choice((1, 4, 16))):
            data[8 + random.randrange(len(data) - 8)] = random.randrange(256)
        (tmp_path / "net.tflite").write_bytes(bytes(data))
        codes.add(main(["inspect", str(tmp_path / "net.tflite"), "--target", "coral"]))
    capsys.readouterr()
    assert codes == {0, 4}
