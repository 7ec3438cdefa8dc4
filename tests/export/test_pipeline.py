"""The export as a user calls it: what is in the bundle, what is refused, and that nothing is left behind."""

import json
import shutil

import numpy as np
import pytest

from edgeseg.bundle import read_bundle, write_bundle
from edgeseg.datasets import open_dataset
from edgeseg.errors import BundleError, CheckFailed, UsageError
from edgeseg.export.pipeline import ExportRequest, export_bundle
from edgeseg.export.source import file_sha256
from edgeseg.golden import unpack_golden
from edgeseg.manifest import TargetInfo
from edgeseg.models.file import load_network, save_network


def reports_of(path):
    """The manifest as plain JSON."""
    return json.loads(read_bundle(str(path)).manifest.to_json())


def silent(text):
    pass


def test_int8_bundle(workshop, int8_bundle):
    bundle = read_bundle(str(int8_bundle))
    manifest, reports = bundle.manifest, reports_of(int8_bundle)
    assert manifest.target == ("cpu", "tflite", "int8", None)
    assert manifest.input == ((1, 64, 96, 3), "uint8", "nhwc", "rgb", (1.0,) * 3, (0.0,) * 3, "stretch")
    assert manifest.output[:5] == ((1, 8, 12, 11), "int8", "nhwc", "logits", "half_pixel")
    assert reports["calibration"]["images"] == 16 and reports["calibration"]["kind"] == "dataset"
    assert reports["parity"]["agreement"] >= 0.97 and reports["parity"]["source"] == "CamVid val"
    assert reports["parity"]["miou_float"] - reports["parity"]["miou_exported"] <= 0.01
    assert reports["accuracy"]["images"] == 6 and set(reports["accuracy"]["iou"]) == {c.name for c in manifest.classes}
    assert manifest.provenance["network_sha256"] == file_sha256(workshop.network)
    assert manifest.provenance["recipe"] == {"epochs": 0, "data": "data"}  # no folder of this machine
    for tool in ("edgeseg", "keras", "ai-edge-litert", "numpy"):
        assert manifest.provenance[tool]
    assert str(workshop.data.parent) not in manifest.to_json()


def test_the_manifest_tells_how_to_read_the_logits(int8_bundle, fp32_bundle):
    from ai_edge_litert.interpreter import Interpreter

    for path in (int8_bundle, fp32_bundle):
        bundle = read_bundle(str(path))
        (detail,) = Interpreter(model_content=bundle.payloads["tflite"]).get_output_details()
        told = bundle.manifest.output
        assert detail["dtype"].__name__ == told.dtype and tuple(detail["shape"]) == told.shape
        if told.dtype == "int8":
            assert detail["quantization"] == pytest.approx((told.scale, told.zero_point))


def test_fp32_bundle(fp32_bundle):
    manifest = read_bundle(str(fp32_bundle)).manifest
    assert manifest.target.precision == "fp32" and manifest.calibration is None
    assert manifest.input.dtype == "float32"
    assert manifest.input.scale[0] * 255 + manifest.input.offset[0] == pytest.approx(1)
    assert reports_of(fp32_bundle)["parity"]["agreement"] >= 0.999


@pytest.fixture
def refused(workshop, tmp_path):
    """Ask for an export that must fail; returns the error's text. No file may be left."""

    def ask(kind, **changes):
        request = ExportRequest(str(workshop.network), tmp_path / "out.edgeseg", data=str(workshop.data))
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(kind) as caught:
            export_bundle(request._replace(**changes), silent)
        assert sorted(tmp_path.rglob("*")) == before
        assert caught.value.fix
        return str(caught.value)

    return ask


def test_wrong_requests(refused, tmp_path, workshop):
    assert "targets: cpu" in refused(UsageError, target="toaster")
    assert "use --precision int8 or fp32" in refused(UsageError, precision="fp16")
    text = refused(UsageError, out=tmp_path / "net.tflite")
    assert "does not end with .edgeseg" in text and "net.edgeseg" in text
    assert "mkdir -p" in refused(UsageError, out=tmp_path / "no" / "net.edgeseg")
    text = refused(UsageError, network="fcn99")
    assert "fcn8-camvid" in text.split("one of: ")[1]
    assert "not a network trained by edgeseg" in refused(UsageError, network=str(workshop.data / "train/train_00.png"))
    assert "does not exist" in refused(UsageError, data=str(tmp_path / "nothing"))
    assert "above 0" in refused(UsageError, calibration="0")
    (tmp_path / "dir.edgeseg").mkdir()
    assert "is a folder" in refused(UsageError, out=tmp_path / "dir.edgeseg")


def test_int8_without_images_is_refused(refused):
    text = refused(UsageError, data=None)
    assert "--data" in text and "--calibration random" in text


def test_random_calibration_on_request(workshop, tmp_path):
    out = tmp_path / "noise.edgeseg"
    said: list[str] = []
    export_bundle(ExportRequest(str(workshop.network), out, calibration="random"), said.append)
    reports = reports_of(out)
    assert reports["calibration"]["kind"] == "random"
    assert "RANDOM" in said[0]
    assert reports["parity"]["source"] == "generated scenes" and reports["accuracy"] is None


