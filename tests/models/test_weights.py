"""Initial weights: their geometry is respected, and a file that does not fit is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeseg.errors import UsageError
from edgeseg.models.network import NetworkSpec, build
from edgeseg.models.spec import Geometry
from edgeseg.models.weights import load_into, read_weights

FLOAT_WEIGHTS = "mobilenet_v2_1.0_imagenet_torch_tfrange.npz"
TAPS = {"block_6_expand_relu": 8, "block_13_expand_relu": 16, "out_relu": 32}


def numpy_backbone(arrays: dict[str, np.ndarray], image: np.ndarray) -> dict[str, np.ndarray]:
    """MobileNetV2 1.0 in PyTorch's geometry (padding of 1 on every side), written from the paper's table 2.

    `image` (H, W, 3) float; returns every activation that has a name, (h, w, channels).
    """
    outputs = {}

    def windows(x: np.ndarray, stride: int) -> np.ndarray:
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))[::stride, ::stride]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        gamma, beta, mean, variance = (
            arrays[f"{name}/{w}"] for w in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta

    def relu6(x: np.ndarray, name: str) -> np.ndarray:
        outputs[name] = np.clip(x, 0, 6)
        return outputs[name]

    x = np.einsum("hwcij,ijco->hwo", windows(image, 2), arrays["Conv1/kernel"])
    x = relu6(norm(x, "bn_Conv1"), "Conv1_relu")
    block = 0
    for expansion, channels, repeats, first_stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)
    ):  # fmt: skip
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            prefix = f"block_{block}_" if block else "expanded_conv_"
            y = x
            if expansion > 1:
                y = relu6(
                    norm(x @ arrays[prefix + "expand/kernel"][0, 0], prefix + "expand_BN"), prefix + "expand_relu"
                )
            kernel = arrays[prefix + "depthwise/depthwise_kernel"][..., 0]
            y = np.einsum("hwcij,ijc->hwc", windows(y, stride), kernel)
            y = relu6(norm(y, prefix + "depthwise_BN"), prefix + "depthwise_relu")
            y = norm(y @ arrays[prefix + "project/kernel"][0, 0], prefix + "project_BN")
            assert y.shape[-1] == channels
            x = x + y if stride == 1 and repeat else y
            block += 1
    relu6(norm(x @ arrays["Conv_1/kernel"][0, 0], "Conv_1_bn"), "out_relu")
    return outputs


def activations(network: keras.Model, image: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    model = keras.Model(network.input, [network.get_layer(name).output for name in names])
    values = model(image[None].astype(np.float32))
    return {name: keras.ops.convert_to_numpy(value)[0] for name, value in zip(names, values, strict=True)}


def difference(got: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference, relative to the largest value."""
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def test_float_imagenet_weights_run_in_their_own_geometry(shared_data: Callable[..., object]) -> None:
    path = Path(str(shared_data("weights", FLOAT_WEIGHTS)))
    initial = read_weights(str(path), 1.0)
    assert initial is not None
    assert initial.geometry == "symmetric"
    image = np.random.default_rng(0).uniform(-1, 1, (64, 96, 3))
    expected = numpy_backbone(dict(np.load(path)), image)
    names = ["Conv1_relu", "block_1_depthwise_relu", *TAPS]

    def built(geometry: Geometry) -> dict[str, np.ndarray]:
        network = build(NetworkSpec("fcn8", 1.0, (64, 96), 2, geometry))
        assert len(load_into(network, initial).copied) == 104
        return activations(network, image, names)

    right, wrong = built("symmetric"), built("same")
    for name in names:
        assert difference(right[name], expected[name]) < 1e-4, name
        assert difference(wrong[name], expected[name]) > 0.1, f"{name}: the geometry makes no difference"


def test_known_files_have_the_geometry_they_were_trained_in(shared_data: Callable[..., object]) -> None:
    geometries = {
        FLOAT_WEIGHTS: "symmetric",
        "mobilenet_v2_1.0_imagenet.npz": "same",
        "mobilenet_v2_0.35_imagenet_tm.npz": "same",
    }
    for name, geometry in geometries.items():
        initial = read_weights(str(shared_data("weights", name)), 1.0)
        assert initial is not None
        assert initial.geometry == geometry, name


