"""`edgeseg verify` of a bundle for Coral, with a double of the Edge TPU that computes right, wrong, or not at all."""

import importlib.util
import json
import os

import cv2
import numpy as np
import pytest
from compiled import compiled_file

import edgeseg
from edgeseg.bundle import payload_info, read_bundle, write_bundle
from edgeseg.cli import main
from edgeseg.manifest import TargetInfo
from edgeseg.palette import CAMVID

PACKAGES = ("ai_edge_litert", "tflite_runtime")
pytestmark = pytest.mark.skipif(
    not any(importlib.util.find_spec(name) for name in PACKAGES), reason="no TensorFlow Lite interpreter"
)


@pytest.fixture
def coral(bundles, tmp_path, libedgetpu, monkeypatch):
    """Path of a compiled bundle; the double is the libedgetpu of this machine, which has no Keras."""
    monkeypatch.setattr("edgeseg.cli.verify.missing_reason", lambda command: "needs keras")
    monkeypatch.setenv("EDGESEG_LIBEDGETPU", libedgetpu)
    plain = read_bundle(os.path.join(bundles, "int8.edgeseg"))
    compiled = compiled_file(plain.payloads["tflite"])
    infos = plain.manifest.payloads + (payload_info("edgetpu", "network_edgetpu.tflite", compiled),)
    manifest = plain.manifest._replace(target=TargetInfo("coral", "edgetpu", "int8"), payloads=infos)
    path = str(tmp_path / "coral.edgeseg")
    write_bundle(path, manifest, dict(plain.payloads, edgetpu=compiled))
    return path


def verification(path):
    return read_bundle(path).manifest.verification


def test_a_right_edge_tpu(coral, capsys):
    before = read_bundle(coral)
    assert main(["verify", coral, "--frames", "3"]) == 0
    text = capsys.readouterr()
    assert "agree by 1.000 on 3 images (generated scenes)" in text.out
    assert "float network: not at hand, and the bundle has no parity" in text.out
    found = verification(coral)
    assert found["ok"] is True and found["worst_agreement"] == 1 and found["logits_max_error"] == 0
    assert found["tpu"].startswith("edgetpu (") and found["cpu"].startswith("tflite (")
    assert found["float_parity"] is None and found["miou_tpu"] is None
    after = read_bundle(coral)
    assert after.payloads == before.payloads and after.manifest._replace(verification=None) == before.manifest


def test_one_wrong_frame_fails(coral, capsys, monkeypatch):
    # The first inference is that of the child when it opens, the second warms up.
    monkeypatch.setenv("EDGETPU_DOUBLE_FAULTS", "invoke:wrong@4")
    assert main(["verify", coral, "--frames", "3", "--json"]) == 1
    text = capsys.readouterr()
    found = json.loads(text.out)
    assert found["ok"] is False and found["verification"] == verification(coral)
    assert found["verification"]["worst_image"] == "frame000001"
    assert found["verification"]["first_difference"] == "logits"
    assert "those of frame000001 agree by 0." in text.err and "edgetpu_compiler" in text.err
    edgeseg.Segmenter(coral, device="usb").close()
    assert "the Edge TPU's masks are not to be trusted" in capsys.readouterr().err


def test_a_tpu_as_wrong_as_the_cpu_is_not_blamed_when_it_runs(coral, capsys):
    """Where only the float network differs."""
    assert main(["verify", coral, "--frames", "1"]) == 0
    bundle = read_bundle(coral)
    write_bundle(coral, bundle.manifest._replace(verification=dict(verification(coral), ok=False)), bundle.payloads)
    capsys.readouterr()
    edgeseg.Segmenter(coral, device="usb").close()
    words = capsys.readouterr().err
    assert "differ from the float network's" in words and "not to be trusted" not in words


def test_labelled_images(coral, tmp_path, capsys):
    random = np.random.RandomState(0)
    colors = np.array([c.color[::-1] for c in CAMVID], np.uint8)
    for folder in ("val", "valannot"):
        os.makedirs(str(tmp_path / "camvid" / folder))
    for number in range(2):
        label = random.randint(0, len(CAMVID), (2, 3)).repeat(32, 0).repeat(32, 1).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "camvid" / "val" / "{}.png".format(number)), colors[label])
        cv2.imwrite(str(tmp_path / "camvid" / "valannot" / "{}.png".format(number)), label)
    assert main(["verify", coral, "--data", str(tmp_path / "camvid")]) == 0
    found = verification(coral)
    assert found["images"] == 2 and found["counted"] == 1
    assert found["miou_tpu"] == found["miou_cpu"] > 0.7
    assert "mIoU" in capsys.readouterr().out


def test_frames_of_a_camera(coral, capsys):
    assert main(["verify", coral, "--camera", "pattern:96x64", "--frames", "2"]) == 0
    assert "on 2 images (frames of pattern:96x64)" in capsys.readouterr().out


def test_a_result_that_cannot_be_kept_is_printed(coral, capsys):
    # write_bundle cannot open its temporary file; a folder without permission does not stop root
    os.symlink("/nonexistent/folder/file", "{}.{}.tmp".format(coral, os.getpid()))
    assert main(["verify", coral, "--frames", "1"]) == 0
    text = capsys.readouterr()
    assert "agree by 1.000 on 1 images" in text.out
    assert "warning: the result is not kept in the bundle" in text.err
    assert verification(coral) is None


def test_without_an_edge_tpu(coral, capsys, monkeypatch):
    monkeypatch.setenv("EDGETPU_DOUBLE_DEVICES", "")
    assert main(["verify", coral]) == 3
    assert "no Edge TPU" in capsys.readouterr().err and verification(coral) is None


def test_a_bundle_that_is_not_compiled(coral, capsys):
    bundle = read_bundle(coral)
    manifest = bundle.manifest._replace(payloads=bundle.manifest.payloads[:1])
    write_bundle(coral, manifest, bundle.payloads)
    assert main(["verify", coral]) == 4
    assert "edgeseg compile " + coral in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--device", "cpu"], "no Edge TPU"),
        (["--device", "usb:x"], "there is no device"),
        (["--frames", "0"], "nothing to compare"),
        (["--camera", "pattern:", "--data", "."], "--data and --camera"),
    ],
)
def test_requests_that_make_no_sense(coral, arguments, text, capsys):
    assert main(["verify", coral] + arguments) == 2
    assert text in capsys.readouterr().err