def test_a_network_that_int8_ruins_leaves_no_file(workshop, refused, tmp_path):
    """One logit far below the others: 8 bits over that range leave them only a few steps."""
    network, card = load_network(workshop.network)
    kernel, bias = network.get_layer("score").get_weights()
    bias[5] = -4000
    network.get_layer("score").set_weights([kernel, bias])
    save_network(tmp_path / "ruined.keras", network, card)
    text = refused(CheckFailed, network=str(tmp_path / "ruined.keras"))
    assert "of the pixels agree, 97.0% are required" in text
    assert "First stage that differs: logits" in text


def test_a_failed_export_keeps_the_old_bundle(int8_bundle, refused, tmp_path):
    shutil.copy(int8_bundle, tmp_path / "out.edgeseg")
    before = (tmp_path / "out.edgeseg").read_bytes()
    refused(UsageError, network="fcn99")
    assert (tmp_path / "out.edgeseg").read_bytes() == before


def test_classes_of_the_data_must_be_those_of_the_network(workshop, refused, tmp_path):
    network, card = load_network(workshop.network)
    renamed = tuple(c._replace(name="Lava") if c.name == "Road" else c for c in card.classes)
    save_network(tmp_path / "renamed.keras", network, card._replace(classes=renamed))
    assert "Lava" in refused(UsageError, network=str(tmp_path / "renamed.keras"))


