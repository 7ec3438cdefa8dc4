"""The preflight against what the compiler did, operator by operator, and against each of its rules."""

import struct

import pytest

from edgeseg.bundle import read_bundle
from edgeseg.coral.operators import judge, unproven
from edgeseg.coral.package import split
from edgeseg.coral.preflight import CACHE_BYTES, preflight, require_whole
from edgeseg.coral.rules import RULES
from edgeseg.errors import CheckFailed
from edgeseg.tflite.model import _OPTIONS, Operator, Tensor, TfliteModel, read_tflite
from edgeseg.zoo import zoo_bundle

IMAGE = (1, 8, 8, 16)
KERNEL, BIAS = ((4, 3, 3, 16), "int8", b"k" * 576), ((4,), "int32", b"b" * 16)


def read(path):
    with open(path, "rb") as file:
        return read_tflite(file.read())


# ---- what Google's compiler did


def test_googles_deeplab_operator_by_operator(shared_data):
    plain = read(shared_data("coral", "deeplabv3_mnv2_pascal_quant.tflite"))
    compiled = read(shared_data("coral", "deeplabv3_mnv2_pascal_quant_edgetpu.tflite"))
    wanted = [(o.name, compiled.tensors[o.outputs[0]].name) for o in split(compiled).cpu]
    found = preflight(plain)
    assert [(v.operator, v.output) for v in found.verdicts if v.place == "cpu"] == wanted and len(wanted) == 8
    assert {v.place for v in found.verdicts} == {"tpu", "cpu"}
    assert found.first_break is not None
    assert (found.first_break.operator, found.first_break.output) == wanted[0]
    assert "1x1 -> 33x33" in found.first_break.reason
    behind = [v for v in found.verdicts if v.after is not None]
    assert [v.operator for v in behind] == ["QUANTIZE", "CONCATENATION", "CONV_2D", "CONV_2D", "RESIZE_BILINEAR"]
    assert all(v.after == 64 and "More than one subgraph is not supported" in v.reason for v in behind)
    assert found.mapped_share == 64 / 72 and not found.whole and found.readable and found.cached


def test_our_own_network_is_mapped_as_a_whole():
    model = read_tflite(read_bundle(str(zoo_bundle())).payloads["tflite"])
    found = require_whole(model, "the shipped network")
    assert found.whole and found.mapped_share == 1 and found.cached and found.first_break is None
    assert (found.problems, found.notes, found.min_runtime_version) == ((), (), "2.2.0")
    assert "in one subgraph" in found.summary() and "cached on chip" in found.summary()


# ---- single operators


def case(name, version=1, inputs=(), outputs=(), **options):
    """A model of one operator; a tensor is a shape, or (shape, type), or (shape, type, data)."""
    tensors = []
    for number, given in enumerate(list(inputs) + list(outputs)):
        bare = not given or isinstance(given[0], int)
        parts = (given, "int8", b"") if bare else tuple(given) + (b"",) * (3 - len(given))
        tensors.append(Tensor("t{}".format(number), parts[0], parts[0], parts[1], (0.1,), (3,), 0, parts[2]))
    defaults = {key: default for key, (_, _, default) in _OPTIONS.get(name, {}).items()}
    places = tuple(range(len(tensors)))
    split_at = len(inputs)
    operator = Operator(name, version, places[:split_at], places[split_at:], dict(defaults, **options), b"")
    computed = tuple(i for i in places[:split_at] if not tensors[i].data)
    return TfliteModel(1, (operator,), tuple(tensors), computed, places[split_at:], 0, "", {})


def opinion(*args, **options):
    model = case(*args, **options)
    return judge(model, model.operators[0])


def ints(*values):
    return ((len(values),), "int32", struct.pack("<{}i".format(len(values)), *values))


# The operators of mathieugalle/edgetpu-compiler-pad-fail, one of each kind: all 134 are mapped by compiler 16.0.
FPN = [
    ("QUANTIZE", 1, [((1, 124, 160, 3), "uint8")], [(1, 124, 160, 3)]),
    ("CONV_2D", 3, [IMAGE, KERNEL, BIAS], [(1, 8, 8, 4)]),
    ("DEPTHWISE_CONV_2D", 3, [IMAGE, ((1, 3, 3, 16), "int8", b"k" * 144), BIAS], [IMAGE]),
    ("PAD", 2, [(1, 62, 80, 96), ints(0, 0, 0, 1, 0, 1, 0, 0)], [(1, 63, 81, 96)]),
    ("ADD", 2, [IMAGE, IMAGE], [IMAGE]),
    ("RESIZE_NEAREST_NEIGHBOR", 3, [(1, 8, 10, 16), ints(16, 20)], [(1, 16, 20, 16)]),
    ("RELU", 2, [IMAGE], [IMAGE]),
    ("RESHAPE", 1, [(1, 16, 20, 45), ints(1, 2880, 5)], [(1, 2880, 5)]),
    ("CONCATENATION", 2, [(1, 2880, 4), (1, 720, 4)], [(1, 3600, 4)]),
]


