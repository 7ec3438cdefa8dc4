"""edgeseg verify, inspect and export from the command line."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeseg import zoo
from edgeseg.bundle import payload_info, read_bundle, write_bundle
from edgeseg.cli import main
from edgeseg.manifest import TargetInfo, parse_manifest


def test_export_prints_the_figures(workshop, tmp_path, capsys):
    out = tmp_path / "a.edgeseg"
    code = main(["export", str(workshop.network), "--target", "cpu", "--precision", "fp32", "-o", str(out)])
    text = capsys.readouterr()
    assert code == 0 and out.is_file()
    assert "MB for cpu, fp32" in text.out and "100.00%" in text.out
    assert all(line.startswith("edgeseg: ") for line in text.err.splitlines())


def test_export_for_a_board_says_what_is_left_to_do(workshop, tmp_path, capsys):
    out = tmp_path / "a.edgeseg"
    assert main(["export", str(workshop.network), "--target", "tx2", "-o", str(out)]) == 0
    assert "left to do on the board (tx2): edgeseg compile a.edgeseg" in capsys.readouterr().out


def test_verify_of_a_bundle_for_a_board(workshop, tmp_path, capsys):
    out = tmp_path / "a.edgeseg"
    data = ["--data", str(workshop.data)]
    assert (
        main(["export", str(workshop.network), "--target", "orin", "--precision", "int8", "-o", str(out), *data]) == 0
    )
    assert main(["verify", str(out), "--network", str(workshop.network), *data]) == 0
    assert "98.00% required" in capsys.readouterr().out
    dla = [*data, "--precision", "int8", "--dla", "0"]
    assert main(["export", str(workshop.network), "--target", "orin", "-o", str(out), *dla]) == 0
    assert main(["verify", str(out), "--network", str(workshop.network), *data]) == 2
    assert "verify on the board: `edgeseg compile" in capsys.readouterr().err


def test_export_json_is_the_manifest(workshop, tmp_path, capsys):
    out = tmp_path / "a.edgeseg"
    arguments = ["--target", "cpu", "--precision", "fp32", "--json", "-o", str(out)]
    assert main(["export", str(workshop.network), *arguments]) == 0
    assert parse_manifest(capsys.readouterr().out) == read_bundle(str(out)).manifest


def test_export_of_nothing(tmp_path, capsys):
    assert main(["export", "fcn99", "--target", "cpu", "-o", str(tmp_path / "a.edgeseg")]) == 2
    assert "fcn8-camvid" in capsys.readouterr().err


def test_verify_with_data(workshop, int8_bundle, capsys):
    arguments = ["--network", str(workshop.network), "--data", str(workshop.data), "--json"]
    assert main(["verify", str(int8_bundle), *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    told = json.loads(read_bundle(str(int8_bundle)).manifest.to_json())
    assert found["ok"] is True
    assert found["parity"]["agreement"] == pytest.approx(told["parity"]["agreement"], abs=1e-3)
    assert found["accuracy"]["miou"] == pytest.approx(told["accuracy"]["miou"], abs=1e-3)


def test_verify_finds_the_network_in_the_box(workshop, fp32_bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    assert main(["verify", str(fp32_bundle), "--frames", "2"]) == 2
    assert "--network" in capsys.readouterr().err
    shutil.copy(workshop.network, tmp_path / "fcn8-camvid.keras")
    assert main(["verify", str(fp32_bundle), "--frames", "2"]) == 0
    assert "2 images (generated scenes)" in capsys.readouterr().out


def test_verify_of_a_bundle_of_another_input_size(workshop, any_size, tmp_path):
    out = str(tmp_path / "a.edgeseg")
    options = ["--target", "cpu", "--precision", "fp32", "--imgsz", "96", "128", "-o", out]
    assert main(["export", str(workshop.network), *options]) == 0
    assert main(["verify", out, "--network", str(workshop.network), "--frames", "2"]) == 0


def test_verify_of_a_worse_payload_fails(workshop, int8_bundle, tmp_path, capsys):
    """The file was calibrated on noise, and its manifest claims that it was not."""
    from edgeseg.export.tflite import to_int8_tflite
    from edgeseg.models.file import load_network

    network, _ = load_network(workshop.network)
    kernel, bias = network.get_layer("score").get_weights()
    network.get_layer("score").set_weights([kernel[..., ::-1], bias])
    manifest = read_bundle(str(int8_bundle)).manifest
    payload = to_int8_tflite(network, [np.zeros((64, 96, 3), np.uint8)])
    manifest = manifest._replace(payloads=(payload_info("tflite", "network.tflite", payload),))
    bad = tmp_path / "bad.edgeseg"
    write_bundle(str(bad), manifest, {"tflite": payload})
    arguments = ["--network", str(workshop.network), "--data", str(workshop.data)]
    assert main(["verify", str(bad), *arguments]) == 1
    text = capsys.readouterr()
    assert "first stage that differs: logits" in text.out
    assert "are required" in text.err


def test_verify_with_another_network(workshop, int8_bundle, tmp_path, capsys):
    from edgeseg.models.file import load_network, save_network

    network, card = load_network(workshop.network)
    save_network(tmp_path / "other.keras", network, card._replace(init="other"))
    assert main(["verify", str(int8_bundle), "--network", str(tmp_path / "other.keras")]) == 2
    assert "was not made from" in capsys.readouterr().err


def test_verify_refuses_what_makes_no_sense(workshop, int8_bundle, tmp_path, capsys):
    network = ["--network", str(workshop.network)]
    assert main(["verify", str(int8_bundle), *network, "--frames", "0"]) == 2
    assert main(["verify", str(int8_bundle), *network, "--data", str(workshop.data), "--split", "test"]) == 2
    assert "splits here: train, val" in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "none.edgeseg")]) == 2
    (tmp_path / "cut.edgeseg").write_bytes(int8_bundle.read_bytes()[:-50])
    assert main(["verify", str(tmp_path / "cut.edgeseg")]) == 4


@pytest.fixture
def coral_bundle(int8_bundle, tmp_path, monkeypatch):
    """Path of the int8 bundle compiled for Coral, with a double of libedgetpu on this machine."""
    folder = str(Path(__file__).parents[1] / "edgetpu_double")
    if folder not in sys.path:
        sys.path.append(folder)
    from compiled import compiled_file
    from libedgetpu import build_libedgetpu, has_gcc

    if not has_gcc():
        pytest.skip("no gcc to build the double of libedgetpu")
    monkeypatch.setenv("EDGESEG_LIBEDGETPU", build_libedgetpu(str(tmp_path / "libedgetpu.so.1")))
    plain = read_bundle(str(int8_bundle))

    def compiled(source: bytes) -> str:
        payloads = {**plain.payloads, "edgetpu": compiled_file(source)}
        infos = (*plain.manifest.payloads, payload_info("edgetpu", "network_edgetpu.tflite", payloads["edgetpu"]))
        manifest = plain.manifest._replace(target=TargetInfo("coral", "edgetpu", "int8"), payloads=infos)
        write_bundle(str(tmp_path / "coral.edgeseg"), manifest, payloads)
        return str(tmp_path / "coral.edgeseg")

    return compiled


def test_verify_of_the_edge_tpu_compares_the_float_network_too(workshop, int8_bundle, coral_bundle, capsys):
    path = coral_bundle(read_bundle(str(int8_bundle)).payloads["tflite"])
    arguments = ["--network", str(workshop.network), "--data", str(workshop.data)]
    assert main(["verify", path, *arguments]) == 0
    text = capsys.readouterr().out
    assert "float network against the Edge TPU" in text and "not at hand" not in text
    manifest = read_bundle(path).manifest
    told = manifest.verification
    assert told and manifest.parity and told["miou_tpu"] == told["miou_cpu"]
    # A right Edge TPU is as good as the file for the CPU was when it was exported.
    assert told["float_parity"]["agreement"] == pytest.approx(manifest.parity["agreement"], abs=1e-3)
    assert main(["verify", path]) == 0
    assert "not at hand; of the file for the CPU the export said" in capsys.readouterr().out
    assert main(["verify", path, "--network", str(workshop.network) + "x"]) == 2


def test_verify_of_an_edge_tpu_as_wrong_as_its_cpu_file_fails_by_the_float_network(
    workshop, int8_bundle, coral_bundle, tmp_path, capsys
):
    """Both files are those of a network whose last layer takes one class for another."""
    from edgeseg.export.tflite import to_int8_tflite
    from edgeseg.models.file import load_network

    network, _ = load_network(workshop.network)
    kernel, bias = network.get_layer("score").get_weights()
    network.get_layer("score").set_weights([kernel[..., ::-1], bias])
    wrong = to_int8_tflite(network, [np.zeros((64, 96, 3), np.uint8)])
    bundle = read_bundle(coral_bundle(wrong))
    infos = (payload_info("tflite", "network.tflite", wrong), bundle.manifest.payloads[1])
    write_bundle(bundle.path, bundle.manifest._replace(payloads=infos), {**bundle.payloads, "tflite": wrong})
    arguments = ["--network", str(workshop.network), "--data", str(workshop.data), "--frames", "2"]
    assert main(["verify", bundle.path, *arguments]) == 1
    assert "differs from the float network" in capsys.readouterr().err
    told = read_bundle(bundle.path).manifest.verification
    assert told and told["ok"] is False and told["worst_agreement"] == 1