def test_a_truncated_network(workshop, refused, tmp_path):
    data = workshop.network.read_bytes()
    (tmp_path / "half.keras").write_bytes(data[: len(data) // 2])
    assert "half.keras" in refused(UsageError, network=str(tmp_path / "half.keras"))


def test_zoo_network_without_data(box, int8_bundle, tmp_path):
    """The user has no CamVid: the file calibrated on it is taken, compared again, and this is said."""
    out = tmp_path / "mine.edgeseg"
    said: list[str] = []
    export_bundle(ExportRequest("fcn8-camvid", out), said.append)
    shipped, mine = read_bundle(str(int8_bundle)), read_bundle(str(out))
    assert mine.payloads == shipped.payloads
    assert "ships with fcn8-camvid, calibrated on 16 images (CamVid train)" in said[0] and "--data" in said[0]
    reused = mine.manifest.provenance["reused"]
    assert reused["from"] == "fcn8-camvid.edgeseg" and reused["parity"]["images"] == 20
    assert mine.manifest.parity == shipped.manifest.parity
    assert mine.manifest.accuracy == shipped.manifest.accuracy


def test_zoo_bundle_of_another_network(box, workshop, refused):
    network, card = load_network(workshop.network)
    save_network(box / "fcn8-camvid.keras", network, card._replace(init="other"))
    assert "was not made from" in refused(BundleError, network="fcn8-camvid", data=None)


def test_zoo_bundle_whose_payload_is_not_what_it_says(box, int8_bundle, fp32_bundle, refused):
    """A float file under an int8 manifest."""
    from edgeseg.bundle import payload_info

    manifest = read_bundle(str(int8_bundle)).manifest
    payload = read_bundle(str(fp32_bundle)).payloads["tflite"]
    manifest = manifest._replace(payloads=(payload_info("tflite", "network.tflite", payload),))
    write_bundle(str(box / "fcn8-camvid.edgeseg"), manifest, {"tflite": payload})
    assert "float tensor(s)" in refused(BundleError, network="fcn8-camvid", data=None)


def test_zoo_file_that_is_absent(box, refused):
    (box / "fcn8-camvid.edgeseg").unlink()
    assert "not part of this installation" in refused(UsageError, network="fcn8-camvid", data=None)
    (box / "fcn8-camvid.keras").unlink()
    assert "not part of this installation" in refused(UsageError, network="fcn8-camvid")


def test_learned_upsampling_becomes_full_integer():
    """A transposed convolution must not bring floats or dynamic shapes with it."""
    import keras
    import numpy as np
    from keras import layers

    from edgeseg.export.tflite import to_int8_tflite
    from edgeseg.tflite.model import read_tflite

    image = keras.Input((32, 32, 3))
    x = layers.ReLU(6.0)(layers.Conv2D(8, 3, 2, padding="same")(image))
    x = layers.Conv2DTranspose(8, 4, 2, padding="same", use_bias=False)(x)
    data = to_int8_tflite(keras.Model(image, x), [np.zeros((32, 32, 3), np.uint8)])
    assert "TRANSPOSE_CONV" in {o.name for o in read_tflite(data).operators}


def jetson(workshop, tmp_path, **changes):
    """An export for a Jetson; the bundle and what was said."""
    said: list[str] = []
    request = ExportRequest(str(workshop.network), tmp_path / "board.edgeseg", data=str(workshop.data))
    export_bundle(request._replace(**changes), said.append)
    return read_bundle(str(tmp_path / "board.edgeseg")), said


def onnx_logits(payload, image):
    """(h, w, classes) by ONNX Runtime, of a frame in the type that the file asks for."""
    import onnxruntime

    session = onnxruntime.InferenceSession(payload, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    kinds = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
    return session.run(None, {source.name: image[None].astype(kinds[source.type])})[0][0].transpose(1, 2, 0)


@pytest.mark.parametrize(
    ("target", "precision", "dtype"),
    [("xavier", "fp16", "uint8"), ("orin", "int8", "uint8"), ("tx2", "fp16", "float32"), ("nano", "fp32", "float32")],
)
def test_bundle_for_a_jetson(workshop, tmp_path, target, precision, dtype):
    bundle, _ = jetson(workshop, tmp_path, target=target, precision=precision)
    manifest = bundle.manifest
    assert manifest.target == (target, "tensorrt", precision, None)
    assert manifest.input == ((1, 64, 96, 3), dtype, "nhwc", "rgb", (1.0,) * 3, (0.0,) * 3, "stretch")
    assert manifest.output == ((1, 11, 8, 12), "float32", "nchw", "logits", "half_pixel", 1.0, 0)
    assert sorted(bundle.payloads) == ["golden", "onnx"]
    golden = unpack_golden(bundle.payloads["golden"])
    np.testing.assert_allclose(onnx_logits(bundle.payloads["onnx"], golden.image), golden.logits, atol=1e-5)
    assert manifest.parity and manifest.parity["agreement"] >= (0.98 if precision == "int8" else 0.99)
    assert manifest.accuracy and manifest.accuracy["images"] == 6
    assert (manifest.calibration is not None) == (precision == "int8")


def test_the_bundle_runs_on_a_pc_and_gives_the_masks_of_the_float_network(workshop, tmp_path):
    from edgeseg.models.evaluate import logits_of
    from edgeseg.postprocess import upsample_argmax
    from edgeseg.segmenter import Segmenter

    bundle, _ = jetson(workshop, tmp_path, target="tx2")
    image, _ = open_dataset(str(workshop.data)).read(open_dataset(str(workshop.data)).pairs("val")[0])
    (logits,) = logits_of(load_network(workshop.network)[0], [image])
    with Segmenter(bundle, device="cpu") as segmenter:
        mask = segmenter(image, color="rgb").mask
    assert (mask == upsample_argmax(logits, image.shape[:2])).mean() > 0.995


def test_int8_for_a_dla_is_a_float_graph_with_ranges(workshop, tmp_path):
    import onnx

    bundle, said = jetson(workshop, tmp_path, target="xavier", precision="int8", dla=1)
    assert bundle.manifest.target.dla == 1
    nodes = onnx.load_from_string(bundle.payloads["onnx"]).graph.node
    assert not [node for node in nodes if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    ranges = json.loads(bundle.payloads["activation-ranges"])
    assert set(ranges) == {node.output[0] for node in nodes} - {"pixels", "planes", "scaled"}
    assert any("DLA" in line and "fall back to the GPU" in line and "Cast" in line for line in said)
    golden = unpack_golden(bundle.payloads["golden"])
    difference = onnx_logits(bundle.payloads["onnx"], golden.image) - golden.logits
    assert np.abs(difference).max() > 0.01  # golden and parity are those of int8, which the float graph is not
    assert bundle.manifest.parity and bundle.manifest.parity["logits_relative_error"] > 0.001


def test_int8_of_a_zoo_network_takes_the_ranges_in_the_box(box, tmp_path, workshop):
    with_data, _ = jetson(workshop, tmp_path, target="xavier", precision="int8")
    without, said = jetson(workshop, tmp_path, network="fcn8-camvid", data=None, target="xavier", precision="int8")
    assert without.payloads["onnx"] == with_data.payloads["onnx"]
    assert "ships with fcn8-camvid" in said[0]
    assert without.manifest.calibration == with_data.manifest.calibration


def test_what_a_board_has_not_is_refused(refused):
    assert "use --precision fp16" in refused(UsageError, target="tx2", precision="int8")
    assert "has no DLA" in refused(UsageError, target="nano", dla=0)
    assert "targets: cpu" in refused(UsageError, target="xavier3")


def test_int8_of_the_network_in_the_box_agrees_on_camvid(shared_data, tmp_path):
    """The whole of CamVid val, as it is on disk."""
    camvid = shared_data("camvid")
    from edgeseg.export.parity import compare
    from edgeseg.export.product import Images, make_product
    from edgeseg.export.source import open_network
    from edgeseg.export.targets import find_target
    from edgeseg.frames import dataset_frames

    source = open_network("fcn8-camvid")
    product = make_product(source, find_target("xavier"), "int8", None, Images(None, 100), silent)
    target = TargetInfo("xavier", "tensorrt", "int8")
    frames = dataset_frames(open_dataset(camvid), "val", 101)
    parity, accuracy = compare(source.network, product.exported, frames, source.card.classes, target)
    assert parity.images == 101 and parity.agreement >= 0.98
    assert accuracy and accuracy["miou"] > 0.72
