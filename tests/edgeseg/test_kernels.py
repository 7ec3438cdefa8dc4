"""What the exported file holds, and that a bundle whose compression says otherwise is refused.

The files are networks of the box, with the weights of their kernels changed in place.
"""

import importlib
import os
import random

import numpy as np
import pytest

from edgeseg.bundle import payload_info, read_bundle, write_bundle
from edgeseg.errors import BundleError
from edgeseg.kernels import check_compression, has_pattern, kernels_of
from edgeseg.zoo import zoo_bundle

BOOK = (-127, -40, 0, 40, 127)


@pytest.fixture(scope="module")
def network():
    """An int8 bundle of the box: convolutions with 3, 8, 16, ... input channels, and depthwise ones."""
    return read_bundle(str(zoo_bundle("fcn8-0.35-camvid")))


def shared(kernel):
    """The kernel with the values of BOOK, each of which occurs."""
    book = np.array(BOOK)
    near = book[np.abs(kernel.array[..., None] - book.astype(np.float32)).argmin(axis=-1)]
    near.flat[: len(BOOK)] = book
    return near


def two_of_four(kernel):
    """The kernel with the two smallest of four input channels at zero; the classes, the last kernel, as they are."""
    if kernel.two_of_four is None or "score" in kernel.name:
        return None
    fours = kernel.array.reshape(-1, 4).copy()
    smallest = np.abs(fours.astype(int)).argsort(axis=1)[:, :2]
    fours[np.arange(len(fours))[:, None], smallest] = 0
    return fours.reshape(kernel.array.shape)


def record_of(payloads, with_codebooks=False, pattern=None):
    kernels = {
        kernel.name: {
            "weights": kernel.weights,
            "zeros": kernel.zeros,
            "codebook": list(kernel.values) if with_codebooks and kernel.values else None,
        }
        for kernel in kernels_of(payloads)
    }
    return {"original": {"network": "fcn8"}, "steps": [{"step": "original"}], "kernels": kernels, "pattern": pattern}


def compressed(bundle, payload, record):
    """The manifest of the bundle with another network and what it says of its compression."""
    infos = tuple(payload_info(info.role, info.path, payload) for info in bundle.manifest.payloads)
    return bundle.manifest._replace(payloads=infos, compression=record)


def refusal(bundle, payload, record):
    """The message and the fix with which a record is refused."""
    with pytest.raises(BundleError) as caught:
        check_compression(compressed(bundle, payload, record), {"tflite": payload})
    assert "again" in caught.value.fix
    return caught.value.message


