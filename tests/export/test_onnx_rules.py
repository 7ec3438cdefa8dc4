"""Each rule of TensorRT is found in a model that breaks it and no other, and none in models that keep them all."""

import contextlib
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgeseg.errors import CheckFailed, UsageError
from edgeseg.export.onnx_rules import RULES, check_onnx, read_onnx, require_onnx
from edgeseg.export.onnx_rules.facts import facts_of

SHAPE = (1, 4, 16, 16)
STEP = 6 / 127  # scale of values up to 6


class Net:
    """A model under construction, with one input "image" of float32 unless said otherwise."""

    def __init__(self, image: tuple[Any, ...] = SHAPE, dtype: int = TensorProto.FLOAT, opset: int = 13):
        self.inputs = [helper.make_tensor_value_info("image", dtype, image)]
        self.nodes: list[Any] = []
        self.constants: list[TensorProto] = []
        self.opset = opset

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), f"constant{len(self.constants)}"))
        return self.constants[-1].name

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        output = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def conv(self, source: str, weight: str = "", op: str = "Conv", bias: str = "", **attributes: Any) -> str:
        """A convolution 3x3 of 4 channels that keeps the size, unless said otherwise."""
        attributes = {"pads": [1, 1, 1, 1], **attributes}
        inputs = weight or self.constant(weights()), bias or self.constant([0.5] * 4)
        return self.node(op, source, *inputs, **attributes)

    def clip(self, source: str, low: float = 0, high: float = 6, dtype: Any = np.float32) -> str:
        return self.node("Clip", source, self.constant(low, dtype), self.constant(high, dtype))

    def qdq(self, source: str, *scale_and_zero: str, **attributes: Any) -> str:
        integer = self.node("QuantizeLinear", source, *scale_and_zero, **attributes)
        return self.node("DequantizeLinear", integer, *scale_and_zero, **attributes)

    def pair(self, source: str, scale: Any = STEP, zero: Any = 0, dtype: Any = np.int8, **attributes: Any) -> str:
        """Q/DQ with zero points in the shape of the scale."""
        zeros = np.broadcast_to(zero, np.shape(scale)) if np.ndim(zero) == 0 else zero
        return self.qdq(source, self.constant(scale), self.constant(zeros, dtype), **attributes)

    def weight(self, values: np.ndarray | None = None, scale: Any = None, **attributes: Any) -> str:
        """Quantised weights, by default with a scale for each output channel of a Conv."""
        values = weights() if values is None else values
        scale = np.abs(values).max(axis=(1, 2, 3)) / 127 if scale is None else scale
        return self.pair(self.constant(values), scale, **({"axis": 0} if np.size(scale) > 1 else {}), **attributes)

    def int8_conv(self, source: str, **options: Any) -> str:
        """A convolution whose weights are quantised, as `source` is already."""
        return self.conv(source, options.pop("weight", "") or self.weight(), **options)

    def build(self, output: str, shape: Any = SHAPE, dtype: int = TensorProto.FLOAT) -> ModelProto:
        values = [helper.make_tensor_value_info(output, dtype, shape)]
        graph = helper.make_graph(self.nodes, "net", self.inputs, values, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], producer_name="tests")
        model.ir_version = 8
        return model


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, shape or (4, 4, 3, 3)).astype(np.float32)


def float_model() -> ModelProto:
    """Convolutions with ReLU6, pooling, resize, sum and concatenation; none breaks a rule."""
    net = Net()
    x = net.clip(net.conv("image"))
    small = net.node("MaxPool", net.conv(x), kernel_shape=[2, 2], strides=[2, 2])
    up = net.node("Resize", small, "", net.constant([1, 1, 2, 2]), mode="linear")
    both = net.node("Concat", net.node("Add", x, up), x, axis=1)
    return net.build(net.conv(both, net.constant(weights(4, 8, 3, 3))))


