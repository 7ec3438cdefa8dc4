"""What is checked of a .tflite file before a runtime reads it, and that the rules are those of TensorFlow Lite."""

import importlib
import importlib.util
import os
import struct

import numpy as np
import pytest
from flatbuffer_writer import Scalar, Vector
from small_model import SmallModel

from edgeseg.bundle import read_bundle
from edgeseg.errors import BundleError
from edgeseg.tflite.model import read_tflite
from edgeseg.tflite.sound import check_sound
from edgeseg.tflite.structure import check_structure

SAME, VALID = Scalar("b", 0), Scalar("b", 1)


def number(value):
    return Scalar("i", value)


def flag(value=1):
    return Scalar("b", value)


def weights(*shape):
    return np.ones(shape, np.int8)


ONE, TWO = number(1), number(2)


def bias(count):
    return np.zeros(count, np.int32)


def check(data):
    check_sound(read_tflite(data), data)


# Operator, inputs (a shape is an input of the model, an array or a list of numbers a constant), shapes that come out,
# and its options: the number of their table, then its fields.
CASES = [
    ("CONV_2D", [(1, 9, 8, 3), weights(4, 3, 2, 3), bias(4)], [(1, 5, 8, 4)], 1, {0: SAME, 1: ONE, 2: TWO}),
    ("CONV_2D", [(1, 9, 8, 3), weights(4, 3, 2, 3), bias(4)], [(1, 4, 7, 4)], 1, {0: VALID, 1: ONE, 2: TWO}),
    (
        "CONV_2D",
        [(1, 9, 9, 2), weights(4, 3, 3, 2), bias(4)],
        [(1, 5, 3, 4)],
        1,
        {0: VALID, 1: ONE, 2: ONE, 4: number(3), 5: number(2)},
    ),
    (
        "DEPTHWISE_CONV_2D",
        [(1, 9, 8, 2), weights(1, 3, 2, 4), bias(4)],
        [(1, 4, 7, 4)],
        2,
        {0: VALID, 1: number(1), 2: number(2), 3: number(2)},
    ),
    (
        "TRANSPOSE_CONV",
        [[1, 8, 6, 4], weights(4, 2, 2, 3), (1, 4, 3, 3)],
        [(1, 8, 6, 4)],
        49,
        {0: SAME, 1: TWO, 2: TWO},
    ),
    (
        "AVERAGE_POOL_2D",
        [(1, 9, 8, 3)],
        [(1, 4, 4, 3)],
        5,
        {0: VALID, 1: TWO, 2: TWO, 3: number(2), 4: number(3)},
    ),
    (
        "MAX_POOL_2D",
        [(1, 9, 8, 3)],
        [(1, 5, 4, 3)],
        5,
        {0: SAME, 1: TWO, 2: TWO, 3: number(3), 4: number(3)},
    ),
    ("FULLY_CONNECTED", [(2, 6), weights(5, 3)], [(4, 5)], 8, {}),
    ("FULLY_CONNECTED", [(2, 2, 3), weights(5, 3)], [(2, 2, 5)], 8, {2: flag()}),
    ("CONCATENATION", [(1, 2, 3), (1, 2, 4)], [(1, 2, 7)], 10, {0: number(-1)}),
    ("ADD", [(1, 4, 4, 3), (1, 1, 1, 3)], [(1, 4, 4, 3)], 0, {}),
    ("MUL", [(1, 1, 1, 3), (1, 4, 4, 3)], [(1, 4, 4, 3)], 0, {}),
    ("MAXIMUM", [(1, 4, 4, 3), (3,)], [(1, 4, 4, 3)], 0, {}),
    ("PRELU", [(1, 4, 4, 3), weights(1, 1, 3)], [(1, 4, 4, 3)], 0, {}),
    ("RELU6", [(1, 4, 4, 3)], [(1, 4, 4, 3)], 0, {}),
    ("LOGISTIC", [(1, 4, 4, 3)], [(1, 4, 4, 3)], 0, {}),
    ("QUANTIZE", [(1, 4, 4, 3)], [(1, 4, 4, 3)], 0, {}),
    ("SOFTMAX", [(1, 4, 4, 3)], [(1, 4, 4, 3)], 9, {0: Scalar("f", 1.0)}),
    ("PAD", [(1, 4, 4, 3), [[0, 0], [1, 2], [3, 0], [0, 0]]], [(1, 7, 7, 3)], 0, {}),
    ("MIRROR_PAD", [(1, 4, 4, 3), [[0, 0], [1, 2], [3, 0], [0, 0]]], [(1, 7, 7, 3)], 77, {}),
    ("RESIZE_BILINEAR", [(1, 4, 4, 3), [8, 6]], [(1, 8, 6, 3)], 15, {3: flag()}),
    ("RESIZE_NEAREST_NEIGHBOR", [(1, 4, 4, 3), [8, 6]], [(1, 8, 6, 3)], 74, {1: flag()}),
    ("MEAN", [(1, 4, 4, 3), [1, -2]], [(1, 1, 1, 3)], 27, {0: flag()}),
    ("MEAN", [(1, 4, 4, 3), [1, 2]], [(1, 3)], 27, {}),
    ("REDUCE_MAX", [(1, 4, 4, 3), [3]], [(1, 4, 4)], 27, {}),
    ("ARG_MAX", [(1, 4, 5, 3), [3]], [(1, 4, 5)], 40, {0: flag(4)}),
    ("RESHAPE", [(1, 4, 5, 3), [1, -1, 3]], [(1, 20, 3)], 0, {}),
    ("RESHAPE", [(1, 4, 5, 3)], [(4, 15)], 17, {0: Vector("i", (4, 15))}),
    ("SQUEEZE", [(1, 4, 1, 3)], [(4, 1, 3)], 30, {0: Vector("i", (0,))}),
    ("SQUEEZE", [(1, 4, 1, 3)], [(4, 3)], 30, {}),
    ("EXPAND_DIMS", [(4, 3), [-1]], [(4, 3, 1)], 0, {}),
    ("TRANSPOSE", [(1, 4, 5, 3), [0, 3, 1, 2]], [(1, 3, 4, 5)], 0, {}),
    ("STRIDED_SLICE", [(1, 9, 9, 3), [0, 1, 0, 0], [1, 8, 9, 3], [1, 2, 1, 1]], [(1, 4, 9, 3)], 32, {}),
    (
        "STRIDED_SLICE",
        [(1, 9, 9, 3), [0, 1, 7, 2], [1, 8, -5, 3], [1, 2, -1, 1]],
        [(1, 5, 3)],
        32,
        {0: number(2), 1: number(2), 4: number(8)},
    ),
    ("SLICE", [(1, 9, 9, 3), [0, 1, 2, 0], [1, 5, -1, 3]], [(1, 5, 7, 3)], 0, {}),
    ("SPLIT", [[3], (1, 4, 4, 6)], [(1, 4, 4, 3), (1, 4, 4, 3)], 35, {0: number(2)}),
    ("SPLIT_V", [(1, 4, 4, 6), [2, 4], [3]], [(1, 4, 4, 2), (1, 4, 4, 4)], 79, {0: number(2)}),
    ("PACK", [(4, 3), (4, 3)], [(4, 2, 3)], 59, {0: number(2), 1: number(1)}),
    ("UNPACK", [(4, 2, 3)], [(4, 3), (4, 3)], 64, {0: number(2), 1: number(1)}),
    ("TILE", [(1, 1, 1, 3), [1, 4, 5, 1]], [(1, 4, 5, 3)], 0, {}),
    ("BROADCAST_TO", [(1, 1, 1, 3), [1, 4, 5, 3]], [(1, 4, 5, 3)], 0, {}),
    ("DEPTH_TO_SPACE", [(1, 4, 5, 8)], [(1, 8, 10, 2)], 94, {0: number(2)}),
    ("SPACE_TO_DEPTH", [(1, 4, 6, 2)], [(1, 2, 3, 8)], 19, {0: number(2)}),
    ("SPACE_TO_BATCH_ND", [(1, 4, 5, 3), [2, 2], [[0, 0], [1, 2]]], [(4, 2, 4, 3)], 0, {}),
    ("BATCH_TO_SPACE_ND", [(4, 2, 4, 3), [2, 2], [[0, 0], [1, 2]]], [(1, 4, 5, 3)], 0, {}),
]
_IDS = ["{} {}".format(i, case[0]) for i, case in enumerate(CASES)]