def test_imagenet_takes_the_float_weights_of_the_width(
    shared_data: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGESEG_WEIGHTS", str(shared_data("weights")))
    for width, name in ((1.0, FLOAT_WEIGHTS), (0.35, "mobilenet_v2_0.35_imagenet_tm.npz")):
        initial = read_weights("imagenet", width)
        assert initial is not None
        assert initial.source == name
        network = build(NetworkSpec("spp", width, (64, 64), 2, initial.geometry))
        assert len(load_into(network, initial).copied) == 104


@pytest.fixture(scope="module")
def small() -> keras.Model:
    return build(NetworkSpec("fcn32", 0.35, (32, 32), 2))


def write_npz(path: Path, network: keras.Model, **more: object) -> None:
    arrays = {f"{layer.name}/{w.name}": np.array(w) + 1 for layer in network.layers for w in layer.weights}
    np.savez(path, **arrays, **more)  # type: ignore[arg-type]


def test_file_that_says_its_geometry(tmp_path: Path, small: keras.Model) -> None:
    write_npz(tmp_path / "mine.npz", small, geometry="same")
    initial = read_weights(str(tmp_path / "mine.npz"), 0.35)
    assert initial is not None
    assert initial.geometry == "same"
    network = build(NetworkSpec("fcn16", 0.35, (32, 32), 3))
    score = np.array(network.get_layer("score").kernel)
    load_into(network, initial)
    for name in ("Conv1", "block_16_depthwise", "Conv_1_bn"):
        for mine, theirs in zip(network.get_layer(name).weights, small.get_layer(name).weights, strict=True):
            assert np.array_equal(np.array(mine), np.array(theirs) + 1)
    assert np.array_equal(np.array(network.get_layer("score").kernel), score), "the head keeps its own start"


def test_file_of_unknown_geometry_is_refused(tmp_path: Path, small: keras.Model) -> None:
    write_npz(tmp_path / "mine.npz", small)
    with pytest.raises(UsageError, match="geometry") as caught:
        read_weights(str(tmp_path / "mine.npz"), 0.35)
    assert "symmetric" in caught.value.fix
    assert "same" in caught.value.fix


def test_file_of_another_width_is_refused(tmp_path: Path, small: keras.Model) -> None:
    write_npz(tmp_path / "mine.npz", small, geometry="same")
    initial = read_weights(str(tmp_path / "mine.npz"), 0.5)
    assert initial is not None
    with pytest.raises(UsageError, match="another --width"):
        load_into(build(NetworkSpec("fcn32", 0.75, (32, 32), 2)), initial)


def test_file_without_the_backbone_is_refused(tmp_path: Path, small: keras.Model) -> None:
    arrays: dict[str, Any] = {"Conv1/kernel": np.zeros((3, 3, 3, 16)), "geometry": "same"}
    np.savez(tmp_path / "other.npz", **arrays)
    initial = read_weights(str(tmp_path / "other.npz"), 0.35)
    assert initial is not None
    with pytest.raises(UsageError, match="lacks 254 arrays"):
        load_into(small, initial)


def test_absent_and_damaged_files(tmp_path: Path, small: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.npz"
    with pytest.raises(UsageError, match="do not exist"):
        read_weights(str(path), 1.0)
    write_npz(path, small, geometry="same")
    whole = path.read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="cannot be read"):
            read_weights(str(path), 1.0)
    monkeypatch.setenv("EDGESEG_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError, match=r"no ImageNet weights for width 0\.75") as caught:
        read_weights("imagenet", 0.75)
    assert "_0.75_224_no_top.h5" in caught.value.fix


def test_keras_own_h5(tmp_path: Path) -> None:
    theirs = keras.applications.MobileNetV2(input_shape=(224, 224, 3), alpha=0.35, include_top=False, weights=None)
    path = tmp_path / "mine.weights.h5"
    theirs.save_weights(path)
    initial = read_weights(str(path), 0.35)
    assert initial is not None
    assert initial.geometry == "same"
    network = build(NetworkSpec("fcn32", 0.35, (32, 64), 2, "same"))
    load_into(network, initial)
    image = np.random.default_rng(0).uniform(-1, 1, (32, 64, 3))
    mine = activations(network, image, ["out_relu", "block_3_expand_relu"])["out_relu"]
    resized = keras.applications.MobileNetV2(input_shape=(32, 64, 3), alpha=0.35, include_top=False, weights=None)
    resized.set_weights(theirs.get_weights())
    expected = keras.ops.convert_to_numpy(resized(image[None].astype(np.float32)))[0]
    assert np.allclose(mine, expected, atol=1e-5), "not the network of keras.applications"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UsageError, match="cannot be read as MobileNetV2"):
        read_weights(str(path), 0.35)