def int8_model() -> ModelProto:
    """The same in int8, with a transposed convolution in place of the resize; it breaks no rule either."""
    net = Net()
    x = net.pair(net.clip(net.int8_conv(net.pair("image", 0.02))))
    small = net.pair(net.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]))
    kernel = net.weight(weights(4, 4, 2, 2), 1 / 127)
    up = net.conv(small, kernel, "ConvTranspose", pads=[0] * 4, strides=[2, 2])
    up = net.int8_conv(net.pair(up), weight=net.weight(weights(4, 1, 3, 3)), group=4)
    both = net.node("Concat", net.pair(net.node("Add", up, x)), x, axis=1)
    return net.build(net.int8_conv(net.pair(both), weight=net.weight(weights(4, 8, 3, 3))))


class Case(NamedTuple):
    rule: str
    make: Callable[[], ModelProto]
    oldest: tuple[int, int]
    also: set[str]  # rules that cannot be kept either


CASES: list[Case] = []


def breaks(rule: str, oldest: tuple[int, int] = (8, 2), also: str = "") -> Callable[[Any], Any]:
    def register(make: Callable[[], ModelProto]) -> Callable[[], ModelProto]:
        CASES.append(Case(rule, make, oldest, set(also.split())))
        return make

    return register


# The model as a whole


@breaks("invalid-model")
def a_tensor_that_nobody_makes():
    net = Net()
    return net.build(net.conv("nothing"))


@breaks("invalid-model")
def types_that_do_not_fit():
    net = Net()
    return net.build(net.node("Add", "image", net.constant(1, np.int32)))


@breaks("external-data")
def weights_in_another_file():
    model = float_model()
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "weights.bin")
    model.graph.initializer[0].ClearField("raw_data")
    return model


@breaks("opset")
def opset_14():
    net = Net(opset=14)
    return net.build(net.conv("image"))


@breaks("unsupported-operator")
def an_operator_of_none():
    net = Net()
    return net.build(net.node("Det", net.conv("image")), (1, 4))


@breaks("unsupported-operator")
def an_operator_of_others():
    net = Net()
    output = net.conv("image")
    net.nodes.append(helper.make_node("FusedThing", [output], ["logits"], domain="com.example"))
    model = net.build("logits")
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    return model


@breaks("static-shape")
def open_batch():
    net = Net(("batch", 4, 16, 16))
    return net.build(net.conv("image"), ("batch", 4, 16, 16))


@breaks("static-shape")
def two_images():
    net = Net((2, 4, 16, 16))
    return net.build(net.conv("image"), (2, 4, 16, 16))


@breaks("uint8-input")
def camera_pixels():
    net = Net(dtype=TensorProto.UINT8)
    return net.build(net.conv(net.node("Cast", "image", to=TensorProto.FLOAT)))


@breaks("int64-tensor")
def int64_arithmetic():
    net = Net()
    doubled = net.node("Mul", net.node("Cast", "image", to=TensorProto.INT64), net.constant(2, np.int64))
    return net.build(net.conv(net.node("Cast", doubled, to=TensorProto.FLOAT)))


# Operators


@breaks("batch-norm")
def batch_norm():
    net = Net()
    statistics = [net.constant([1] * 4) for _ in range(4)]
    return net.build(net.node("BatchNormalization", net.conv("image"), *statistics))


@breaks("clip-bounds")
def a_bound_that_is_computed():
    net = Net()
    high = net.node("Mul", net.constant(2), net.constant(3))
    return net.build(net.node("Clip", net.conv("image"), net.constant(0), high))


@breaks("float16-clip")
def clip_in_float16():
    net = Net(dtype=TensorProto.FLOAT16)
    return net.build(net.clip("image", dtype=np.float16), dtype=TensorProto.FLOAT16)


def resized(net: Net, scales: str = "", **attributes: Any) -> ModelProto:
    scales = scales or net.constant([1, 1, 2, 2])
    attributes = {"mode": "linear", **attributes}
    return net.build(net.node("Resize", net.conv("image"), "", scales, **attributes), (1, 4, 32, 32))