def one_operator(name, sources, shapes, form=0, options=None):
    """A model of one operator."""
    model = SmallModel()
    inputs = []
    for source in sources:
        scale = 1 / 256 if isinstance(source, np.ndarray) and source.dtype == np.int32 else 1 / 16
        inputs.append(model.input(*source) if isinstance(source, tuple) else model.constant(source, scale))
    return model.data(model.add(name, inputs, shapes, options or {}, form))


@pytest.mark.parametrize(("name", "sources", "shapes", "form", "options"), CASES, ids=_IDS)
def test_operators(name, sources, shapes, form, options):
    check(one_operator(name, sources, shapes, form, options))
    wrong = [shapes[0][:-1] + (shapes[0][-1] + 1,)] + shapes[1:]
    with pytest.raises(BundleError, match=r"cannot be run: {} \(operator 0\): ".format(name)):
        check(one_operator(name, sources, wrong, form, options))


@pytest.mark.parametrize(("name", "sources", "shapes", "form", "options"), CASES, ids=_IDS)
def test_the_rules_are_those_of_the_runtime(name, sources, shapes, form, options):
    modules = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
    found = [module for module in modules if importlib.util.find_spec(module.split(".")[0])]
    if not found:
        pytest.skip("no TensorFlow Lite interpreter")
    data = one_operator(name, sources, shapes, form, options)
    interpreter = importlib.import_module(found[0]).Interpreter(model_content=data)
    interpreter.allocate_tensors()
    interpreter.invoke()
    details = interpreter.get_output_details()
    assert [tuple(interpreter.get_tensor(detail["index"]).shape) for detail in details] == shapes


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"scale": (0.0,)}, "the quantisation of tensor t0 is damaged"),
        ({"scale": (float("nan"),)}, "the quantisation of tensor t0 is damaged"),
        ({"scale": (1.0, 1.0)}, "the quantisation of tensor t0 is damaged"),
        ({"zero_point": (128,)}, "the quantisation of tensor t0 is damaged"),
        ({"zero_point": ()}, "the quantisation of tensor t0 is damaged"),
        ({"scale": (1e-9,)}, "quantised with scales from 1e-09 to 0.0625"),
        ({"type": "string"}, "tensor t0 is of type string"),
        ({"shape": (1, 4, 4, 1 << 28)}, "tensor t0 has the shape"),
        ({"shape": (1, 4, 0, 3)}, "tensor t0 has the shape"),
        ({"data": bytes(47)}, "tensor t0 has 47 bytes instead of 48"),
        ({"data": bytes(48)}, "tensor t0 is made twice"),
    ],
)
def test_tensors(changes, problem):
    data = one_operator("RELU", [(1, 4, 4, 3)], [(1, 4, 4, 3)])
    model = read_tflite(data)
    tensors = (model.tensors[0]._replace(**changes),) + model.tensors[1:]
    with pytest.raises(BundleError, match=problem):
        check_sound(model._replace(tensors=tensors), data)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"operators": ()}, "tensor t1 is read before it is made"),
        ({"inputs": ()}, "tensor t0 is read before it is made"),
        ({"inputs": (0, 0)}, "tensor t0 is made twice"),
        ({"subgraphs": 2}, "2 subgraphs instead of 1"),
    ],
)
def test_order(changes, problem):
    data = one_operator("RELU", [(1, 4, 4, 3)], [(1, 4, 4, 3)])
    with pytest.raises(BundleError, match=problem):
        check_sound(read_tflite(data)._replace(**changes), data)


