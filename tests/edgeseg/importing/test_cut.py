"""Cutting a graph: the rest is what it was, byte for byte where nothing had to change, and it runs."""

import os
import random

import numpy as np
import pytest

from edgeseg.bundle import read_bundle
from edgeseg.errors import BundleError, EdgesegError, UsageError
from edgeseg.importing.cut import end_at
from edgeseg.importing.files import open_model
from edgeseg.tflite.flatbuffer import root_table
from edgeseg.tflite.model import read_tflite
from edgeseg.tflite.structure import check_structure

INTERPRETERS = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")


@pytest.fixture
def long(graph):
    """Graph: convolution 8x12, a side branch that only the end uses, RESIZE_BILINEAR to 64x96, ARG_MAX."""
    made = graph()
    image = made.tensor((1, 64, 96, 3), "uint8", 2 / 255, 127, name="image")
    logits = made.tensor((1, 8, 12, 4), "int8", 0.1, -3, name="logits")
    large = made.tensor((1, 64, 96, 4), "int8", 0.1, -3, name="large")
    classes = made.tensor((1, 64, 96), "int64", name="classes")
    size = made.tensor((2,), "int32", name="size")
    made.op("SHAPE", (image,), (size,))
    made.op("CONV_2D", (image, made.constant((4, 3, 3, 3), "int8")), (logits,), stride_w=8, stride_h=8)
    made.op("RESIZE_BILINEAR", (logits, size), (large,), align_corners=1)
    made.op("ARG_MAX", (large, made.tensor((), "int32", data=b"\3\0\0\0")), (classes,))
    made.inputs, made.outputs, made.signatures = [image], [classes], True
    return made


def test_what_is_left(long):
    data = long.data()
    old, new = read_tflite(data), read_tflite(end_at(data, 1))
    assert [operator.name for operator in new.operators] == ["CONV_2D"]
    assert new.operators[0] == old.operators[1] and new.tensors == old.tensors
    assert new.inputs == old.inputs and new.tensors[new.outputs[0]].name == "logits"
    assert len(end_at(data, 1)) == len(data)
    check_structure(end_at(data, 1))
    assert len(root_table(data).tables(7)) == 1 and root_table(end_at(data, 1)).tables(7) == []  # signatures


def test_device_upsampling_of_a_file(long, save):
    path = save("model.tflite", long.data())
    whole, cut = open_model(path, "graph"), open_model(path, "device")
    assert whole.data == long.data() and whole.left_out == () and whole.cut is None
    assert cut.cut == "align_corners" and cut.left_out == ("SHAPE", "RESIZE_BILINEAR", "ARG_MAX")
    assert cut.sha256 == whole.sha256


def test_parts_that_overlap(long):
    """The list of outputs lies where that of inputs does: to change one would change the other."""
    data = bytearray(long.data())
    graph = root_table(bytes(data)).tables(2)[0]
    inputs, outputs = graph.start(1), graph.start(2)
    assert inputs is not None
    (field,) = (p for p in range(0, len(data) - 3, 4) if p + int.from_bytes(data[p : p + 4], "little") == outputs)
    data[field : field + 4] = (inputs - field).to_bytes(4, "little")
    with pytest.raises(BundleError, match="overlap"):
        end_at(bytes(data), 1)


@pytest.mark.parametrize("name", ["SOFTMAX", "LOGISTIC"])
def test_a_softmax_at_the_end_is_left_out(graph, save, name):
    made = graph()
    image, logits = made.tensor((1, 64, 96, 3)), made.tensor((1, 64, 96, 4), "int8", 0.1, -3, name="logits")
    score, real = made.tensor((1, 64, 96, 4), "int8", 1 / 256, -128), made.tensor((1, 64, 96, 4), "float32")
    made.op("CONV_2D", (image, made.constant((4, 3, 3, 3), "int8")), (logits,))
    made.op(name, (logits,), (score,))
    made.op("DEQUANTIZE", (score,), (real,))
    made.inputs, made.outputs = [image], [real]
    file = open_model(save("model.tflite", made.data()), "graph")
    assert file.left_out == (name, "DEQUANTIZE") and file.model.tensors[file.model.outputs[0]].name == "logits"


def test_a_row_of_pixels_becomes_an_image_again(graph, save):
    """Keras networks often end with Reshape((height * width, classes)) and softmax."""
    made = graph()
    image, logits = made.tensor((1, 64, 96, 3)), made.tensor((1, 64, 96, 4), "float32", name="logits")
    row, score = made.tensor((1, 6144, 4), "float32"), made.tensor((1, 6144, 4), "float32")
    made.op("CONV_2D", (image, made.constant((4, 3, 3, 3), "float32")), (logits,))
    made.op("RESHAPE", (logits, made.constant((3,), "int32")), (row,))
    made.op("SOFTMAX", (row,), (score,))
    made.inputs, made.outputs = [image], [score]
    file = open_model(save("model.tflite", made.data()), "graph")
    assert file.left_out == ("RESHAPE", "SOFTMAX") and file.model.tensors[file.model.outputs[0]].name == "logits"


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda g: setattr(g, "outputs", [1]), "does not end with RESIZE_BILINEAR, or with that and ARG_MAX, but with"),
        (lambda g: g.operators[2][4].clear(), "neither half_pixel nor align_corners"),
        (lambda g: g.tensors[2].update({0: g.tensors[1][0]}), "gives 8x12, not the 64x96 of the input"),
    ],
)
def test_what_cannot_be_cut(long, save, change, words):
    change(long)
    with pytest.raises(UsageError) as caught:
        open_model(save("model.tflite", long.data()), "device")
    assert words in caught.value.message and "--upsampling graph" in caught.value.fix


def runtime():
    for name in INTERPRETERS:
        try:
            return pytest.importorskip(name).Interpreter
        except pytest.skip.Exception:
            continue
    pytest.skip("no runtime for .tflite files")


def outputs(data, image):
    """What a runtime gives for an image."""
    interpreter = runtime()(model_content=data, num_threads=2)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
    interpreter.invoke()
    (sink,) = interpreter.get_output_details()
    return interpreter.get_tensor(sink["index"])[0], sink["quantization"]


def test_a_real_network_ends_where_it_is_cut(bundles):
    """At the pooling of tests/device_bundles.py, before its last convolution."""
    data = read_bundle(os.path.join(bundles, "int8.edgeseg")).payloads["tflite"]
    model = read_tflite(data)
    last = model.operators[-1]
    rng = np.random.RandomState(1)
    image = rng.randint(0, 256, (64, 96, 3)).astype(np.uint8)
    cells, (scale, zero_point) = outputs(end_at(data, last.inputs[0]), image)
    real = (cells.astype(np.float64) - zero_point) * scale
    expected = image.reshape(8, 8, 12, 8, 3).mean(axis=(1, 3)) / 127.5 - 1
    assert np.abs(real - expected).max() < 0.03


def test_damaged_files_are_refused_or_cut(long, save):
    """Never another exception, whatever byte is wrong."""
    data, done = long.data(), 0
    for seed in range(400):
        rng = random.Random(seed)
        broken = bytearray(data)
        for _ in range(rng.randint(1, 6)):
            broken[rng.randrange(len(broken))] = rng.choice([0, 1, 3, 127, 255, rng.randrange(256)])
        try:
            done += bool(open_model(save("model.tflite", bytes(broken)), "device").data)
        except EdgesegError as error:
            assert error.message and error.fix
    assert 0 < done < 400