def test_what_the_interpreter_sees(network):
    """Kernels as LiteRT reads the same file."""
    runtime = next(filter(None, map(_try_import, ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"))), None)
    if runtime is None:
        pytest.skip("no LiteRT")
    interpreter = runtime.Interpreter(model_content=network.payloads["tflite"])
    indices = {detail["name"]: detail["index"] for detail in interpreter.get_tensor_details()}
    kernels = kernels_of(network.payloads)
    assert len(kernels) == 62
    for kernel in kernels:
        array = interpreter.get_tensor(indices[kernel.name])
        assert np.array_equal(kernel.array, array) and kernel.dtype == array.dtype.name == "int8"
        assert (kernel.weights, kernel.zeros) == (array.size, (array == 0).sum())
        assert kernel.values == tuple(np.unique(array))


def _try_import(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def test_the_pattern_is_that_of_input_channels(network, edited):
    dense = {kernel.name.split("/")[2]: kernel.two_of_four for kernel in kernels_of(network.payloads)}
    assert dense["Conv1_1"] is None and dense["expanded_conv_depthwise_BN_1"] is None  # 3 channels, depthwise
    assert dense["block_1_expand_1"] is False and set(dense.values()) == {None, False}
    pruned = kernels_of({"tflite": edited(network.payloads["tflite"], two_of_four)})
    assert {kernel.two_of_four for kernel in pruned[:-1]} == {None, True} and pruned[-1].two_of_four is False

    def along_outputs(kernel):
        turned = kernel.array.swapaxes(0, 3)
        if kernel.two_of_four is None or turned.shape[3] % 4:
            return None
        fours = turned.reshape(-1, 4).copy()
        fours[:, :2] = 0
        return fours.reshape(turned.shape).swapaxes(0, 3)

    wrong = kernels_of({"tflite": edited(network.payloads["tflite"], along_outputs)})
    assert not any(kernel.two_of_four for kernel in wrong)


def test_compressed_bundles_are_written_and_read(network, edited, tmp_path):
    path = str(tmp_path / "small.edgeseg")
    payload = edited(network.payloads["tflite"], two_of_four)
    payload = edited(payload, lambda kernel: shared(kernel) if kernel.two_of_four is None else None)
    record = record_of({"tflite": payload}, True, "2:4")
    books = [facts["codebook"] for facts in record["kernels"].values()]
    assert books.count(list(BOOK)) > 5
    write_bundle(path, compressed(network, payload, record), {"tflite": payload})
    assert read_bundle(path).manifest.compression == record
    with pytest.raises(BundleError, match=r"small.*zeros among the .* weights of kernel .*Conv1_1"):
        # the network before its compression, under the report of the compressed one
        whole = network.payloads["tflite"]
        write_bundle(path, compressed(network, whole, record), {"tflite": whole})
    assert read_bundle(path).payloads["tflite"] == payload


@pytest.mark.parametrize("off", [-1, 1])
def test_wrong_zeros(network, off):
    record = record_of(network.payloads)
    name = sorted(record["kernels"])[5]
    facts = record["kernels"][name]
    facts["zeros"] += off
    message = refusal(network, network.payloads["tflite"], record)
    assert (
        "{} zeros among the {} weights of kernel {}, which has {}".format(
            facts["zeros"], facts["weights"], name, facts["zeros"] - off
        )
        in message
    )
    facts.update(zeros=facts["zeros"] - off, weights=facts["weights"] + 4)
    assert name in refusal(network, network.payloads["tflite"], record)


def test_wrong_codebook(network, edited):
    payload = edited(network.payloads["tflite"], lambda kernel: shared(kernel) if kernel.weights < 400 else None)
    record = record_of({"tflite": payload}, True)
    name = next(name for name, facts in record["kernels"].items() if facts["codebook"] == list(BOOK))
    check_compression(compressed(network, payload, record), {"tflite": payload})
    for book, words in (
        ([-127, -40, 0, 127], "4 values in the codebook of kernel {}, which has others too: 40"),
        (list(BOOK) + [41], "6 values in the codebook of kernel {}, which never has 41"),
    ):
        record["kernels"][name]["codebook"] = book
        assert words.format(name) in refusal(network, payload, record)


def test_broken_pattern(network, edited):
    payload = edited(network.payloads["tflite"], two_of_four)
    assert has_pattern(kernels_of({"tflite": payload})) and not has_pattern(kernels_of(network.payloads))
    check_compression(compressed(network, payload, record_of({"tflite": payload}, pattern="2:4")), {"tflite": payload})

    def with_a_third(kernel):
        if "block_5_expand" not in kernel.name:
            return None
        array = kernel.array.copy()
        array[7, 0, 0, 4:8] = (1, 0, 2, 3)
        return array

    broken = edited(payload, with_a_third)
    message = refusal(network, broken, record_of({"tflite": broken}, pattern="2:4"))
    assert "the pattern 2:4, which kernel" in message and "block_5_expand" in message
    assert "2:4" in refusal(network, network.payloads["tflite"], record_of(network.payloads, pattern="2:4"))


def test_other_kernels(network):
    record = record_of(network.payloads)
    (score,) = [name for name in record["kernels"] if "/score" in name]
    facts = record["kernels"].pop(score)
    assert "61 kernels, but not " + score in refusal(network, network.payloads["tflite"], record)
    record["kernels"]["logits"] = facts
    assert "kernel logits, which no payload has" in refusal(network, network.payloads["tflite"], record)
    with pytest.raises(BundleError, match="TFL3"):
        check_compression(compressed(network, b"no network", record), {"tflite": b"no network"})


def test_float_kernels_have_no_codebook(bundles):
    bundle = read_bundle(os.path.join(bundles, "fp32.edgeseg"))
    record = record_of(bundle.payloads)
    check_compression(bundle.manifest._replace(compression=record), bundle.payloads)
    next(iter(record["kernels"].values()))["codebook"] = [0]
    with pytest.raises(BundleError, match=r"a codebook for kernel .*, which is float32"):
        check_compression(bundle.manifest._replace(compression=record), bundle.payloads)


@pytest.mark.parametrize(
    "change",
    [
        {"kernels": None},
        {"kernels": []},
        {"kernels": {"a": 1}},
        {"kernels": {"a": {"weights": 1, "zeros": 0}}},
        {"kernels": {"a": {"weights": 1.0, "zeros": 0, "codebook": None}}},
        {"kernels": {"a": {"weights": True, "zeros": 0, "codebook": None}}},
        {"kernels": {"a": {"weights": 1, "zeros": 0, "codebook": "0"}}},
        {"kernels": {"a": {"weights": 1, "zeros": 0, "codebook": [0, "1"]}}},
        {"kernels": {"a": {"weights": 1, "zeros": 0, "codebook": [0, 0]}}},
        {"kernels": {"a": {"weights": 1, "zeros": 0, "codebook": None, "more": 1}}},
        {"pattern": "1:2"},
        {"pattern": []},
        {"original": "fcn8"},
        {"original": {"parameters": 10**400}},
        {"steps": [{"step": "int8", "ratio": float("nan")}]},
        {"steps": {}},
        {"steps": ["int8"]},
        {"steps": [{"step": 8}]},
        {"steps": [{"step": "int8", "effects": ["cpu"]}]},
        {"steps": [{"step": "int8", "effects": {"cpu": 1}}]},
    ],
    ids=lambda change: str(change)[:60],
)
def test_malformed_records(network, change):
    record = dict(record_of(network.payloads), **change)
    assert "manifest.json: compression: " in refusal(network, network.payloads["tflite"], record)
    for key in change:
        del record[key]
    assert "manifest.json: compression: " in refusal(network, network.payloads["tflite"], record)


def test_fuzz(bundles):
    """A damaged file is refused, or read otherwise; never another exception."""
    good = read_bundle(os.path.join(bundles, "int8.edgeseg")).payloads["tflite"]
    refused = 0
    for seed in range(400):
        rng, damaged = random.Random(seed), bytearray(good)
        for _ in range(rng.randint(1, 6)):
            damaged[rng.randrange(len(damaged))] = rng.choice([0, 1, 8, 127, 128, 255, rng.randrange(256)])
        try:
            kernels_of({"tflite": bytes(damaged)})
        except BundleError as error:
            assert error.fix
            refused += 1
    assert refused > 20
