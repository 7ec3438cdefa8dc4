"""Small .tflite files of any kind, written without a converter. They can be read, not run."""

import os
import sys
from typing import Any, Dict

import pytest

_TESTS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.append(os.path.join(_TESTS, "edgetpu_double"))


class Graph:
    """A graph in the making. Tensors and operators get numbers in the order in which they are added."""

    def __init__(self):
        self.tensors, self.operators, self.codes, self.buffers = [], [], [], [b""]
        self.inputs, self.outputs, self.metadata, self.signatures, self.subgraphs = [], [], {}, False, 1

    def tensor(self, shape, kind="uint8", scale=None, zero_point=0, *, name="t", data=b"", signature=None):
        from flatbuffer_writer import Scalar, Vector

        from edgeseg.tflite.model import _TYPES

        fields: Dict[int, Any] = {0: Vector("i", tuple(shape)), 1: Scalar("b", _TYPES.index(kind)), 3: name}
        if scale is not None:
            fields[4] = {2: Vector("f", (scale,)), 3: Vector("q", (zero_point,))}
        if data:
            self.buffers.append(data)
            fields[2] = Scalar("I", len(self.buffers) - 1)
        if signature:
            fields[7] = Vector("i", tuple(signature))
        self.tensors.append(fields)
        return len(self.tensors) - 1

    def constant(self, shape, kind, array=None):
        count = 1
        for side in shape:
            count *= side
        width = {"int32": 4, "float32": 4, "float16": 2}.get(kind, 1)
        return self.tensor(shape, kind, 0.1 if width == 1 else None, data=array or bytes(count * width))

    def op(self, name, inputs, outputs, **options):
        """`name` of the schema, or "CUSTOM " and another one; options by name, as edgeseg.tflite.model has them."""
        from flatbuffer_writer import Scalar, Vector

        from edgeseg.tflite.model import _OPERATORS, _OPTIONS

        if name not in self.codes:
            self.codes.append(name)
        fields: Dict[int, Any] = {0: Scalar("I", self.codes.index(name))}
        fields.update({1: Vector("i", tuple(inputs)), 2: Vector("i", tuple(outputs))})
        if options:
            forms = _OPTIONS[name]
            fields[3] = Scalar("B", 1)
            fields[4] = {forms[k][0]: Scalar(forms[k][1][1:], value) for k, value in options.items()}
        self.operators.append(fields)
        assert name.split()[0] in _OPERATORS
        return outputs[0]

    def data(self):
        from flatbuffer_writer import Blob, Scalar, Vector, write_flatbuffer

        from edgeseg.tflite.model import _OPERATORS

        codes = []
        for name in self.codes:
            builtin, _, custom = name.partition(" ")
            code: Dict[int, Any] = {
                0: Scalar("b", min(127, _OPERATORS.index(builtin))),
                3: Scalar("i", _OPERATORS.index(builtin)),
            }
            if custom:
                code[1] = custom
            codes.append(code)
        buffers = list(self.buffers)
        metadata = []
        for name, content in self.metadata.items():
            buffers.append(content)
            metadata.append({0: name, 1: Scalar("I", len(buffers) - 1)})
        graph: Dict[int, Any] = {
            0: self.tensors,
            1: Vector("i", tuple(self.inputs)),
            2: Vector("i", tuple(self.outputs)),
        }
        graph[3] = self.operators
        root: Dict[int, Any] = {0: Scalar("I", 3), 1: codes, 2: [graph] * self.subgraphs, 3: "made by a test"}
        root[4] = [{0: Blob(buffer, 16)} if buffer else {} for buffer in buffers]
        root[6] = metadata
        if self.signatures:
            entry = {0: "y", 1: Scalar("I", self.outputs[0])}
            root[7] = [{0: [], 1: [entry], 2: "serving_default"}]
        return write_flatbuffer(root, b"TFL3")


@pytest.fixture
def graph():
    """Function () -> an empty Graph."""
    return Graph


@pytest.fixture
def network():
    """Function (...) -> Graph of a network: one convolution from an image to an output.

    `image` and `output` are arguments of `Graph.tensor`: shape, type, scale, zero point.
    """

    def build(image=((1, 64, 96, 3), "uint8", 2 / 255, 127), output=((1, 8, 12, 4), "int8", 0.1, -3)):
        graph = Graph()
        source = graph.tensor(*image, name="image")
        sink = graph.tensor(*output, name="out")
        kernel = graph.constant((4, 3, 3, 3), "int8" if image[1] != "float32" else "float32")
        graph.op("CONV_2D", (source, kernel), (sink,), stride_w=8, stride_h=8)
        graph.inputs, graph.outputs = [source], [sink]
        return graph

    return build


@pytest.fixture
def save(tmp_path):
    """Function (name, data) -> path of a file with that content."""

    def write(name, data):
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8"))
        return str(path)

    return write


@pytest.fixture
def four(save):
    """Path of a label file of four classes."""
    return save("labels.txt", "sky\nroad 128 64 128\ncar\nperson\n")
