"""The ONNX file computes what the Keras network computes, and quantises it by the rules of TensorRT."""

import json

import numpy as np
import onnx
import pytest

from edgeseg.errors import CheckFailed, UsageError
from edgeseg.export.fold import fold
from edgeseg.export.onnx import Graph, tensor_ranges, to_onnx
from edgeseg.export.onnx_rules import check_onnx


def session(model):
    import onnxruntime

    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def logits_of(model, image):
    """(h, w, classes) of one image (H, W, 3) uint8, as float pixels where the graph wants these."""
    runner = session(model)
    (source,) = runner.get_inputs()
    dtype = np.uint8 if source.type == "tensor(uint8)" else np.float32
    (logits,) = runner.run(None, {"image": image[None].astype(dtype)})
    return logits[0].transpose(1, 2, 0)


def randomised(network, seed=0):
    """Give BatchNorm statistics that a wrong fold would not survive."""
    rng = np.random.default_rng(seed)
    for layer in network.layers:
        if type(layer).__name__ == "BatchNormalization":
            for weight in layer.weights:
                low = 0.5 if "gamma" in weight.path or "variance" in weight.path else -0.5
                weight.assign(rng.uniform(low, low + 1, weight.shape))
    return network


def graph_of(network, **options):
    return Graph(fold(network), network.inputs[0].name, network.input_shape[1:3], **options)


def noise(network, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (*network.input_shape[1:3], 3), np.uint8)


def keras_logits(network, image):
    return np.asarray(network(image[None].astype(np.float32) / 127.5 - 1, training=False))[0]


def all_layers():
    """Every layer kind that is known, in sizes where each padding rule gives another result."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(4)
    image = keras.Input((24, 36, 3), name="picture")
    x = layers.Conv2D(8, 3, 2, padding="same")(image)  # even size: zeros after only
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(6.0)(x)
    x = layers.Conv2D(8, 5, padding="same", dilation_rate=2, groups=2, use_bias=False)(x)
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.ReLU()(x)
    y = layers.DepthwiseConv2D(3, 2, use_bias=True)(layers.ZeroPadding2D(((1, 0), (2, 1)))(x))
    y = layers.BatchNormalization(center=False)(y)
    z = layers.Conv2DTranspose(4, 4, 2, padding="same")(y)
    z = layers.BatchNormalization()(z)
    z = layers.Concatenate()([layers.UpSampling2D(2, interpolation="bilinear")(y), z])
    z = layers.Concatenate()([z, layers.UpSampling2D((2, 2))(layers.MaxPooling2D(2)(z))])
    z = layers.Dropout(0.1)(z)
    z = layers.AveragePooling2D(2)(z)
    z = layers.AveragePooling2D(3, 1, padding="same")(layers.MaxPooling2D((4, 2), 1, padding="same")(z))
    z = layers.Conv2D(8, 1)(z)
    return randomised(keras.Model(image, layers.Conv2D(5, 1, name="score")(layers.Add()([z, y]))))


@pytest.mark.parametrize("input_type", ["uint8", "float32"])
def test_every_layer_kind_gives_the_logits_of_keras(input_type):
    network = all_layers()
    model = to_onnx(graph_of(network, input_type=input_type), "test")
    image = noise(network)
    expected = keras_logits(network, image)
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(logits_of(model, image), expected, atol=2e-5)
    assert model.graph.input[0].type.tensor_type.elem_type == (2 if input_type == "uint8" else 1)


@pytest.mark.parametrize(
    ("architecture", "geometry", "upsampling"),
    [
        ("fcn32", "same", "bilinear"),
        ("fcn16", "symmetric", "bilinear"),
        ("fcn8", "same", "learned"),
        ("spp", "same", "bilinear"),
    ],
)
def test_networks_of_edgeseg(architecture, geometry, upsampling):
    from edgeseg.models.network import NetworkSpec, build

    spec = NetworkSpec(architecture, 0.35, (64, 96), 11, geometry, upsampling)
    network = randomised(build(spec))
    image = noise(network)
    expected = keras_logits(network, image)
    found = logits_of(to_onnx(graph_of(network), "test"), image)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_the_file_is_what_the_oldest_tensorrt_reads():
    model = to_onnx(graph_of(all_layers(), input_type="float32"), "test")
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 13)] and model.ir_version == 7
    assert {node.op_type for node in model.graph.node}.isdisjoint({"BatchNormalization", "Pad", "Reshape", "ArgMax"})
    ends = (*model.graph.input, *model.graph.output)
    assert [[d.dim_value for d in end.type.tensor_type.shape.dim] for end in ends] == [[1, 24, 36, 3], [1, 5, 6, 10]]
    assert errors(model) == []


def errors(model, oldest=(8, 2)):
    return [v for v in check_onnx(model.SerializeToString(), oldest) if v.severity == "error"]


def test_float16_inside_float32_outside():
    network = all_layers()
    model = to_onnx(graph_of(network, weights="float16", float16=True), "test")
    kinds = {i.name.split("/")[-1]: i.data_type for i in model.graph.initializer}
    assert kinds["weight"] == kinds["bias"] == onnx.TensorProto.FLOAT16
    assert model.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    image = noise(network)
    expected = keras_logits(network, image)
    error = np.abs(logits_of(model, image) - expected).max()
    assert 0 < error < 0.01 * np.abs(expected).max()


def test_float16_weights_in_a_float32_file_lie_on_the_float16_grid():
    model = to_onnx(graph_of(all_layers(), weights="float16"), "test")
    weights = [onnx.numpy_helper.to_array(i) for i in model.graph.initializer if i.name.endswith("/weight")]
    assert weights and all(w.dtype == np.float32 and (w == w.astype(np.float16)).all() for w in weights)


def ranges_of(network):
    """Magnitudes of every step's tensor over a few images, as a calibration would find them."""
    import keras

    steps = fold(network)
    features = keras.Model(network.input, [network.get_layer(step.name).output for step in steps])
    batch = np.stack([noise(network, seed) for seed in range(4)]).astype(np.float32) / 127.5 - 1
    values = features(batch, training=False)
    ranges = {step.name: float(np.abs(value).max()) for step, value in zip(steps, values, strict=True)}
    return {network.inputs[0].name: 1.0, **ranges}