@breaks("resize-mode")
def cubic():
    return resized(Net(), mode="cubic")


@breaks("resize-mode")
def crop_and_resize():
    net = Net()
    region = net.constant([0, 0, 0, 0, 1, 1, 1, 1])
    attributes = {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}
    resize = net.node("Resize", net.conv("image"), region, net.constant([1, 1, 2, 2]), **attributes)
    return net.build(resize, (1, 4, 32, 32))


@breaks("resize-mode", oldest=(10, 0))
def antialias():
    return resized(Net(opset=18), antialias=1)


@breaks("resize-mode", oldest=(10, 0))
def two_axes():
    net = Net(opset=18)
    return resized(net, net.constant([2, 2]), axes=[2, 3])


@breaks("resize-scales")
def scales_that_are_computed():
    net = Net()
    return resized(net, net.node("Mul", net.constant([1, 1, 2, 2]), net.constant([1])))


@breaks("resize-scales")
def four_scales():
    net = Net()
    resize = net.node("Resize", net.conv("image"), "", net.constant([2, 1, 1, 1]), mode="linear")
    return net.build(resize, (2, 4, 16, 16))


@breaks("argmax")
def argmax():
    net = Net()
    return net.build(net.node("ArgMax", net.conv("image"), axis=1), (1, 1, 16, 16), TensorProto.INT64)


@breaks("bias-computed")
def a_bias_that_is_computed():
    net = Net()
    return net.build(net.conv("image", bias=net.node("Mul", net.constant([1] * 4), net.constant(2))))


# Q/DQ nodes, around an int8 convolution


def quantised(source: Callable[[Net], str], **options: Any) -> ModelProto:
    net = Net(**options)
    return net.build(net.int8_conv(source(net)))


@breaks("qdq-inputs")
def no_zero_point():
    return quantised(lambda net: net.qdq("image", net.constant(0.02)))


@breaks("zero-point")
def asymmetric():
    return quantised(lambda net: net.pair("image", 0.02, zero=-3))


@breaks("zero-point-type")
def uint8():
    return quantised(lambda net: net.pair("image", 0.02, dtype=np.uint8))


@breaks("zero-point-size")
def two_zero_points():
    return quantised(lambda net: net.pair("image", 0.02, zero=[0, 0]))


@breaks("scale")
def scale_of_0():
    return quantised(lambda net: net.pair("image", 0.0))


@breaks("scale")
def scale_that_is_no_number():
    return quantised(lambda net: net.pair("image", np.nan))


@breaks("scale")
def scale_that_is_computed():
    return quantised(
        lambda net: net.qdq("image", net.node("Mul", net.constant(2), net.constant(0.01)), net.constant(0, np.int8))
    )


@breaks("float16-scale", also="opset")
def scale_in_float16():
    net = Net(dtype=TensorProto.FLOAT16, opset=19)
    q = net.qdq("image", net.constant(0.02, np.float16), net.constant(0, np.int8))
    return net.build(net.node("Relu", q), dtype=TensorProto.FLOAT16)


@breaks("activation-per-channel")
def channels_of_an_activation():
    return quantised(lambda net: net.pair("image", [0.1, 0.2, 0.3, 0.4], axis=1))


@breaks("qdq-pair")
def int8_that_a_layer_reads():
    net = Net()
    parts = net.constant(0.02), net.constant(0, np.int8)
    pooled = net.node("MaxPool", net.node("QuantizeLinear", "image", *parts), kernel_shape=[1, 1])
    return net.build(net.int8_conv(net.node("DequantizeLinear", pooled, *parts)))


@breaks("qdq-pair")
def an_int8_input():
    net = Net(dtype=TensorProto.INT8)
    return net.build(net.int8_conv(net.node("DequantizeLinear", "image", net.constant(0.02), net.constant(0, np.int8))))


