"""The SPP network on every target: one form, whose operators the Edge TPU, TensorRT and a CPU all take."""

import json
from collections import Counter

import numpy as np
import pytest

from edgeseg.bundle import read_bundle
from edgeseg.coral.preflight import preflight
from edgeseg.datasets import open_dataset
from edgeseg.export.dla import MAX_LOADABLES, dla_report
from edgeseg.export.fold import fold
from edgeseg.export.litert import ExportedNetwork
from edgeseg.export.onnx import Graph, to_onnx
from edgeseg.export.onnx_rules import check_onnx
from edgeseg.export.ort import OnnxNetwork
from edgeseg.export.pipeline import ExportRequest, export_bundle
from edgeseg.export.ranges import magnitudes
from edgeseg.export.tflite import to_float_tflite, to_int8_tflite, to_int8_untrained
from edgeseg.models.cost import cost_of
from edgeseg.models.evaluate import logits_of
from edgeseg.models.file import load_network
from edgeseg.preprocess import resize
from edgeseg.tflite.model import read_tflite

OPERATORS = {
    "QUANTIZE": 1,  # uint8 pixels
    "PAD": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "ADD": 2,
    "RESIZE_BILINEAR": 3,
    "AVERAGE_POOL_2D": 2,
    "CONCATENATION": 2,
}


def build(imgsz, width=0.35, name="spp"):
    from edgeseg.models.network import NetworkSpec
    from edgeseg.models.network import build as build_network

    return build_network(NetworkSpec(name, width, imgsz, 11))


def noise(imgsz, count=2):
    return np.random.default_rng(0).integers(0, 256, (count, *imgsz, 3), np.uint8)


def test_all_of_it_runs_on_the_edge_tpu():
    imgsz = (352, 480)
    model = read_tflite(to_int8_untrained(build(imgsz)))
    assert {name: version for name, version, _ in model.operator_counts()} == OPERATORS
    found = preflight(model)
    assert found.whole, found.summary()
    assert not found.problems and not found.notes  # nor anything that was never seen to map
    for operator in model.operators:
        if operator.name == "RESIZE_BILINEAR":
            before, after = (model.tensors[i].shape[1:3] for i in (operator.inputs[0], operator.outputs[0]))
            assert after == (2 * before[0], 2 * before[1]) and before != (1, 1)
            assert operator.options["half_pixel"]


@pytest.fixture(scope="module")
def network(spp):
    return load_network(spp)[0]


@pytest.fixture(scope="module")
def images(workshop):
    dataset = open_dataset(str(workshop.data))
    return [dataset.read(pair)[0] for pair in dataset.pairs("val")[:2]]


def same_in_every_runtime(network, images):
    """Float logits of Keras, LiteRT and ONNX Runtime; images have the size of the network."""
    graph = Graph(fold(network), "image", network.input_shape[1:3])
    tflite = ExportedNetwork(to_float_tflite(network))
    onnx = OnnxNetwork(to_onnx(graph, "spp").SerializeToString())
    for image, expected in zip(images, logits_of(network, images), strict=True):
        atol = 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(tflite.run(image)[0], expected, atol=atol)
        np.testing.assert_allclose(onnx.real_logits(onnx.run(image)[0]), expected, atol=atol)


def test_every_runtime_computes_the_same(network, images):
    same_in_every_runtime(network, images)


def test_every_runtime_computes_the_same_of_a_camera_frame(shared_data):
    """An uneven map, 11x15, and a real picture."""
    dataset = open_dataset(shared_data("camvid"))
    image, _ = dataset.read(dataset.pairs("val")[0])
    same_in_every_runtime(build((352, 480)), [resize(image, (352, 480))])


def test_the_pyramid_keeps_its_scale(spp, images):
    """Means are in the range of what they are the means of; the way back has the range of the pyramid's projection."""
    network = load_network(spp)[0]
    steps = fold(network)
    found = magnitudes(read_tflite(to_int8_tflite(network, images)), steps, "image")
    means = ("bins_double", "bins4", "bins2", "bins1", "bins2_up", "bins1_up", "bins")
    assert {found[name] for name in means} == {found["fc6_pointwise_relu"]}
    back = [step.name for step in steps if step.name.startswith("spread")]
    assert len(back) > 1 and {found[name] for name in back} == {found["pyramid_relu"]}
    assert found["pyramid_relu"] <= 6.1


def test_float_and_int8_onnx_obey_every_rule(network, images):
    steps = fold(network)
    ranges = magnitudes(read_tflite(to_int8_tflite(network, images)), steps, "image")
    graph = Graph(steps, "image", network.input_shape[1:3])
    for changed, oldest in (
        (graph._replace(input_type="float32"), (8, 2)),
        (graph._replace(weights="float16", float16=True), (8, 6)),
        (graph._replace(ranges=ranges), (8, 5)),
    ):
        model = to_onnx(changed, "spp")
        assert check_onnx(model.SerializeToString(), oldest) == []
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds["Resize"] == 8 and kinds["AveragePool"] == 4 and kinds["Concat"] == 1


def test_a_dla_runs_all_but_the_wide_poolings():
    model = to_onnx(Graph(fold(build((352, 480))), "image", (352, 480)), "spp")
    report = dla_report(model, 1)
    assert report.loadables <= MAX_LOADABLES
    fallen = {layer.node for layer in report.layers if not layer.on_dla and layer.op == "AveragePool"}
    assert fallen == {"bins4", "bins2", "bins1", "spread"}
    assert sum(not layer.on_dla for layer in report.layers) == len(fallen) + 4  # and the pixels' own


@pytest.mark.parametrize(("target", "precision"), [("cpu", "int8"), ("xavier", "int8"), ("tx2", "fp16")])
def test_export(spp, workshop, tmp_path, target, precision):
    out = tmp_path / "spp.edgeseg"
    export_bundle(ExportRequest(str(spp), out, target, precision, str(workshop.data)), lambda text: None)
    manifest = json.loads(read_bundle(str(out)).manifest.to_json())
    assert manifest["network"]["architecture"] == "spp" and manifest["network"]["stride"] == 4
    assert manifest["parity"]["agreement"] >= manifest["parity"]["agreement_required"]
    assert manifest["accuracy"]["miou"] > 0.5


def test_it_costs_little_more_than_fcn8():
    spp, fcn8 = (cost_of(build((352, 480), 1.0, name)) for name in ("spp", "fcn8"))
    assert fcn8.macs < spp.macs < 1.15 * fcn8.macs
    assert fcn8.parameters < spp.parameters < 1.1 * fcn8.parameters