@pytest.mark.parametrize(
    ("name", "sources", "form", "options", "problem"),
    [
        ("CONV_2D", [(1, 8, 8, 3), weights(4, 3, 3, 3), bias(4)], 1, {0: SAME, 1: ONE}, "kernel 3, stride 0"),
        ("CONV_2D", [(1, 8, 8, 3), weights(4, 3, 3, 3), bias(4)], 0, {}, "kernel 3, stride 0"),
        ("CONV_2D", [(1, 8, 8, 3), weights(4, 3, 3, 3), bias(4)], 2, {}, "options of another operator"),
        ("CONV_2D", [(1, 8, 8, 3), weights(4, 3, 3, 3), bias(3)], 1, {}, r"a bias \[3\] for 4 channels"),
        ("CONV_2D", [(1, 8, 8, 3), weights(4, 3, 3, 3)], 1, {}, "no bias"),
        ("CONV_2D", [(1, 8, 8, 3), weights(4, 3, 3, 2), bias(4)], 1, {}, "on 3 channels"),
        ("ADD", [(1, 8, 8, 3)], 0, {}, "1 inputs"),
        ("CONV_2D", [(8, 8, 3), weights(4, 3, 3, 3), bias(4)], 1, {}, "input 0 has 3 dimensions instead of 4"),
        ("RESIZE_BILINEAR", [(1, 8, 8, 3), (2,)], 15, {}, "input 1 is no constant of integers"),
        ("WHERE", [(1, 8, 8, 3)], 0, {}, "edgeseg does not know this operator"),
    ],
)
def test_senseless_operators(name, sources, form, options, problem):
    with pytest.raises(BundleError, match=problem):
        check(one_operator(name, sources, [(1, 8, 8, 4)], form, options))


def test_offsets_out_of_the_file():
    """Each offset of a whole file, led astray: none is followed, and tflite-runtime 2.14 would."""
    data = one_operator(*CASES[0])
    check_structure(data)
    survivors = 0
    for position in range(8, len(data) - 4, 2):
        astray = data[:position] + struct.pack("<I", 0x7FFFFF00) + data[position + 4 :]
        try:
            check_structure(astray)
            survivors += 1  # it was a number, or a name
        except BundleError as error:
            assert "truncated or damaged" in error.message
    assert 0 < survivors < len(data) // 4


def test_a_name_that_is_no_text():
    data = one_operator("RELU", [(1, 4, 4, 3)], [(1, 4, 4, 3)])
    with pytest.raises(BundleError, match="utf-8"):
        check_structure(data.replace(b"t0\0", b"\xff0\0"))


def test_real_files(shared_data, bundles):
    for name in ("int8", "fp32"):
        check(read_bundle(os.path.join(bundles, name + ".edgeseg")).payloads["tflite"])
    for part in ("", "_edgetpu"):
        with open(shared_data("coral", "deeplabv3_mnv2_pascal_quant{}.tflite".format(part)), "rb") as file:
            check(file.read())