def test_operators_of_a_real_log(shared_data):
    with open(shared_data("edgetpu-compiler-logs", "v16_sd_full.log")) as file:
        rows = [line.split() for line in file if "Mapped to Edge TPU" in line]
    assert {row[0] for row in rows} == {name for name, _, _, _ in FPN}
    for name, version, inputs, outputs in FPN:
        axis = {"axis": 1} if name == "CONCATENATION" else {}
        assert opinion(name, version, inputs, outputs, **axis) == ("tpu", "", "")


@pytest.mark.parametrize("size, channels", [(6, 64), (12, 32), (24, 24)])
def test_resizes_of_googles_movenet(size, channels):
    shapes = [(1, size, size, channels), ints(2 * size, 2 * size)], [(1, 2 * size, 2 * size, channels)]
    model = case("RESIZE_BILINEAR", 3, *shapes, half_pixel=1)
    assert judge(model, model.operators[0]).place == "tpu" and not unproven(model, model.operators[0])


MAPPED = [
    ("SUB", 2, [(1, 192, 192, 3), ((1, 1, 1, 3), "int8", b"123")], [(1, 192, 192, 3)], {}),
    ("AVERAGE_POOL_2D", 1, [((1, 33, 33, 320), "uint8")], [((1, 1, 1, 320), "uint8")], {}),
    ("MEAN", 2, [(1, 7, 7, 1280), ints(1, 2)], [(1, 1280)], {}),
    ("MEAN", 2, [(1, 7, 7, 1280), ints(-1)], [(1, 7, 7)], {}),
    ("SOFTMAX", 2, [(1, 1001)], [(1, 1001)], {}),
    ("FULLY_CONNECTED", 4, [(1, 560), ((10, 560), "int8", b"k" * 5600)], [(1, 10)], {}),
    ("TILE", 1, [((1, 1, 1, 128), "uint8"), ints(1, 33, 33, 1)], [((1, 33, 33, 128), "uint8")], {}),
    ("SPLIT", 3, [ints(3), (1, 8, 8, 6)], [(1, 8, 8, 3), (1, 8, 8, 3)], {}),
    ("CONCATENATION", 2, [IMAGE, (IMAGE, "int8", b"\3" * 1024)], [(1, 8, 8, 32)], {"axis": 3}),
    ("RESIZE_BILINEAR", 3, [(1, 64, 64, 32), ints(128, 128)], [(1, 128, 128, 32)], {}),
    ("STRIDED_SLICE", 1, [IMAGE, ints(0, 0, 0, 0), ints(1, 4, 4, 16), ints(1, 1, 1, 1)], [(1, 4, 4, 16)], {}),
    ("LOGISTIC", 2, [(8, 8, 16)], [(8, 8, 16)], {}),
    ("PRELU", 1, [IMAGE, ((1, 1, 16), "int8", b"a" * 16)], [IMAGE], {}),
]
ON_THE_CPU = [
    ("ARG_MAX", 2, [IMAGE, ints(3)], [((1, 8, 8), "int64")], {}, "not among the operators", "logits"),
    ("LEAKY_RELU", 1, [IMAGE], [IMAGE], {}, "not among the operators", "ReLU"),
    ("DEQUANTIZE", 2, [IMAGE], [(IMAGE, "float32")], {}, "not among the operators", "inference_output_type"),
    ("QUANTIZE", 1, [(IMAGE, "float32")], [IMAGE], {}, "float32", "inference_input_type"),
    ("ADD", 1, [(IMAGE, "float32"), (IMAGE, "float32")], [(IMAGE, "float32")], {}, "float32", "representative_dataset"),
    ("RELU", 2, [(2, 8, 8, 16)], [(2, 8, 8, 16)], {}, "three innermost", "batch"),
    ("RESHAPE", 1, [(1, 2, 8, 8, 16), ints(1)], [(1, 2, 1024)], {}, "three innermost", "4 dimensions"),
    ("CONV_2D", 3, [IMAGE, KERNEL, BIAS], [IMAGE], {"dilation_h": 2}, "dilation 2 in y and 1 in x", "dilation_rate"),
    ("CONV_2D", 3, [IMAGE, (4, 3, 3, 16), BIAS], [IMAGE], {}, "not constant", "constant"),
    ("CONV_2D", 3, [IMAGE, KERNEL, ((4,), "int8")], [IMAGE], {}, "not constant", "constant"),
    ("TRANSPOSE_CONV", 3, [ints(1), KERNEL, IMAGE], [IMAGE], {}, "transposed", "UpSampling2D"),
    ("MAX_POOL_2D", 2, [IMAGE], [IMAGE], {"activation": 1}, "fused activation", "convolution"),
    ("CONCATENATION", 2, [IMAGE, IMAGE], [IMAGE], {"axis": 3, "activation": 3}, "fused activation", "convolution"),
    (
        "CONCATENATION",
        2,
        [IMAGE, (IMAGE, "int8", b"\0" * 1024)],
        [IMAGE],
        {"axis": 3},
        "must be zeros",
        "ZeroPadding2D",
    ),
    ("CONCATENATION", 2, [IMAGE, IMAGE], [(2, 8, 8, 16)], {}, "three innermost", "batch"),
    ("FULLY_CONNECTED", 4, [(7, 560), KERNEL], [(7, 10)], {}, "one-dimensional", "1x1 Conv2D"),
    ("SOFTMAX", 2, [IMAGE], [IMAGE], {}, "at each pixel", "logits"),
    ("SOFTMAX", 2, [(1, 16001)], [(1, 16001)], {}, "16001 elements", "logits"),
    ("MEAN", 2, [(1, 256, 128, 3), ints(1, 2)], [(1, 3)], {}, "32768 pixels", "smaller"),
    ("MEAN", 2, [(1, 8, 8, 6), ints(3)], [(1, 8, 8)], {}, "6 channels", "multiple of 4"),
    ("SUM", 1, [IMAGE, ints(0)], [(8, 8, 16)], {}, "along the batch", "batch"),
    ("PAD", 2, [IMAGE, ints(1, 0, 0, 0, 0, 0, 0, 0)], [IMAGE], {}, "along the batch", "batch"),
    ("PAD", 2, [IMAGE, ((4, 2), "int32")], [IMAGE], {}, "not constant", "constant"),
    ("PADV2", 2, [IMAGE, ints(0), ints(0)], [IMAGE], {}, "not among the operators", "ZeroPadding2D"),
    ("RESIZE_BILINEAR", 3, [(1, 1, 1, 256), ints(33, 33)], [(1, 33, 33, 256)], {}, "1x1 -> 33x33", "broadcasts"),
    ("RESIZE_BILINEAR", 3, [(1, 256, 256, 32), ints(1)], [(1, 512, 512, 32)], {}, "16384 pixels", "last upsampling"),
    ("STRIDED_SLICE", 1, [IMAGE, ints(0), ints(4), ints(1, 2, 2, 1)], [(1, 4, 4, 16)], {}, "strides", "stride of 1"),
    ("SPLIT", 1, [ints(0), IMAGE], [IMAGE], {}, "along the batch", "batch"),
    ("PRELU", 1, [IMAGE, ((8, 8, 16), "int8", b"a" * 1024)], [IMAGE], {}, "one per channel", "shared_axes"),
    ("TILE", 1, [(IMAGE, "uint8"), ints(1)], [(IMAGE, "uint8")], {}, "from 1x1 pixels", "UpSampling2D"),
    ("CUSTOM TFLite_Detection_PostProcess", 1, [IMAGE], [IMAGE], {}, "not among the operators", ""),
]
UNREADABLE = [
    ("CONV_2D", 6, [IMAGE, KERNEL, BIAS], [IMAGE], "version 6", "groups=1"),
    ("TRANSPOSE_CONV", 4, [ints(1), KERNEL, IMAGE], [IMAGE], "version 4", "UpSampling2D"),
    ("TILE", 3, [IMAGE, ints(1)], [IMAGE], "version 3", "interpolation='bilinear'"),
    ("QUANTIZE", 3, [IMAGE], [IMAGE], "version 3", "TensorFlow 2.5"),
    ("EXP", 2, [IMAGE], [IMAGE], "version 2", "TensorFlow 2.5"),
    ("GELU", 1, [IMAGE], [IMAGE], "does not know it", "ReLU"),
    ("CUSTOM FlexErf", 1, [IMAGE], [IMAGE], "custom operator", "TFLITE_BUILTINS_INT8"),
]


