"""Kernels as other converters write them: uint8 with a zero point, float16 behind a DEQUANTIZE, transposed, shared."""

import numpy as np
import pytest
from flatbuffer_writer import Scalar, Vector
from small_model import SmallModel

from edgeseg.errors import BundleError
from edgeseg.kernels import kernels_of

GRID = np.arange(-16, 16).reshape(8, 1, 1, 4) * np.array([1, 0, 1, 0])
OPTIONS = {0: Scalar("b", 0), 1: Scalar("i", 1), 2: Scalar("i", 1)}


def conv(model, source, kernel):
    return model.add("CONV_2D", [source, kernel], [(1, 6, 6, 8)], OPTIONS, 1)[0]


def kernels(model):
    return kernels_of({"tflite": model.data([0])})


def test_forms_of_a_kernel():
    model = SmallModel()
    source, computed = model.input(1, 6, 6, 4), model.input(8, 1, 1, 4)
    unsigned = model.constant((GRID + 128).astype(np.uint8))
    model._tensors[unsigned][4][3] = Vector("q", (128,))
    (half,) = model.add("DEQUANTIZE", [model.constant(GRID.astype(np.float16))], [GRID.shape], {}, 0)
    for kernel in (unsigned, half, half, computed):
        conv(model, source, kernel)
    sizes = model.constant([1, 6, 6, 8])
    model.add("TRANSPOSE_CONV", [sizes, model.constant(GRID.astype(np.int8)), source], [(1, 6, 6, 8)], OPTIONS, 49)
    found = kernels(model)
    assert [(k.dtype, k.two_of_four) for k in found] == [("uint8", True), ("float16", True), ("int8", None)]
    for kernel in found:
        assert np.array_equal(kernel.array, GRID) and (kernel.weights, kernel.zeros) == (32, (GRID == 0).sum())
    assert [kernel.values for kernel in found] == [tuple(np.unique(GRID)), None, tuple(np.unique(GRID))]


@pytest.mark.parametrize("damage", ["length", "rank", "zero point"])
def test_damaged_kernels(damage):
    model = SmallModel()
    kernel = model.constant(np.ones((8, 1, 1, 4), np.uint8))
    if damage != "zero point":
        model._tensors[kernel][0] = Vector("i", (8, 1, 1, 5) if damage == "length" else (8, 4))
    else:
        model._tensors[kernel][4][3] = Vector("q", (1 << 40,))
    conv(model, model.input(1, 6, 6, 4), kernel)
    with pytest.raises(BundleError, match=r"the .tflite file is damaged: kernel t0"):
        kernels(model)
