"""What tells a good engine from a bad one: figures against the golden frame, layers by precision."""

import json

import numpy as np
import pytest

from edgeseg.errors import CheckFailed
from edgeseg.trt.check import ALLOWED_ERROR, REQUIRED_AGREEMENT, compare
from edgeseg.trt.layers import count_layers, layers_text, require_precision
from edgeseg.trt.recipe import Recipe

RECIPE = Recipe("street.edgeseg", "xavier", b"", "uint8", "int8", None, {}, False)


@pytest.fixture
def reference():
    """Logits (8, 12, 5) of a network that is sure of half of the cells."""
    random = np.random.RandomState(5)
    logits = random.randn(8, 12, 5).astype(np.float32)
    winners = random.randint(0, 5, (8, 6))
    logits[:, :6] = 0
    logits[np.arange(8)[:, None], np.arange(6), winners] = 4
    return logits


def test_the_same_logits_agree(reference):
    for precision in ("fp32", "fp16", "int8"):
        check = compare(reference, reference, precision)
        assert check.sure_agreement == 1.0 and check.relative_error == 0.0
        assert check.agreement_required == REQUIRED_AGREEMENT[precision]
        assert check.error_allowed == ALLOWED_ERROR[precision]
        assert 0.5 <= check.sure_share <= 0.8 and check.is_passed


def test_one_wrong_winner_of_the_sure_ones_counts(reference):
    found = reference.copy()
    found[0, 0] = reference[0, 0][::-1] if reference[0, 0].argmax() != 2 else np.roll(reference[0, 0], 1)
    check = compare(reference, found, "fp16")
    sure = round(check.sure_share * 96)
    assert check.sure_agreement == pytest.approx(1 - 1 / sure)
    # Whether that is too many depends on the precision, whatever the error of the logits.
    assert not check._replace(relative_error=0.0).is_passed
    assert check._replace(relative_error=0.0, agreement_required=REQUIRED_AGREEMENT["int8"]).is_passed
    unsure = reference.copy()
    best = np.sort(reference, -1)
    y, x = np.argwhere(best[..., -1] - best[..., -2] < 2)[0]
    unsure[y, x] = np.roll(reference[y, x], 1)
    assert compare(reference, unsure, "fp16").sure_agreement == 1.0


def test_error_is_relative(reference):
    assert compare(reference, reference * 1.1, "fp16").relative_error == pytest.approx(0.1, rel=1e-5)
    assert compare(reference * 100, reference * 110, "fp16").relative_error == pytest.approx(0.1, rel=1e-5)
    assert compare(reference, np.zeros_like(reference), "fp16").relative_error == pytest.approx(1.0)
    assert compare(reference, reference * 1.04, "fp16").is_passed
    assert not compare(reference, reference * 1.06, "fp16").is_passed  # with the same winners


def test_an_unsure_reference_is_told_from_agreement(reference):
    check = compare(reference * 0.1, reference * 0.1, "int8")
    assert check.sure_agreement is None and check.sure_share == 0
    assert "no sure winners" in check.text and "0.00% RMS (25% allowed)" in check.text


def test_figures_as_text(reference):
    assert compare(reference, reference * 1.01, "fp16").text == (
        "100.00% of the sure winners agree (99.0% required), logits differ by 1.00% RMS (5% allowed)"
    )


def layer(kind="CaskConvolution", inputs=(), outputs=(), weights=None):
    tensors = [
        [{"Name": "x", "Dimensions": [1], "Format/Datatype": name} for name in names] for names in (inputs, outputs)
    ]
    made = {"Name": "layer", "LayerType": kind, "Inputs": tensors[0], "Outputs": tensors[1]}
    return dict(made, Weights={"Type": weights, "Count": 9}) if weights else made


def test_layers_are_counted_by_what_they_compute_in():
    long_name = "Thirty-two wide channel vectorized row major Int8 format"
    layers = [
        layer(inputs=[long_name], outputs=[long_name], weights="Int8"),
        layer(inputs=["Int8"], outputs=["Half"], weights="Int8"),
        layer(inputs=["Int8"], outputs=["Int8"], weights="Float"),  # converts, computes in fp32, converts back
        layer(inputs=["Two wide channel vectorized row major FP16 format"], outputs=["Row major linear FP32"]),
        layer("Pooling", inputs=["Half"], outputs=["Half"]),
        layer("kgen", inputs=["Float"], outputs=["Float"]),
        layer("kgen", inputs=["BFloat16"], outputs=["BFloat16"]),
        layer("Cast", inputs=["UInt8"], outputs=["Half"]),
        layer("Reformat", inputs=["Row major linear FP32"], outputs=[long_name]),  # moves data
        layer("Shape"),
    ]
    counts = count_layers(json.dumps({"Layers": layers, "Bindings": ["image", "logits"]}))
    assert counts == {"int8": 2, "fp16": 3, "fp32": 2, "other": 2}
    assert layers_text(counts) == "2 int8, 3 fp16, 2 fp32, 2 other"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no inspector",
        "[]",
        "null",
        '{"Layers": []}',
        '{"Layers": ["conv1 + relu", "conv2"]}',  # without detailed verbosity
        '{"Layers": [{"Name": "conv", "Inputs": [{"Format/Datatype": "N/A due to dynamic shapes"}]}]}',
    ],
)
def test_where_tensorrt_does_not_tell(text):
    assert count_layers(text) is None
    assert layers_text(None) == "not known"
    require_precision(None, RECIPE)


def test_an_engine_without_the_precision_is_refused():
    require_precision({"int8": 1, "fp16": 60}, RECIPE)
    with pytest.raises(CheckFailed, match=r"no int8 layer for street\.edgeseg: 60 fp16, 2 fp32") as caught:
        require_precision({"fp16": 60, "fp32": 2}, RECIPE)
    assert "edgeseg compile street.edgeseg --force" in caught.value.fix
    with pytest.raises(CheckFailed, match="no fp16 layer"):
        require_precision({"fp32": 62}, RECIPE._replace(precision="fp16"))
    require_precision({"fp16": 62}, RECIPE._replace(precision="fp32"))