@breaks("qdq-pair")
def int8_that_leaves():
    net = Net()
    integer = net.node("QuantizeLinear", net.conv("image"), net.constant(0.02), net.constant(0, np.int8))
    return net.build(integer, dtype=TensorProto.INT8)


# Q/DQ of weights and biases


def with_weight(weight: Callable[[Net], str], **options: Any) -> ModelProto:
    net = Net()
    return net.build(net.int8_conv(net.pair("image"), weight=weight(net), **options))


@breaks("scale-length")
def too_few_scales():
    return with_weight(lambda net: net.weight(scale=[0.01, 0.01, 0.01]))


@breaks("axis-implicit")
def axis_left_out():
    return with_weight(lambda net: net.pair(net.constant(weights()), [0.01] * 4))


@breaks("int8-weights")
def weights_stored_as_int8():
    def stored(net: Net) -> str:
        parts = net.constant(np.ones((4, 4, 3, 3)), np.int8), net.constant(0.01), net.constant(0, np.int8)
        return net.node("DequantizeLinear", *parts)

    return with_weight(stored)


@breaks("conv-axis")
def input_channels():
    return with_weight(lambda net: net.pair(net.constant(weights()), [0.01] * 4, axis=1))


@breaks("deconv-per-channel")
def channels_of_a_transposed_convolution():
    return with_weight(lambda net: net.pair(net.constant(weights()), [0.01] * 4, axis=1), op="ConvTranspose")


@breaks("deconv-groups")
def depthwise_transposed_convolution():
    return with_weight(lambda net: net.weight(weights(4, 1, 3, 3), 0.01), op="ConvTranspose", group=4)


@breaks("bias-quantised")
def bias_as_onnxruntime_has_it():
    net = Net()
    parts = net.constant([50] * 4, np.int32), net.constant([0.01] * 4), net.constant([0] * 4, np.int32)
    bias = net.node("DequantizeLinear", *parts, axis=0)
    return net.build(net.int8_conv(net.pair("image"), bias=bias))


@breaks("weights-128")
def one_step_too_low():
    lowest = np.array([-1, 0.5] * 72, np.float32).reshape(4, 4, 3, 3)
    return with_weight(lambda net: net.weight(lowest, [1 / 128] * 4))


# Where Q/DQ belong


@breaks("half-quantised")
def weights_only():
    net = Net()
    return net.build(net.int8_conv("image"))


@breaks("half-quantised")
def input_only():
    net = Net()
    return net.build(net.conv(net.pair("image")))


@breaks("residual-add")
def bare_skip():
    net = Net()
    x = net.clip(net.int8_conv(net.pair("image")))
    return net.build(net.node("Add", net.int8_conv(net.pair(x)), x))


@breaks("concat-scales")
def two_scales():
    net = Net()
    both = net.node("Concat", net.pair("image", 0.1), net.pair("image", 0.2), axis=1)
    return net.build(both, (1, 8, 16, 16))


@breaks("concat-scales")
def one_branch_in_float():
    net = Net()
    return net.build(net.node("Concat", net.pair("image", 0.1), "image", axis=1), (1, 8, 16, 16))


@breaks("same-scale")
def another_scale_after_a_pooling():
    net = Net()
    pooled = net.node("AveragePool", net.pair("image", 0.1), kernel_shape=[1, 1])
    return net.build(net.int8_conv(net.pair(pooled, 0.2)))


@breaks("same-scale")
def another_scale_after_a_resize():
    net = Net()
    up = net.node("Resize", net.pair("image", 0.1), "", net.constant([1, 1, 2, 2]), mode="linear")
    return net.build(net.int8_conv(net.pair(up, 0.2)), (1, 4, 32, 32))


