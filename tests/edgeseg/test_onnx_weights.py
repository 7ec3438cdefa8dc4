"""The kernels of ONNX files, read without the package onnx, are those that it reads; damaged files are refused."""

import os
import random
import struct

import numpy as np
import pytest

from edgeseg.bundle import read_bundle
from edgeseg.errors import BundleError
from edgeseg.kernels import kernels_of
from edgeseg.palette import CAMVID

# A writer of what the tests need of protobuf.


def varint(number):
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


def message(*fields):
    """Fields (number, value): an int, a text, bytes."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def tensor(name, array, storage=9):
    kind = {"float32": 1, "int8": 3, "float16": 10}[array.dtype.name]
    data = array.tobytes()
    if storage == 5:
        data = b"".join(varint(int(bits)) for bits in array.ravel().view(np.uint16))
    return message(*[(1, size) for size in array.shape], (2, kind), (8, name), (storage, data))


def node(operator, inputs, output, **attributes):
    fields = [(1, name) for name in inputs] + [(2, output), (3, output), (4, operator)]
    return message(
        *fields, *[(5, message((1, name), (20, 2), (3, value))) for name, value in sorted(attributes.items())]
    )


def model(nodes, constants):
    graph = [(1, data) for data in nodes] + [(2, "network")] + [(5, data) for data in constants]
    return message((1, 7), (8, message((1, ""), (2, 13))), (7, message(*graph)))


GRID = np.arange(-32, 32).reshape(4, 4, 2, 2) // 8 * np.array([1, 1, 0, 0]).reshape(1, 4, 1, 1)
SCALES = np.array([0.1, 0.37, 2.5, 1e-3], np.float32)


def int8_onnx(storage=9, scales=SCALES, axis=0):
    """x -> Conv with a kernel that goes through Q/DQ by output channel -> y; GRID has the 2:4 pattern along axis 1."""
    shape = [1] * 4
    shape[axis] = -1
    weights = GRID.astype(np.float32) * scales.reshape(shape)
    constants = [
        tensor("conv/weight", weights, storage),
        tensor("scale", scales),
        tensor("zero", np.zeros(scales.shape, np.int8)),
    ]
    nodes = [
        node("QuantizeLinear", ["conv/weight", "scale", "zero"], "integers", axis=axis),
        node("DequantizeLinear", ["integers", "scale", "zero"], "again", axis=axis),
        node("Conv", ["x", "again"], "y"),
        node("Conv", ["y", "again"], "z"),
    ]
    return model(nodes, constants)


@pytest.mark.parametrize("storage", [9, 4])
@pytest.mark.parametrize("axis", [0, -4, 1])
def test_onnx_kernels_on_the_int8_grid(storage, axis):
    """Read from raw_data and float_data, through QuantizeLinear with a scale for each channel of an axis."""
    (kernel,) = kernels_of({"onnx": int8_onnx(storage, axis=axis)})
    assert (kernel.name, kernel.dtype, kernel.weights) == ("conv/weight", "float32", 64)
    assert np.array_equal(kernel.array, GRID) and kernel.array.dtype == np.int8
    assert kernel.values == tuple(np.unique(GRID)) and kernel.zeros == (GRID == 0).sum() and kernel.two_of_four is True
    turned = np.ascontiguousarray(GRID.swapaxes(0, 1)).astype(np.float32)
    (kernel,) = kernels_of({"onnx": model([node("Conv", ["x", "k"], "y")], [tensor("k", turned)])})
    assert kernel.two_of_four is False and kernel.values is None and kernel.zeros == (GRID == 0).sum()


def test_onnx_float_kernels(bundles):
    """Of the package onnx; float16, also as int32_data; transposed ones; what is computed is left out."""
    (kernel,) = kernels_of(read_bundle(os.path.join(bundles, "onnx.edgeseg")).payloads)
    colors = np.array([c.color for c in CAMVID])
    assert np.allclose(kernel.array[..., 0, 0], colors * 2 / 255 / 255)
    assert (kernel.weights, kernel.zeros, kernel.values, kernel.two_of_four) == (33, (colors == 0).sum(), None, None)
    half = GRID.astype(np.float16)
    nodes = [
        node("Relu", ["k0"], "computed"),
        node("Conv", ["x", "computed"], "a"),
        node("ConvTranspose", ["a", "k1"], "b"),
        node("Conv", ["b", "k2"], "c"),
    ]
    found = kernels_of(
        {"onnx": model(nodes, [tensor("k%d" % i, half, storage) for i, storage in enumerate((9, 9, 5))])}
    )
    assert [(kernel.name, kernel.dtype, kernel.two_of_four) for kernel in found] == [
        ("k1", "float16", None),
        ("k2", "float16", True),
    ]
    assert all(np.array_equal(kernel.array, half) for kernel in found)


def test_the_package_onnx_reads_the_same():
    onnx = pytest.importorskip("onnx")
    for payload in (int8_onnx(), int8_onnx(4, axis=-4)):
        graph = onnx.load_model_from_string(payload).graph
        arrays = {constant.name: onnx.numpy_helper.to_array(constant) for constant in graph.initializer}
        (kernel,) = kernels_of({"onnx": payload})
        assert np.array_equal(np.rint(arrays[kernel.name] / arrays["scale"].reshape(-1, 1, 1, 1)), kernel.array)
    values = np.linspace(-3, 3, 48, dtype=np.float32).reshape(3, 4, 2, 2)
    forms = [onnx.numpy_helper.from_array(values.astype(kind)) for kind in ("float32", "float16")]
    for kind in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16):
        forms.append(onnx.helper.make_tensor("k", kind, values.shape, values.ravel()))
    for form in forms:
        form.name = "k"
        graph = onnx.helper.make_graph([onnx.helper.make_node("Conv", ["x", "k"], ["y"])], "g", [], [], [form])
        (kernel,) = kernels_of({"onnx": onnx.helper.make_model(graph).SerializeToString()})
        assert np.array_equal(kernel.array, onnx.numpy_helper.to_array(form))


def test_damaged_onnx():
    good = int8_onnx()
    weights = struct.pack("<f", np.nan)
    kernel = GRID.astype(np.float32)
    conv = [node("Conv", ["x", "k"], "y")]
    for payload in (
        good[:-1],
        good[:40],
        good.replace(struct.pack("<f", -4 * SCALES[0]), weights, 1),  # a weight
        good.replace(struct.pack("<f", SCALES[0]), weights, 1),  # a scale
        good.replace(struct.pack("<f", SCALES[0]), bytes(4), 1),
        good.replace(b"axis\xa0\x01\x02\x18\x00", b"axis\xa0\x01\x02\x18\x07"),
        model(conv, [tensor("k", kernel)[:-8]]),
        model(conv, [message((1, 1 << 62), (2, 1), (8, "k"))]),
        model(conv, [message((1, -1), (2, 1), (8, "k"), (9, b""))]),
        model(conv, [tensor("k", kernel.astype(np.int8))]),
        model(conv, [tensor("k", kernel.ravel())]),
        model([node("Conv", ["x"], "y")], []),
        model([b"\x0a\x00" * (1 << 18)], []),
        b"\xff" * 20,
    ):
        with pytest.raises(BundleError, match=r"\.onnx file is truncated or damaged"):
            kernels_of({"onnx": payload})


def test_fuzz():
    """A damaged file is refused, or read otherwise; never another exception."""
    good = int8_onnx()
    refused = 0
    for seed in range(400):
        rng, damaged = random.Random(seed), bytearray(good)
        for _ in range(rng.randint(1, 6)):
            damaged[rng.randrange(len(damaged))] = rng.choice([0, 1, 8, 127, 128, 255, rng.randrange(256)])
        try:
            kernels_of({"onnx": bytes(damaged)})
        except BundleError as error:
            assert error.fix
            refused += 1
    assert refused > 20