@pytest.mark.parametrize("name, version, inputs, outputs, options", MAPPED)
def test_mapped(name, version, inputs, outputs, options):
    assert opinion(name, version, inputs, outputs, **options) == ("tpu", "", "")


@pytest.mark.parametrize("name, version, inputs, outputs, options, reason, fix", ON_THE_CPU)
def test_left_on_the_cpu(name, version, inputs, outputs, options, reason, fix):
    found = opinion(name, version, inputs, outputs, **options)
    assert found.place == "cpu" and reason in found.reason and fix in found.fix


@pytest.mark.parametrize("name, version, inputs, outputs, reason, fix", UNREADABLE)
def test_what_ends_the_compilation(name, version, inputs, outputs, reason, fix):
    model = case(name, version, inputs, outputs)
    found = preflight(model)
    (verdict,) = found.verdicts
    assert verdict.place == "unreadable" and reason in verdict.reason and fix in verdict.fix
    assert not found.readable and found.mapped_share == 0 and "refuses" in found.summary()
    with pytest.raises(CheckFailed, match=reason) as caught:
        require_whole(model, "the network")
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    "name, inputs, outputs, options, words",
    [
        ("ADD", [IMAGE, (1, 1, 1, 16)], [IMAGE], {}, "broadcasts"),
        ("RESIZE_BILINEAR", [(1, 4, 4, 8), ints(16, 16)], [(1, 16, 16, 8)], {}, "factor of 2"),
        ("RESIZE_BILINEAR", [(1, 4, 4, 8), ints(8, 8)], [(1, 8, 8, 8)], {"align_corners": 1}, "align_corners"),
        ("RESHAPE", [(1, 80, 80, 45), ints(1)], [(1, 6400, 45)], {}, "288000 elements"),
        ("TILE", [((1, 1, 1, 8), "uint8"), ints(1)], [((1, 4, 4, 8), "uint8")], {}, "cityscapes"),
    ],
)
def test_what_is_not_proven(name, inputs, outputs, options, words):
    found = preflight(case(name, 1, inputs, outputs, **options))
    assert found.whole
    (note,) = found.notes
    assert words in note