@pytest.mark.parametrize("case", CASES, ids=[f"{case.rule}-{case.make.__name__}" for case in CASES])
def test_a_broken_rule_is_found(case):
    model = case.make()
    found = check_onnx(model.SerializeToString(), case.oldest)
    assert {v.rule for v in found} == {case.rule} | case.also
    names = {node.name or f"{node.op_type} {i}" for i, node in enumerate(model.graph.node)}
    tensors = {t.name for t in (*model.graph.input, *model.graph.output, *model.graph.initializer)}
    tensors |= {name for node in model.graph.node for name in node.output}
    for violation in found:
        rule = RULES[violation.rule]
        assert (violation.severity, violation.fix) == (rule.severity, rule.fix)
        assert violation.node in names | tensors | {""} and violation.reason and violation.tensorrt
    if RULES[case.rule].severity == "error":
        with pytest.raises(CheckFailed, match=found[0].rule):
            require_onnx(model, case.oldest)
    elif not case.also:
        require_onnx(model, case.oldest)


def test_reasons_name_what_was_found():
    for make, words in (
        (asymmetric, "zero point is -3"),
        (two_scales, "scales 0.1, 0.2"),
        (one_branch_in_float, "scales 0.1, none"),
        (too_few_scales, "scales [3] for 4 channels on axis 0"),
        (another_scale_after_a_pooling, "0.1 before it and 0.2 after it"),
        (open_batch, "(?, 4, 16, 16)"),
        (int8_that_leaves, "read by the host"),
        (depthwise_transposed_convolution, "1 channels in and 1 out"),
    ):
        assert words in check_onnx(make().SerializeToString())[0].reason


def test_every_rule_has_a_case():
    assert {case.rule for case in CASES} == set(RULES)


@pytest.mark.parametrize("make", [float_model, int8_model])
def test_models_that_keep_the_rules(make):
    onnx.checker.check_model(make(), full_check=True)
    assert check_onnx(make().SerializeToString()) == []


def test_versions():
    """A rule of 8.2 is none of a board that has 8.5."""
    (violation,) = check_onnx(camera_pixels().SerializeToString())
    assert violation.tensorrt == ("8.2",)
    assert check_onnx(camera_pixels().SerializeToString(), (8, 5)) == []
    net = Net(opset=18)
    (violation,) = check_onnx(net.build(net.conv("image")).SerializeToString())
    assert (violation.rule, violation.tensorrt) == ("opset", ("8.2", "8.5", "8.6"))
    net = Net(opset=14)
    swish = net.build(net.node("HardSwish", "image")).SerializeToString()
    assert [v.rule for v in check_onnx(swish)] == ["opset", "unsupported-operator"]
    assert check_onnx(swish, (8, 5)) == []


def test_a_file_of_onnxruntime(tmp_path):
    """What its quantiser makes by default (zero points, int32 biases) and with the options that NVIDIA's tools set."""
    from onnxruntime.quantization import QuantType, quantize_static

    class Noise:
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            self.batches = iter([{"image": rng.uniform(-1, 1, SHAPE).astype(np.float32)} for _ in range(4)])

        def get_next(self) -> Any:
            return next(self.batches, None)

    def rules(**options: Any) -> set[str]:
        onnx.save(float_model(), tmp_path / "float.onnx")
        quantize_static(tmp_path / "float.onnx", tmp_path / "int8.onnx", Noise(), **options)
        return {v.rule for v in check_onnx((tmp_path / "int8.onnx").read_bytes())}

    by_default = rules()
    assert by_default >= {"bias-quantised", "int8-weights", "zero-point"}
    symmetric = {"ActivationSymmetric": True, "WeightSymmetric": True, "AddQDQPairToWeight": True}
    symmetric |= {"QuantizeBias": False, "QDQDisableWeightAdjustForInt32Bias": True}
    types = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8, "per_channel": True}
    for rule in by_default:
        if RULES[rule].severity == "error":
            assert rule not in rules(extra_options=symmetric, **types)


