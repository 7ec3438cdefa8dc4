"""The heads of FCN-32s, FCN-16s and FCN-8s in int8, on the targets that have rules of their own."""

import numpy as np
import pytest

from edgeseg.coral.preflight import preflight
from edgeseg.export.fold import fold
from edgeseg.export.onnx import Graph, to_onnx
from edgeseg.export.onnx_rules import check_onnx
from edgeseg.export.ranges import magnitudes
from edgeseg.export.tflite import to_int8_tflite
from edgeseg.tflite.model import read_tflite

SIZE = (64, 96)


def network(stride):
    """The whole head on a few layers, with the batch normalisation of trained weights."""
    import keras

    from edgeseg.models.average import restore_batch_norm
    from edgeseg.models.backbone import Features, conv_bn_relu
    from edgeseg.models.fcn import fcn_logits

    keras.utils.set_random_seed(1)
    image = keras.Input((*SIZE, 3), name="image")
    x = keras.layers.AveragePooling2D(4)(image)
    taps = [x]
    for scale in (8, 16, 32):
        x = keras.layers.AveragePooling2D(2)(conv_bn_relu(x, 32, 1, f"conv{scale}", f"norm{scale}", f"relu{scale}"))
        taps.append(x)
    made = keras.Model(image, fcn_logits(Features(*taps), 11, stride, "bilinear"))
    restore_batch_norm(made, [noise(8) / 127.5 - 1], 1)
    return made


def noise(count):
    return np.random.default_rng(0).integers(0, 256, (count, *SIZE, 3), np.uint8)


@pytest.mark.parametrize(("stride", "resizes"), [(32, 0), (16, 1), (8, 2)])
def test_int8(stride, resizes):
    made = network(stride)
    model = read_tflite(to_int8_tflite(made, noise(2)))
    assert sum(count for name, _, count in model.operator_counts() if name == "RESIZE_BILINEAR") == resizes
    assert model.tensors[model.outputs[0]].shape == (1, SIZE[0] // stride, SIZE[1] // stride, 11)
    found = preflight(model)
    assert found.whole and not found.problems and not found.notes, found.summary()
    steps = fold(made)
    graph = Graph(steps, "image", SIZE, ranges=magnitudes(model, steps, "image"))
    assert check_onnx(to_onnx(graph, "fcn").SerializeToString(), (8, 5)) == []
