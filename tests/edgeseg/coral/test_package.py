"""Reading compiled files: the truth about Google's own, an error for every damaged one."""

import random
import struct
from typing import Any, Dict

import pytest
from compiled import compiled_file
from flatbuffer_writer import Blob, Scalar, write_flatbuffer

from edgeseg.coral.package import CUSTOM_OP, is_compiled, read_packages, split
from edgeseg.errors import BundleError
from edgeseg.tflite.flatbuffer import root_table
from edgeseg.tflite.flexbuffer import read_map
from edgeseg.tflite.model import Operator, Tensor, TfliteModel, read_tflite

STAND_ALONE, CACHING, EXECUTION = 0, 1, 2


def real(shared_data, name):
    with open(shared_data("coral", name + "_edgetpu.tflite"), "rb") as file:
        return read_tflite(file.read())


@pytest.mark.parametrize(
    "name, figures",
    [
        ("deeplabv3_mnv2_pascal_quant", (12, 2337216, 0, 398768, 194916)),
        ("movenet_single_pose_lightning_ptq", (12, 2862656, 2368, 133408, 73824)),
    ],
)
def test_figures_of_googles_files(name, figures, shared_data):
    (package,) = read_packages(real(shared_data, name))
    assert figures == (
        package.min_runtime,
        package.cached_bytes,
        package.streamed_bytes,
        package.instruction_bytes,
        package.narrow_bytes_per_tile,
    )
    assert (package.compiler, package.scratch_bytes) == ("cl/", 0)
    assert len({executable.caching_token for executable in package.executables} - {0}) == 1


def test_layers_are_the_tensors_of_the_operator(shared_data):
    for name in ("deeplabv3_mnv2_pascal_quant", "movenet_single_pose_lightning_ptq"):
        model = real(shared_data, name)
        (package,) = read_packages(model)
        operator = model.operators[split(model).tpu[0]]
        for layers, indices in ((package.inputs, operator.inputs), (package.outputs, operator.outputs)):
            tensors = {model.tensors[i].name: model.tensors[i] for i in indices}
            assert {layer.name for layer in layers} == set(tensors)
            for layer in layers:
                tensor = tensors[layer.name]
                assert layer.shape == ((1, 1) + tensor.shape)[-3:]
                assert layer.data_type == {"uint8": "fixed-point 8", "int8": "signed fixed-point 8"}[tensor.type]


def test_what_is_left_on_the_cpu(shared_data):
    model = real(shared_data, "deeplabv3_mnv2_pascal_quant")
    assert is_compiled(model) and split(model).tpu == (0,)
    names = "RESIZE_BILINEAR QUANTIZE CONCATENATION CONV_2D CONV_2D RESIZE_BILINEAR RESIZE_BILINEAR ARG_MAX"
    assert [operator.name for operator in split(model).cpu] == names.split()
    movenet = split(real(shared_data, "movenet_single_pose_lightning_ptq"))
    assert movenet.tpu == (2,) and len(movenet.cpu) == 59


# ---- files that are made here


def flexbuffer(package, more=(), chips=(18,)):
    """A FlexBuffer map as the compiler writes it (flexbuffers.h), with 4 bytes for each number."""
    data = bytearray()

    def put(content):
        data.extend(content)
        return len(data) - len(content)

    def number(value):
        return put(struct.pack("<I", value))

    def string(content):
        number(len(content))
        return put(content + b"\0")

    def vector(positions, kinds):
        """Offsets back to `positions`; their types."""
        number(len(positions))
        start = len(data)
        for position in positions:
            number(len(data) - position)
        put(bytes(kind << 2 | 2 for kind in kinds))
        return start

    version = 0
    keys = [put(key + b"\0") for key in (b"1", b"4", b"6", b"7")]
    blob = string(package)
    number(len(chips))
    values = [version, blob, put(b"".join(struct.pack("<I", chip) for chip in chips))]
    shared = {one: string(one) for one in set(more)}
    values.append(vector([shared[one] for one in more], [5] * len(more)))
    names = vector(keys, [])
    number(len(data) - names)
    number(4)  # bytes of an offset in the vector of keys
    start = vector(values, [1, 5, 11, 10])
    data[start : start + 4] = struct.pack("<i", version)
    number(len(data) - start)
    return bytes(data) + bytes([9 << 2 | 2, 4])


def executable(kind, parameters=b"", **fields):
    table: Dict[int, Any] = {3: Scalar("i", 1), 5: [{0: Blob(b"i" * 10)}, {0: Blob(b"i" * 6)}], 6: Blob(parameters)}
    table.update({13: Scalar("h", kind), 14: Scalar("Q", 7)})
    table.update({int(key[1:]): value for key, value in fields.items()})
    return write_flatbuffer(table, b"\0\0\0\0")


def package(*executables, **fields):
    table: Dict[int, Any] = {0: Scalar("i", 14), 4: "cl/1 ", 5: Scalar("i", 0)}
    if executables:
        table[1] = Blob(write_flatbuffer({0: [Blob(one) for one in executables]}, b"\0\0\0\0"))
    table.update({int(key[1:]): value for key, value in fields.items()})
    return write_flatbuffer(table, b"DWN1")


