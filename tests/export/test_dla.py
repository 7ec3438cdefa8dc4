"""Where a deep-learning accelerator ends: each limit from both sides, and how the GPU's layers cut a network."""

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgeseg.export.dla import MAX_LOADABLES, dla_report, dla_summary

XAVIER, ORIN = 1, 2


def model(nodes: list[Any], constants: dict[str, Any], image: tuple[int, ...], dtype: int = TensorProto.FLOAT):
    """A graph from "image" to the output of the last node."""
    return helper.make_model(
        helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("image", dtype, image)],
            [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.UNDEFINED, None)],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 13)],
    )


def layer(op: str, *constants: Any, image: tuple[int, ...] = (1, 8, 64, 64), **attributes: Any) -> ModelProto:
    """One layer on the image; None is an input that is left out, "image" the image again."""
    names = ["image"]
    values = {}
    for i, constant in enumerate(constants):
        names.append(constant if isinstance(constant, str) else "" if constant is None else f"constant{i}")
        if not isinstance(constant, str) and constant is not None:
            values[f"constant{i}"] = np.asarray(constant, np.float32)
    return model([helper.make_node(op, names, ["logits"], name="layer", **attributes)], values, image)


def kernel(size: int | tuple[int, int], inputs: int = 8, outputs: int = 8) -> np.ndarray:
    return np.zeros((outputs, inputs, *(size if isinstance(size, tuple) else (size, size))), np.float32)


def resize(scales: list[float], mode: str = "linear", coordinates: str = "half_pixel") -> ModelProto:
    return layer("Resize", None, scales, mode=mode, coordinate_transformation_mode=coordinates)