def quantised(network, **options):
    return to_onnx(graph_of(network, ranges=ranges_of(network), **options), "test")


def test_int8_is_near_the_float_network():
    network = all_layers()
    image = noise(network)
    expected = keras_logits(network, image)
    error = np.sqrt(np.mean((logits_of(quantised(network), image) - expected) ** 2) / np.mean(expected**2))
    assert 0 < error < 0.06


def test_int8_obeys_the_rules_of_explicit_quantisation():
    network = all_layers()
    model = quantised(network)
    assert errors(model, (8, 5)) == []
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    convolutions = [n for n in model.graph.node if n.op_type in ("Conv", "ConvTranspose")]
    for node in convolutions:
        source, weight = (makers[name] for name in node.input[:2])
        assert source.op_type == weight.op_type == "DequantizeLinear"
        assert constants[node.input[2]].dtype == np.float32  # the bias
        quantise = makers[weight.input[0]]
        original, scale, zero = (constants[name] for name in quantise.input)
        assert original.dtype == np.float32 and zero.dtype == np.int8 and not zero.any()
        axes = {a.name: a.i for a in quantise.attribute}
        assert axes == ({"axis": 0} if node.op_type == "Conv" else {})
        assert scale.shape == ((original.shape[0],) if node.op_type == "Conv" else ())
        steps = original / scale.reshape(-1, 1, 1, 1) if scale.ndim else original / scale
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)
        assert np.abs(steps).max() < 127.01
    for node in (n for n in model.graph.node if n.op_type == "Concat"):
        scales = {float(constants[makers[makers[name].input[0]].input[1]]) for name in node.input}
        assert len(scales) == 1
    (addition,) = (n for n in model.graph.node if n.op_type == "Add" and "normalised" not in n.output)
    assert sorted(makers[name].op_type for name in addition.input) == ["Conv", "DequantizeLinear"]


def test_a_relu6_that_int8_saturates_is_a_plain_relu():
    """Exact, and TensorRT has int8 kernels for it after any convolution."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(4)
    image = keras.Input((16, 16, 3), name="picture")
    x = layers.ReLU(6.0, name="full")(layers.Conv2D(8, 3, name="a")(image))
    x = layers.ReLU(6.0, name="wide")(layers.Conv2D(8, 3, name="b")(x))
    x = layers.ReLU(6.0, name="resized")(layers.Conv2D(8, 3, name="c")(x))
    x = layers.UpSampling2D(2, interpolation="bilinear", name="up")(x)
    network = keras.Model(image, layers.Conv2D(5, 1, name="score")(x))
    ranges = {"picture": 1.0, "full": 6.0000001, "wide": 7.0, "resized": 6.0, "up": 6.0, "score": 9.0}
    for layer in ("a", "b", "c"):  # so that the ceiling is reached
        kernel, bias = network.get_layer(layer).get_weights()
        network.get_layer(layer).set_weights([kernel * 8, bias + 1])
    model = to_onnx(graph_of(network, ranges=ranges), "test")
    assert {n.output[0]: n.op_type for n in model.graph.node if n.op_type in ("Relu", "Clip")} == {
        "full": "Relu",  # int8 ends at 6
        "wide": "Clip",  # int8 goes up to 7
        "resized": "Clip",  # read in float
    }
    for node in model.graph.node:
        if node.output[0] == "full":
            node.op_type = "Clip"
            node.input.extend(["clip_0", "clip_6"])
    image = noise(network)
    first = to_onnx(graph_of(network, ranges=ranges), "test")
    np.testing.assert_array_equal(unoptimised(model, image), unoptimised(first, image))


def unoptimised(model, image):
    """As each node says, without the kernels of ONNX Runtime for quantised networks."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    runner = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return runner.run(None, {"image": image[None]})[0]