def test_facts():
    facts = facts_of(read_onnx(int8_model().SerializeToString()))
    assert (facts.opset, facts.ir_version, facts.producer) == (13, 8, "tests")
    assert [(t.name, t.dtype, t.shape) for t in facts.inputs] == [("image", "float32", SHAPE)]
    assert dict(facts.operators)["QuantizeLinear"] == 10 and facts.operators[0][0] == "QuantizeLinear"
    assert facts.parameters == 4 * 4 * 9 + 4 * 4 * 4 + 4 * 9 + 4 * 8 * 9 + 4 * 4
    assert facts.macs == 16 * 16 * (4 * 4 * 9 + 4 * 9 + 4 * 8 * 9) + 8 * 8 * 4 * 4 * 4
    assert facts.precision == "int8 (Q/DQ) in 4 of 4 layers, else float32"
    assert facts_of(read_onnx(float_model().SerializeToString())).precision == "float32"
    assert facts_of(read_onnx(open_batch().SerializeToString())).macs is None
    net = Net()
    assert facts_of(read_onnx(net.build(net.conv("image"), ()).SerializeToString())).parameters == 4 * 4 * 9 + 4


def test_size_limit(monkeypatch):
    data = float_model().SerializeToString()
    monkeypatch.setattr("edgeseg.export.onnx_rules.graph.MAX_PAYLOAD_BYTES", len(data) - 1)
    with pytest.raises(UsageError, match="more than"):
        check_onnx(data)


def test_files_that_are_none():
    data = float_model().SerializeToString()
    for content in (b"", b"hello", b"\x08\x07", b"PK\x03\x04" * 9, data[:-1], data[: len(data) // 2], b"\x89PNG\r\n"):
        with pytest.raises(UsageError) as caught:
            check_onnx(content)
        assert caught.value.fix


def test_damaged_files():
    """Flipped bytes, cuts, and fields with senseless values: an answer or UsageError, nothing else."""
    rng = random.Random(5)
    models = [int8_model(), float_model()]
    wholes = [model.SerializeToString() for model in models]
    answers = {"refused": 0, "broken": 0}
    for turn in range(800):
        if turn % 2:
            model = ModelProto()
            model.CopyFrom(rng.choice(models))
            for _ in range(rng.randint(1, 4)):
                _spoil(model.graph, rng)
            data = model.SerializeToString()
        else:
            content = bytearray(rng.choice(wholes))
            for _ in range(rng.randint(1, 12)):
                content[rng.randrange(len(content))] = rng.randrange(256)
            del content[rng.choice([len(content), rng.randrange(len(content))]) :]
            data = bytes(content)
        try:
            answers["broken"] += bool(check_onnx(data))
            facts_of(read_onnx(data))
        except UsageError as error:
            assert error.fix
            answers["refused"] += 1
    assert min(answers.values()) > 100


def _spoil(message: Any, rng: random.Random) -> None:
    """Drop, repeat or overwrite one field somewhere below `message`."""
    fields = message.ListFields()
    if not fields:
        return
    field, value = rng.choice(fields)
    if isinstance(value, bytes | str | int | float):
        choices: dict[type, list[Any]] = {
            bytes: [b"", b"\xff\xfe", b"half"],
            str: ["", "x", "Conv", "Resize", "Clip", "Concat", "DequantizeLinear"],
            int: [0, 1, 6, 7, 10, 11, -1, 2**31 - 1],
            float: [0.0, -1.0, float("nan")],
        }
        with contextlib.suppress(ValueError):  # an enumeration has fewer values
            setattr(message, field.name, rng.choice(choices[type(value)]))
    elif not hasattr(value, "__len__"):
        _spoil(value, rng)
    else:
        index = rng.randrange(len(value))
        if hasattr(value[index], "ListFields") and rng.random() < 0.8:
            _spoil(value[index], rng)
        elif isinstance(value[index], int):
            value[index] = rng.choice([0, -1, 2**62, -(2**62), 7])
        elif isinstance(value[index], str):
            value[index] = rng.choice(["", "x", value[rng.randrange(len(value))]])
        else:
            del value[index]