BIAS = [0.0] * 8
ON_DLA = {
    "conv": layer("Conv", kernel(3), BIAS, pads=[1, 1, 1, 1]),
    "conv, padded below and to the right": layer("Conv", kernel(3), BIAS, pads=[0, 0, 1, 1], strides=[2, 2]),
    "conv at its limits": layer("Conv", kernel(32), BIAS, pads=[31, 31, 31, 31], strides=[8, 8]),
    "dilated conv": layer("Conv", kernel(2), dilations=[32, 32]),
    "depthwise conv": layer("Conv", kernel(3, 1), BIAS, group=8),
    "deconv of its stride": layer("ConvTranspose", kernel(2), BIAS, strides=[2, 2]),
    "deconv of 22": layer("ConvTranspose", kernel(22), strides=[22, 22], image=(1, 8, 4, 4)),
    "long deconv": layer("ConvTranspose", kernel((1, 64)), strides=[1, 1]),
    "conv 1x1": layer("Conv", kernel(1)),
    "deconv 1x1": layer("ConvTranspose", kernel(1)),
    "deconv of 22 and 32": layer("ConvTranspose", kernel((22, 32)), image=(1, 8, 4, 4)),
    "longest deconv": layer("ConvTranspose", kernel((128, 1))),
    "relu": layer("Relu"),
    "relu6": layer("Clip", 0.0, 6.0),
    "least ceiling": layer("Clip", 0.0, 1.0),
    "highest ceiling": layer("Clip", 0.0, 127.0),
    "leaky relu": layer("LeakyRelu"),
    "parametric relu": layer("PRelu", [[[[0.1]]]]),
    "pool 8": layer("MaxPool", kernel_shape=[8, 8], strides=[8, 8]),
    "average": layer("AveragePool", kernel_shape=[2, 2], strides=[2, 2]),
    "average of the padding too": layer("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    "pool 1": layer("MaxPool", kernel_shape=[1, 1]),
    "pool at its limits": layer("MaxPool", kernel_shape=[8, 8], strides=[16, 16], pads=[7, 7, 7, 7]),
    "sum": layer("Add", "image"),
    "concat": layer("Concat", "image", axis=1),
    "concat from behind": layer("Concat", "image", axis=-3),
    "bilinear x4": resize([1, 1, 4, 4]),
    "nearest x32": resize([1, 1, 32, 32], "nearest", "asymmetric"),
    "pytorch's bilinear": resize([1, 1, 2, 2], coordinates="pytorch_half_pixel"),
    "batch norm": layer("BatchNormalization", BIAS, BIAS, BIAS, BIAS),
}
ON_GPU = [
    ("kernel size 33", layer("Conv", kernel(33), BIAS)),
    ("padding 32", layer("Conv", kernel(32), BIAS, pads=[32, 0, 0, 0])),
    ("as wide as its kernel", layer("Conv", kernel(3), BIAS, pads=[3, 0, 0, 0])),
    ("stride 9", layer("Conv", kernel(3), BIAS, strides=[9, 9])),
    ("dilation 33", layer("Conv", kernel(2), BIAS, dilations=[33, 1])),
    ("weights are not constant", layer("Conv", "image", image=(1, 1, 16, 16))),
    ("padding is SAME_UPPER", layer("Conv", kernel(3), BIAS, auto_pad="SAME_UPPER")),
    ("must have padding 0", layer("ConvTranspose", kernel(4), BIAS, strides=[2, 2], pads=[1, 1, 1, 1])),
    ("kernel size 33", layer("ConvTranspose", kernel((33, 1)))),
    ("23 to 32 are switched off", layer("ConvTranspose", kernel(32), strides=[31, 31], image=(1, 8, 4, 4))),
    ("kernel size 64", layer("ConvTranspose", kernel((2, 64)))),
    ("output is padded", layer("ConvTranspose", kernel(2), BIAS, strides=[2, 2], output_padding=[1, 1])),
    ("one group", layer("ConvTranspose", kernel(2, 1), BIAS, strides=[2, 2], group=8)),
    ("kernel size 64", layer("ConvTranspose", kernel(64), strides=[32, 32], image=(1, 8, 2, 2))),
    ("23 to 32 are switched off", layer("ConvTranspose", kernel(23), strides=[22, 22], image=(1, 8, 4, 4))),
    ("dilation of a transposed convolution 2", layer("ConvTranspose", kernel(2), dilations=[2, 2])),
    ("bounds are 0.0 and 128.0", layer("Clip", 0.0, 128.0)),
    ("bounds are -1.0 and 6.0", layer("Clip", -1.0, 6.0)),
    ("bounds are 0.0 and None", layer("Clip", 0.0)),
    ("pooling window 9", layer("MaxPool", kernel_shape=[9, 9])),
    ("stride 17", layer("MaxPool", kernel_shape=[2, 2], strides=[17, 17])),
    ("padding 8", layer("MaxPool", kernel_shape=[8, 8], pads=[0, 0, 0, 8])),
    ("leaves out the padding", layer("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1])),
    ("slopes are not of rank 4", layer("PRelu", [0.1] * 64)),
    ("reduction", layer("GlobalAveragePool")),
    ("one operand is a constant", layer("Mul", [[[[0.5]]]])),
    ("joins along axis 2", layer("Concat", "image", axis=2)),
    ("one input only", layer("Concat", axis=1)),
    ("no mode cubic", resize([1, 1, 2, 2], "cubic")),
    ("linear takes 1, 1 and whole numbers of 1 to 4", resize([1, 1, 8, 8])),
    ("nearest takes 1, 1 and whole numbers of 1 to 32", resize([1, 1, 1, 33], "nearest")),
    ("scales are [1.0, 2.0, 1.0, 1.0]", resize([1, 2, 1, 1])),
    ("scales are [1.0, 1.0, 5.0, 1.0]", resize([1, 1, 5, 1])),
    ("scales are [1.0, 1.0, 1.5, 1.5]", resize([1, 1, 1.5, 1.5])),
    ("coordinates are align_corners", resize([1, 1, 2, 2], coordinates="align_corners")),
    ("reordered on the GPU", layer("Transpose", perm=[0, 2, 3, 1])),
    (
        "convolutions and poolings only",
        model(
            [helper.make_node("Pad", ["image", "pads"], ["logits"], name="layer")],
            {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])},
            (1, 8, 64, 64),
        ),
    ),
    ("types are converted", layer("Cast", to=TensorProto.FLOAT16)),
    ("no TopK", layer("ArgMax", axis=1)),
    ("no DLA layer", layer("Erf")),
    ("slope is negative", layer("LeakyRelu", alpha=-0.1)),
    ("not of four fixed dimensions", layer("Relu", image=(8, 64, 64))),
    ("sizes of 8192 are the limit", layer("Relu", image=(1, 1, 1, 8193))),
    ("batch of 4096", layer("Relu", image=(4097, 1, 1, 1))),
]


@pytest.mark.parametrize("name", ON_DLA)
def test_a_layer_of_the_dla(name):
    for generation in (XAVIER, ORIN):
        report = dla_report(ON_DLA[name], generation)
        assert report.layers == (("layer", ON_DLA[name].graph.node[0].op_type, True, ""),)
        assert report.loadables == 1


@pytest.mark.parametrize(("reason", "net"), ON_GPU, ids=[reason for reason, _ in ON_GPU])
def test_a_layer_of_the_gpu(reason, net):
    for generation in (XAVIER, ORIN):
        report = dla_report(net, generation)
        assert not report.layers[0].on_dla and reason in report.layers[0].reason
        assert report.loadables == 0


def test_softmax_is_for_orin():
    small, large = (layer("Softmax", image=(1, 2, 2, size)) for size in (1024, 1025))
    assert dla_report(small, ORIN).layers[0].on_dla
    assert not dla_report(large, ORIN).layers[0].on_dla
    assert dla_report(layer("Softmax", axis=1, image=(1, 1025, 1, 1)), ORIN).layers[0].on_dla
    assert "only the DLA of Orin" in dla_report(small, XAVIER).layers[0].reason


def chain(*steps: tuple[str, str, str]) -> ModelProto:
    """Layers as (operator, inputs, output); Relu runs on the DLA, Erf does not."""
    nodes = [helper.make_node(op, inputs.split(), [output], name=output) for op, inputs, output in steps]
    return model(nodes, {}, (1, 8, 16, 16))


@pytest.mark.parametrize(
    ("net", "loadables"),
    [
        (chain(("Relu", "image", "a"), ("Relu", "a", "b")), 1),
        (chain(("Relu", "image", "a"), ("Erf", "a", "b"), ("Relu", "b", "c")), 2),
        # The sum reads what was before the GPU's layer and what comes after it.
        (chain(("Relu", "image", "a"), ("Erf", "a", "b"), ("Relu", "b", "c"), ("Add", "a c", "d")), 2),
        (chain(("Relu", "image", "a"), ("Relu", "a", "b"), ("Relu", "a", "c"), ("Add", "b c", "d")), 1),
        (chain(("Erf", "image", "a"), ("Relu", "a", "b"), ("Relu", "a", "c")), 2),
        (chain(("Erf", "image", "a")), 0),
    ],
)
def test_loadables(net, loadables):
    assert dla_report(net, ORIN).loadables == loadables


def test_camera_pixels_are_no_input_of_a_dla():
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT, name="cast"),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2], name="transpose"),
        helper.make_node("Conv", ["planes", "kernel"], ["logits"], name="conv"),
    ]
    report = dla_report(model(nodes, {"kernel": kernel(3, 3)}, (1, 16, 16, 3), TensorProto.UINT8), XAVIER)
    assert [placed.on_dla for placed in report.layers] == [False, False, True]
    uint8 = model([helper.make_node("MaxPool", ["image"], ["logits"], kernel_shape=[2, 2])], {}, (1, 8, 8, 8), 2)
    assert "image is uint8, not float" in dla_report(uint8, XAVIER).layers[0].reason


def test_summary():
    steps = [("Relu", "image", "t0")]
    for i in range(MAX_LOADABLES):
        steps += [("Erf", f"t{2 * i}", f"t{2 * i + 1}"), ("Relu", f"t{2 * i + 1}", f"t{2 * i + 2}")]
    lines = dla_summary(dla_report(chain(*steps), XAVIER), 1).splitlines()
    assert lines == [
        "DLA core 1 of Xavier: 17 of 33 layers in 17 pieces (a core holds 16); 16 fall back to the GPU:",
        "  Erf t1, t3, t5 and 13 more: edgeseg knows no DLA layer for it",
    ]
    whole = dla_summary(dla_report(chain(("Relu", "image", "a")), ORIN), 0)
    assert whole == "DLA core 0 of Orin: 1 of 1 layers in 1 piece"