@pytest.mark.parametrize("relu", [False, True])
def test_a_sum_is_absorbed_by_a_convolution_without_relu_only(relu):
    import keras
    from keras import layers

    image = keras.Input((16, 16, 3), name="picture")
    x = layers.Conv2D(8, 1, name="left")(image)
    y = layers.Conv2D(8, 1, name="right")(image)
    y = layers.ReLU(6.0, name="active")(y) if relu else y
    x = layers.ReLU(6.0, name="other")(x)
    network = keras.Model(image, layers.Conv2D(5, 1, name="score")(layers.Add(name="sum")([x, y])))
    ranges = dict.fromkeys(("picture", "other", "right", "active", "sum", "score"), 6.0)
    model = to_onnx(graph_of(network, ranges=ranges), "test")
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    (addition,) = (n for n in model.graph.node if n.output[0] == "sum")
    assert [makers[name] for name in addition.input] == ["DequantizeLinear", "DequantizeLinear" if relu else "Conv"]
    assert errors(model, (8, 5)) == []


@pytest.mark.parametrize("widest", ["source", "other"])
def test_poolings_and_concatenations_that_meet_share_one_range(widest):
    """The input of a pooling whose output is concatenated is as wide as the other inputs, and the other way round."""
    import keras
    from keras import layers

    image = keras.Input((16, 16, 3), name="picture")
    pooled = layers.AveragePooling2D(2, name="pooled")(layers.Conv2D(8, 1, name="source")(image))
    joined = layers.Concatenate(name="joined")([pooled, layers.Conv2D(8, 1, 2, name="other")(image)])
    network = keras.Model(image, layers.Conv2D(5, 1, name="score")(joined))
    ranges = {"picture": 1.0, "source": 2.0, "pooled": 1.5, "other": 3.0, "joined": 3.0, "score": 9.0, widest: 8.0}
    model = to_onnx(graph_of(network, ranges=ranges), "test")
    assert check_onnx(model.SerializeToString(), (8, 5)) == []
    scales = {i.name: float(onnx.numpy_helper.to_array(i)) for i in model.graph.initializer if i.dims == []}
    for name in ("source", "pooled", "other", "joined"):
        assert scales[f"{name}/scale"] == pytest.approx(8 / 127), name


def test_convolutions_that_stay_in_float_have_no_q_dq():
    network = all_layers()
    first = fold(network)[0].name
    model = quantised(network, keep_float=[first])
    makers = {output: node for node in model.graph.node for output in node.output}
    (node,) = (n for n in model.graph.node if n.op_type == "Conv" and n.output[0].startswith(first))
    assert node.input[0] == "normalised" and node.input[1] not in makers


def test_a_missing_range_is_named():
    network = all_layers()
    ranges = ranges_of(network)
    second = fold(network)[1].name
    del ranges[second]
    with pytest.raises(CheckFailed, match=second):
        to_onnx(graph_of(network, ranges=ranges), "test")


def test_ranges_for_a_dla_name_every_tensor_of_the_float_graph():
    network = all_layers()
    first = fold(network)[0].name
    graph = graph_of(network, ranges=ranges_of(network), keep_float=[first])
    ranges = json.loads(json.dumps(tensor_ranges(graph)))
    nodes = to_onnx(graph._replace(ranges=None), "test").graph.node
    before = {"pixels", "planes", "scaled"}  # the network's input: 7 bits are too few for pixels
    assert set(ranges) == {node.output[0] for node in nodes} - before
    assert [name for name, value in ranges.items() if value is None] == [f"{first}/linear"]
    assert all(value > 0 for value in ranges.values() if value is not None)


def test_layers_that_cannot_be_exported_are_named():
    import keras
    from keras import layers

    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 1, name="shared")(image)
    for broken in (layers.Softmax(name="odd"), layers.PReLU(name="odd"), layers.ReLU(negative_slope=0.1, name="odd")):
        with pytest.raises(UsageError, match="odd"):
            fold(keras.Model(image, broken(x)))
    both = layers.Add()([x, layers.BatchNormalization(name="odd")(x)])
    with pytest.raises(UsageError, match="odd"):
        fold(keras.Model(image, both))
    with pytest.raises(UsageError, match="active"):
        fold(keras.Model(image, layers.Conv2D(4, 1, activation="relu", name="active")(x)))