def test_any_operator_with_any_tensors_gets_a_verdict():
    """Damaged but readable files: nothing but verdicts comes out."""
    shapes = [(), (0,), (-1, 5), IMAGE, (1, 1, 2, 3, 4), ints(99, -99), ints()]
    for name in RULES:
        for inputs in ([], [()], shapes[:2], shapes[2:5], shapes[5:], [IMAGE, ints(-1)]):
            for outputs in ([], [()], [(3,)], [IMAGE], [IMAGE, ()]):
                found = preflight(case(name, 1, inputs, outputs))
                assert found.verdicts[0].place in ("tpu", "cpu") and found.summary()


# ---- whole files


def test_memory_of_the_chip():
    def network(size):
        return case("CONV_2D", 3, [IMAGE, ((4, 3, 3, 16), "int8", b"k" * size), BIAS], [(1, 8, 8, 4)])

    (note,) = preflight(network(CACHE_BYTES - 16)).notes
    assert "pads parameters" in note
    found = preflight(network(CACHE_BYTES + 1))
    assert found.whole and not found.cached and "streamed" in found.summary()
    (problem,) = found.problems
    assert "stay on chip" in problem.text and "fewer channels" in problem.fix and not problem.stops


def test_faults_of_the_file():
    model = case("RELU", 2, [IMAGE], [IMAGE])
    assert preflight(model).problems == ()
    dynamic = model.tensors[0]._replace(shape_signature=(-1,) + IMAGE[1:])
    for broken, words, fix in (
        (model._replace(tensors=(dynamic, model.tensors[1])), "dynamic shape", "batch_shape=(1"),
        (model._replace(subgraphs=2), "2 subgraphs", "layers only"),
        (model._replace(metadata={"min_runtime_version": b"2.8.0\0\0"}), "TensorFlow Lite 2.8.0", "TensorFlow 2.5"),
    ):
        found = preflight(broken)
        (problem,) = found.problems
        assert problem.stops and words in problem.text and fix in problem.fix
        assert not found.readable and not found.whole
        with pytest.raises(CheckFailed, match=words):
            require_whole(broken, "the network")


def test_an_operator_of_the_cpu_before_the_tpu_breaks_nothing():
    """As in Google's movenet: CAST and QUANTIZE of a float image, then one subgraph."""
    tensors = [
        Tensor("t{}".format(i), IMAGE, IMAGE, kind, (), (), 0) for i, kind in enumerate(["float32"] + ["int8"] * 4)
    ]
    operators = [
        Operator("QUANTIZE", 1, (0,), (1,), {}, b""),
        Operator("RELU", 2, (1,), (2,), {}, b""),
        Operator("LEAKY_RELU", 1, (1,), (3,), {}, b""),
        Operator("LOGISTIC", 2, (2,), (4,), {}, b""),
    ]
    found = preflight(TfliteModel(1, tuple(operators), tuple(tensors), (0,), (3, 4), 0, "", {}))
    assert [v.place for v in found.verdicts] == ["cpu", "tpu", "cpu", "tpu"]
    assert found.first_break is None and not found.whole