def model_of(*options):
    tensor = Tensor("t", (1, 2, 2, 1), (1, 2, 2, 1), "int8", (1.0,), (0,), 0)
    operators = tuple(Operator(CUSTOM_OP, 1, (0,), (0,), {}, one) for one in options)
    return TfliteModel(1, operators, (tensor,), (0,), (0,), 0, "", {})


def test_several_operators_in_one_file():
    one = flexbuffer(package(executable(CACHING, b"p" * 100), executable(EXECUTION, b"q" * 5)))
    two = flexbuffer(package(executable(STAND_ALONE, b"r" * 30), executable(CACHING, b"p"), executable(EXECUTION)))
    first, second = read_packages(model_of(one, two))
    assert (first.cached_bytes, first.streamed_bytes, first.instruction_bytes) == (100, 5, 16)
    assert (second.cached_bytes, second.streamed_bytes) == (0, 30)  # libedgetpu takes the stand-alone one of three
    assert (first.min_runtime, first.compiler, first.caching_token) == (14, "cl/1", 7)
    (alone,) = read_packages(model_of(flexbuffer(package(executable(CACHING, b"p" * 9)))))
    assert (alone.cached_bytes, alone.streamed_bytes) == (0, 9)  # one alone is run, whatever its type
    assert read_packages(model_of()) == () and not is_compiled(model_of())


@pytest.mark.parametrize(
    "options, words",
    [
        (b"", "a FlexBuffer of 0 bytes"),
        (b"\x01\x04\x01", "not a map"),
        (flexbuffer(b"XXXXTFL3" + bytes(40)), "format 'TFL3', not DWN1"),
        (flexbuffer(package(_5=Scalar("i", -1))), "several chips"),
        (flexbuffer(package(_6=[{0: Blob(b"")}])), "several chips"),
        (flexbuffer(package(executable(0)), [package(executable(0))], (18, 18)), "several chips"),
        (flexbuffer(package()), "its package is empty"),
        (flexbuffer(package(b"")), "damaged"),
        (flexbuffer(package(executable(7))), "an executable of type 7"),
        (flexbuffer(package(executable(EXECUTION), executable(EXECUTION))), "several executables of one type"),
        (flexbuffer(package(executable(EXECUTION), executable(STAND_ALONE))), "execution-only, stand-alone"),
    ],
)
def test_what_libedgetpu_would_refuse(options, words):
    with pytest.raises(BundleError, match=words) as caught:
        read_packages(model_of(options))
    assert "edgetpu_compiler" in caught.value.fix


def test_a_small_file_cannot_fill_the_memory():
    """A thousand layers that all point to the one with the name of a megabyte."""
    layers = [{0: "n" * 1000000}] + [{0: "n"} for _ in range(1000)]
    data = bytearray(executable(STAND_ALONE, _8=layers))
    start = root_table(bytes(data))._target(8) or 0
    (offset,) = struct.unpack_from("<I", data, start + 4)
    for i in range(1001):
        struct.pack_into("<I", data, start + 4 + 4 * i, offset - 4 * i)
    with pytest.raises(BundleError, match="vectors overlap"):
        read_packages(model_of(flexbuffer(package(bytes(data)))))
    with pytest.raises(BundleError, match="values overlap"):  # a vector of a thousand strings, all of them the same
        read_packages(model_of(flexbuffer(b"", [b"n" * 1000000] * 1000)))


def test_mutated_operators_are_read_or_refused():
    options = flexbuffer(
        package(
            executable(CACHING, b"p" * 50),
            executable(EXECUTION, _8=[{0: "in", 2: Scalar("i", 9)}], _9=[{0: "out"}, {0: "more"}]),
        )
    )
    assert len(read_packages(model_of(options))) == 1
    random.seed(5)
    refused = 0
    for _ in range(4000):
        data = bytearray(options)
        for _ in range(random.choice((1, 1, 2, 8))):
            position = random.randrange(len(data))
            if random.random() < 0.5:
                data[position] = random.randrange(256)
            else:
                value = random.choice((0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0, random.getrandbits(32)))
                data[position : position + 4] = struct.pack("<I", value)
        if random.random() < 0.1:
            del data[random.randrange(len(data)) :]
        try:
            read_packages(model_of(bytes(data)))
        except BundleError:
            refused += 1
    assert refused > 1000


def test_truncated_compiled_files(bundles):
    from edgeseg.bundle import read_bundle

    compiled = compiled_file(read_bundle(bundles + "/int8.edgeseg").payloads["tflite"])
    assert len(read_packages(read_tflite(compiled))) == 1
    for length in range(0, len(compiled), 257):
        with pytest.raises(BundleError):
            read_packages(read_tflite(compiled[:length]))


def test_flexbuffers_of_the_official_writer():
    flexbuffers = pytest.importorskip("flatbuffers.flexbuffers")
    for size in (3, 300, 70000):
        wanted = {"1": 0, "4": "x" * size, "5": -1, "6": [18, 19], "7": ["a", "b" * size]}
        found = read_map(bytes(flexbuffers.Dumps(wanted)))
        assert found == {"1": 0, "4": b"x" * size, "5": -1, "6": [18, 19], "7": [b"a", b"b" * size]}
    with pytest.raises(ValueError, match="type"):
        read_map(bytes(flexbuffers.Dumps({"1": {"2": 3}})))
    with pytest.raises(ValueError, match="not a map"):
        read_map(bytes(flexbuffers.Dumps([1, 2])))
