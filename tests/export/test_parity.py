"""Parity: the right figures, and the first stage that differs."""

import numpy as np
import pytest

from edgeseg.bundle import read_bundle
from edgeseg.datasets import open_dataset
from edgeseg.errors import CheckFailed
from edgeseg.export import tflite
from edgeseg.export.litert import ExportedNetwork
from edgeseg.export.parity import compare
from edgeseg.frames import dataset_frames, pattern_frames
from edgeseg.manifest import TargetInfo
from edgeseg.models.activations import observe
from edgeseg.models.evaluate import scores_on
from edgeseg.models.fake_quant import Range
from edgeseg.models.file import load_network
from edgeseg.palette import CAMVID

INT8, FP32 = (TargetInfo("cpu", "tflite", precision) for precision in ("int8", "fp32"))


def exported(path):
    return ExportedNetwork(read_bundle(str(path)).payloads["tflite"])


@pytest.fixture(scope="module")
def network(workshop):
    return load_network(workshop.network)[0]


@pytest.fixture(scope="module")
def val(workshop):
    return dataset_frames(open_dataset(str(workshop.data)), "val", 6)


def test_float_miou_is_that_of_training(network, val, workshop, fp32_bundle):
    parity, accuracy = compare(network, exported(fp32_bundle), val, CAMVID, FP32)
    dataset = open_dataset(str(workshop.data))
    expected = scores_on(network, dataset, dataset.pairs("val")).miou
    assert parity.miou_float == pytest.approx(expected, abs=1e-9)
    assert parity.miou_exported == pytest.approx(expected, abs=1e-4)
    assert accuracy and accuracy["miou"] == parity.miou_exported
    assert parity.agreement > 0.9999 and parity.failures == [] and parity.first_difference is None
    assert (parity.images, parity.source) == (6, "CamVid val")


def test_another_network_fails_at_the_logits(network, val, int8_bundle):
    """The file of a network whose last layer takes Road for Sky."""
    import keras

    other = keras.models.clone_model(network)
    other.set_weights(network.get_weights())
    kernel, bias = other.get_layer("score").get_weights()
    order = [3, 1, 2, 0, *range(4, 11)]
    other.get_layer("score").set_weights([kernel[..., order], bias[order]])
    parity, _ = compare(other, exported(int8_bundle), val, CAMVID, INT8)
    assert parity.first_difference == "logits"
    with pytest.raises(CheckFailed, match=r"of the pixels agree, 97.0% are required\. First stage .* logits"):
        parity.require()


def test_limits(network, val, fp32_bundle):
    parity, _ = compare(network, exported(fp32_bundle), val, CAMVID, FP32)
    parity = parity._replace(agreement=0.97, agreement_required=0.97, miou_float=0.64, miou_exported=0.631)
    assert parity.failures == []
    assert "96.99% of the pixels" in parity._replace(agreement=0.9699).failures[0]
    assert "mIoU falls from 64.00% to 62.90%" in parity._replace(miou_exported=0.629).failures[0]


def test_wrong_input_scale_is_refused_and_found_at_the_input(network, val, monkeypatch):
    """The range of the input ends at 0, and bright pixels are lost."""
    ranges = observe(network, [frame.image for frame in val.read()]).ranges("percentile")
    monkeypatch.setattr(tflite, "INPUT_RANGE", Range(-1, 0))
    with pytest.raises(CheckFailed, match="input scale"):
        tflite.to_int8(network, ranges)
    payload = tflite._convert(tflite._rounding(network, ranges), "uint8")
    parity, _ = compare(network, ExportedNetwork(payload), val, CAMVID, INT8)
    assert parity.first_difference == "input"


def test_generated_scenes_count_where_the_float_network_is_sure(network, int8_bundle):
    parity, accuracy = compare(network, exported(int8_bundle), pattern_frames(3), CAMVID, INT8)
    assert accuracy is None and parity.miou_float is None
    assert not parity.familiar and 0 < parity.sure_share < 1
    assert parity.sure_agreement > parity.logits_agreement
    assert parity._replace(agreement=0.5).failures == []
    assert len(parity._replace(sure_agreement=0.5).failures) == 1


def test_a_network_without_numbers(network, val, fp32_bundle):
    import keras

    broken = keras.models.clone_model(network)
    broken.set_weights([w * np.nan for w in network.get_weights()])
    with pytest.raises(CheckFailed, match="NaN"):
        compare(broken, exported(fp32_bundle), val, CAMVID, FP32)
