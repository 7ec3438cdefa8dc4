"""Reading .tflite files: the truth about real ones, an error for every other file."""

import random

import pytest

from edgeseg.bundle import read_bundle
from edgeseg.errors import BundleError
from edgeseg.tflite.checks import check_full_integer, check_static
from edgeseg.tflite.model import _OPERATORS, _TYPES, read_tflite


def test_names_are_those_of_the_schema():
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    assert [getattr(schema.BuiltinOperator, name) for name in _OPERATORS] == list(range(len(_OPERATORS)))
    assert [getattr(schema.TensorType, name.upper()) for name in _TYPES] == list(range(len(_TYPES)))


def test_what_the_interpreter_says(int8_bundle):
    from ai_edge_litert.interpreter import Interpreter

    data = read_bundle(str(int8_bundle)).payloads["tflite"]
    interpreter = Interpreter(model_content=data)
    model = read_tflite(data)
    assert model.size == len(data)
    for side, indices in (("input", model.inputs), ("output", model.outputs)):
        (detail,) = getattr(interpreter, f"get_{side}_details")()
        tensor = model.tensors[indices[0]]
        assert tensor.name == detail["name"]
        assert list(tensor.shape) == list(detail["shape"]) == list(detail["shape_signature"])
        assert (tensor.scale[0], tensor.zero_point[0]) == detail["quantization"]
    operators = {d["op_name"] for d in interpreter._get_ops_details()} - {"DELEGATE"}
    assert {name for name, _, _ in model.operator_counts()} == operators


def test_int8_payload_is_full_integer(int8_bundle):
    model = read_tflite(read_bundle(str(int8_bundle)).payloads["tflite"])
    assert check_full_integer(model) == []
    kernels = [model.tensors[o.inputs[1]] for o in model.operators if "CONV" in o.name]
    assert kernels and all(k.type == "int8" and k.per_channel and len(k.scale) > 1 for k in kernels)


def test_float_payload_is_not_full_integer(fp32_bundle):
    model = read_tflite(read_bundle(str(fp32_bundle)).payloads["tflite"])
    assert check_static(model) == []
    problems = "; ".join(check_full_integer(model))
    for words in ("float tensor(s)", "the input is float32", "the output is float32", "kernel(s) not int8"):
        assert words in problems


def test_dynamic_batch_and_float_borders_are_found(workshop):
    """What the converter makes of a network when nothing special is done."""
    import numpy as np
    import tensorflow as tf

    from edgeseg.export.quiet import quiet
    from edgeseg.models.file import load_network

    network, _ = load_network(workshop.network)
    with quiet():
        converter = tf.lite.TFLiteConverter.from_keras_model(network)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: iter([[np.zeros((1, 64, 96, 3), np.float32)]])
        converter._experimental_disable_per_channel = True
        model = read_tflite(converter.convert())
    problems = "; ".join(check_full_integer(model))
    for words in ("dynamic shape", "the input is float32", "with one scale instead of one per channel"):
        assert words in problems


def test_damaged_files(int8_bundle):
    data = read_bundle(str(int8_bundle)).payloads["tflite"]
    for content in (b"", b"TFL3", b"\0\0\0\0TFL3", data[:4] + b"TFL2" + data[8:], b"\x89PNG\r\n\x1a\n" * 9):
        with pytest.raises(BundleError):
            read_tflite(content)
    rng = random.Random(5)
    refused = 0
    for _ in range(600):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 12)):
            # The structure lies at both ends, the weights in the middle.
            damaged[rng.choice([rng.randrange(4000), -1 - rng.randrange(4000)])] = rng.randrange(256)
        del damaged[rng.choice([len(data), rng.randrange(len(data))]) :]
        try:
            check_full_integer(read_tflite(bytes(damaged)))
        except BundleError as error:
            assert error.fix
            refused += 1
    assert refused > 100
