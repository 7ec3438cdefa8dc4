"""`--hold`: a pruned or shared network stays so while it is trained on, and still learns."""

from pathlib import Path

import keras
import numpy as np
import pytest

from edgeseg.cli import main
from edgeseg.errors import UsageError
from edgeseg.models.file import NetworkCard, load_network, save_network
from edgeseg.models.hold import channel_axis_of, channel_scales, read_shared
from edgeseg.models.network import build
from edgeseg.models.recipe import Recipe, check_recipe
from edgeseg.models.spec import NetworkSpec
from edgeseg.palette import CAMVID

SPEC = NetworkSpec("fcn32", 0.35, (64, 96), 11)


def _save(path: Path, change: object) -> dict[str, np.ndarray]:
    """A network whose kernels went through `change`; the kernels."""
    keras.utils.set_random_seed(0)
    network = build(SPEC)
    kernels = {}
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            kernel = keras.ops.convert_to_numpy(layer.kernel)
            kernels[layer.name] = change(kernel, channel_axis_of(layer))  # type: ignore[operator]
            layer.kernel.assign(kernels[layer.name])
    path.mkdir()
    save_network(path / "network.keras", network, NetworkCard(SPEC, CAMVID, "streets", {}, "random", {}))
    return kernels


def _trained(streets: Path, start: Path, hold: str, out: Path, *more: str) -> keras.Model:
    arguments = f"--network fcn32 --width 0.35 --imgsz 64 96 --epochs 2 --batch 4 --hold {hold} --init".split()
    assert main(["train", "--data", str(streets), *arguments, str(start), "-o", str(out), *more]) == 0
    return load_network(out / "network.keras")[0]


def test_zeros_stay_zero(streets: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kernels = _save(tmp_path / "start", lambda kernel, axis: kernel * (rng.random(kernel.shape) < 0.3))
    network = _trained(streets, tmp_path / "start", "zeros", tmp_path / "run")
    for name, kernel in kernels.items():
        after = keras.ops.convert_to_numpy(network.get_layer(name).kernel)
        assert np.array_equal(after == 0, kernel == 0), name
        assert not np.array_equal(after, kernel), f"{name} has not learned"


def test_equal_weights_stay_equal(streets: Path, tmp_path: Path) -> None:
    def four_values(kernel: np.ndarray, axis: int) -> np.ndarray:
        scales = channel_scales(kernel, axis)
        return (scales * np.array([-127, -40, 40, 127])[np.digitize(kernel / scales, [-80, 0, 80])]).astype(np.float32)

    kernels = _save(tmp_path / "start", four_values)
    network = _trained(streets, tmp_path / "start", "values", tmp_path / "run")
    moved = set()
    for name, kernel in kernels.items():
        layer = network.get_layer(name)
        before = read_shared(kernel, channel_axis_of(layer))
        after = read_shared(keras.ops.convert_to_numpy(layer.kernel), channel_axis_of(layer))
        assert before and after, name
        assert np.array_equal(before.indices, after.indices), name
        assert after.codebook[[0, -1]].tolist() == [-127, 127]
        moved |= {*after.codebook.tolist()} - {-127, -40, 40, 127}
    assert moved, "no value has learned"


def test_a_random_kernel_shares_nothing() -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)
    assert read_shared(kernel, 3) is None
    grid = np.rint(kernel / np.abs(kernel).max(axis=(0, 1, 2)) * 127)
    rounded = (grid * 0.0123).astype(np.float16).astype(np.float32)  # the precision of the networks in the box
    found = read_shared(rounded, 3)
    assert found and np.array_equal(found.codebook[found.indices], grid)


@pytest.mark.parametrize("init", ["none", ("imagenet", "fcn8-camvid")])
def test_it_needs_one_network(init: str | tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="--hold zeros") as caught:
        check_recipe(Recipe("data", init=init, hold="zeros"))
    assert "give --init that network" in caught.value.fix
