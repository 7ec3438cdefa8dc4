"""Kernels of few values, two weights to a byte: what comes back, what is saved, and what is refused."""

import os
import random

import numpy as np
import pytest

from edgeseg import packing
from edgeseg.bundle import payload_info, read_bundle, write_bundle
from edgeseg.errors import BundleError
from edgeseg.kernels import kernels_of
from edgeseg.zoo import zoo_bundle


@pytest.fixture(scope="module")
def bundle():
    return read_bundle(str(zoo_bundle("fcn8-0.35-camvid")))


@pytest.fixture(scope="module")
def few_values(bundle, edited):
    """Function (count) -> its .tflite file with at most `count` values in a kernel, half of the weights the same."""

    def draw(count):
        rng = np.random.RandomState(0)

        def change(kernel):
            values = rng.choice(np.arange(-127, 128), count, replace=False).astype(np.int8)
            chosen = rng.randint(count, size=kernel.weights) * rng.randint(2, size=kernel.weights)
            return values[chosen].reshape(kernel.array.shape)

        return edited(bundle.payloads["tflite"], change)

    return draw


@pytest.mark.parametrize("count", [2, 15, 16])
def test_the_bundle_gives_the_same_bytes_back(bundle, few_values, tmp_path, count):
    payload = few_values(count)
    runs = packing.packable("tflite", payload)
    weights = [kernel.weights for kernel in kernels_of({"tflite": payload})]
    assert sum(length for _, length in runs) >= 0.99 * sum(w for w in weights if w >= 256)
    info = payload_info("tflite", "network.tflite", payload)
    assert (info.path, info.bytes) == ("network.tflite.packed", len(payload))
    path = str(tmp_path / "few.edgeseg")
    write_bundle(path, bundle.manifest._replace(payloads=(info,)), {"tflite": payload})
    assert read_bundle(path).payloads == {"tflite": payload}


def test_it_saves_what_lzma_wastes(bundle, few_values, tmp_path):
    """More than a tenth of the entropy of the weights."""
    payload = few_values(16)
    info, path = payload_info("tflite", "network.tflite", payload), str(tmp_path / "a.edgeseg")
    sizes = []
    for member in (info.path, "network.tflite"):
        write_bundle(path, bundle.manifest._replace(payloads=(info._replace(path=member),)), {"tflite": payload})
        sizes.append(os.path.getsize(path))
    entropy = 0.0
    for kernel in kernels_of({"tflite": payload}):
        share = np.unique(kernel.array, return_counts=True)[1] / float(kernel.weights)
        entropy -= kernel.weights * float((share * np.log2(share)).sum()) / 8
    assert sizes[1] - sizes[0] > 0.1 * entropy


def test_odd_lengths_and_neighbours():
    data = bytes(bytearray([7, 9, 9] * 101)) + b"rest" + bytes(bytearray(range(16))) * 20
    runs = [(0, 303), (307, 320)]
    packed = packing.pack(data, runs)
    assert packing.unpack(packed, len(data)) == data and packing.unpack(data, len(data)) == data
    assert packed[152:303] == b"\0" * 151 and packed[303:307] == b"rest"


def test_more_than_sixteen_values_stay_as_they_are(few_values):
    """So does what is no network at all."""
    payload = few_values(17)
    large = [run for run in packing.packable("tflite", payload) if run[1] > 4096]
    assert not large
    assert payload_info("tflite", "network.tflite", b"no network").path == "network.tflite"
    assert not packing.packable("edgetpu", payload)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"\0\0\0", "middle of a row"),
        (packing._ROW.pack(0, 8, 3) + b"\1\2", "8 weights of 3 values"),
        (packing._ROW.pack(0, 8, 0), "8 weights of 0 values"),
        (packing._ROW.pack(0, 8, 17) + bytes(17), "8 weights of 17 values"),
        (packing._ROW.pack(0, 17, 1) + b"\1", "17 weights of 1 values"),
        (packing._ROW.pack(2**32 - 1, 2**32 - 1, 1) + b"\1", "weights of 1 values"),
        (packing._ROW.pack(0, 8, 2) + b"\1\2", "more than 2 values at 0"),
        (2 * (packing._ROW.pack(0, 8, 16) + bytes(16)), "8 weights of 16 values at 0"),
    ],
)
def test_a_damaged_table(table, message):
    with pytest.raises(BundleError, match=message):
        packing.unpack(b"\x25" * 16 + table, 16)


def test_random_damage_never_does_more_than_fail(few_values):
    payload = few_values(8)
    packed = packing.pack(payload, packing.packable("tflite", payload))
    rng = random.Random(0)
    refused = 0
    for _ in range(200):
        broken = bytearray(packed)
        for _ in range(rng.choice([1, 3, 20])):
            broken[rng.randrange(len(payload), len(packed))] = rng.randrange(256)
        del broken[len(packed) - rng.choice([0, 0, 1, 5]) :]
        try:
            restored = packing.unpack(bytes(broken), len(payload))
            assert len(restored) == len(payload)
        except BundleError:
            refused += 1
    assert refused > 100


def test_a_bundle_with_a_damaged_table_is_refused(bundle, few_values, tmp_path, monkeypatch):
    payload = few_values(8)
    info = payload_info("tflite", "network.tflite", payload)
    path = str(tmp_path / "a.edgeseg")
    monkeypatch.setattr(packing, "pack", lambda data, runs, pack=packing.pack: pack(data, runs)[:-1])
    with pytest.raises(BundleError, match="the table of packed kernels"):
        write_bundle(path, bundle.manifest._replace(payloads=(info,)), {"tflite": payload})
    assert not os.path.exists(path)
