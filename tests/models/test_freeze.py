"""Frozen layers compute at the end what they computed at the start; the run says what it started from."""

from pathlib import Path

import keras
import numpy as np
import pytest

from edgeseg.errors import UsageError
from edgeseg.models.file import load_network
from edgeseg.models.freeze import freeze, frozen_prefixes
from edgeseg.models.network import NetworkSpec, build
from edgeseg.models.recipe import Recipe
from edgeseg.models.slicing import Arrays
from edgeseg.models.train import Run
from edgeseg.models.transfer import Transfer, arrays_of, copy_weights

SPEC = NetworkSpec("fcn32", 0.35, (64, 96), 3, "same")


@pytest.mark.parametrize(
    ("depth", "frozen", "free"),
    [
        ("", [], ["Conv1"]),
        ("1", ["Conv1", "bn_Conv1", "expanded_conv_project_BN"], ["block_1_expand", "Conv_1"]),
        ("3", ["Conv1", "expanded_conv_depthwise", "block_2_project"], ["block_3_expand", "block_10_expand"]),
        ("17", ["block_16_project_BN"], ["Conv_1", "Conv_1_bn", "fc6_reduce"]),
        ("backbone", ["Conv1", "block_16_project", "Conv_1", "Conv_1_bn"], ["fc6_reduce", "skip8", "score"]),
    ],
)
def test_depth(depth: str, frozen: list[str], free: list[str]) -> None:
    prefixes = frozen_prefixes(depth)
    assert all(name.startswith(prefixes) for name in frozen)
    assert not any(name.startswith(prefixes) for name in free)


@pytest.mark.parametrize("depth", ["0", "18", "-1", "1.5", "head", "block_3"])
def test_unknown_depth(depth: str) -> None:
    with pytest.raises(UsageError, match=f"--freeze {depth}") as caught:
        frozen_prefixes(depth)
    assert "1 to 17" in caught.value.fix


def test_only_layers_as_they_were_trained_are_frozen() -> None:
    network = build(SPEC)
    names = tuple(layer.name for layer in network.layers if layer.weights)
    with pytest.raises(UsageError, match=r"bn_Conv1 .* is not in the initial weights"):
        freeze(network, "2", Transfer(("Conv1",), (), {"bn_Conv1": "absent"}))
    with pytest.raises(UsageError, match=r"Conv1 .* was cut from a wider one"):
        freeze(network, "backbone", Transfer(names, ("Conv1",), {}))
    freeze(network, "2", Transfer(names, ("block_2_expand",), {}))
    assert {layer.name for layer in network.layers if not layer.trainable} == {
        name for name in names if name.startswith(("Conv1", "bn_Conv1", "expanded_conv_", "block_1_"))
    }


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    """A network with a statistic of its own for every channel."""
    network = build(SPEC)
    rng = np.random.default_rng(0)
    for layer in network.layers:
        for weight in layer.weights:
            if weight.name in ("moving_mean", "moving_variance", "beta"):
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return arrays_of(network)


def test_a_step_of_training_changes_no_frozen_layer(arrays: Arrays) -> None:
    network = build(SPEC._replace(imgsz=(32, 32)))
    freeze(network, "16", copy_weights(network, arrays))
    network.compile(keras.optimizers.AdamW(0.1, weight_decay=1.0), "mse", run_eagerly=True)
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (2, 32, 32, 3))
    before = keras.Model(network.input, network.get_layer("block_15_add").output)(images)
    network.train_on_batch(images, rng.uniform(-9, 9, network.compute_output_shape(images.shape)))
    assert_frozen(arrays_of(network), arrays, "16")
    after = keras.Model(network.input, network.get_layer("block_15_add").output)(images)
    assert np.array_equal(keras.ops.convert_to_numpy(before), keras.ops.convert_to_numpy(after))


def assert_frozen(trained: Arrays, arrays: Arrays, depth: str) -> None:
    """The frozen layers are those of `arrays`, the other BatchNorm statistics are not."""
    for key, array in trained.items():
        if key.startswith(frozen_prefixes(depth)):
            assert np.array_equal(array, arrays[key]), key
        elif key.endswith("/moving_mean"):
            assert not np.allclose(array, arrays[key], atol=1e-4), key


def test_run_keeps_frozen_layers_and_says_where_it_started(arrays: Arrays, streets: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays, geometry="same", images=1000)  # type: ignore[arg-type]
    np.savez(tmp_path / "silent.npz", **arrays, geometry="symmetric")  # type: ignore[arg-type]
    recipe = Recipe(str(streets), "fcn32", 0.35, SPEC.imgsz, SPEC.imgsz, epochs=1, batch=4, freeze="3")
    recipe = recipe._replace(init=(str(tmp_path / "silent.npz"), str(path)))
    notes: list[str] = []
    run = Run(recipe, tmp_path / "run", False, notes.append)
    ranking, transfer = notes
    assert ranking.splitlines()[2].endswith("  mine.npz")
    assert "silent.npz does not say" in ranking
    assert transfer.startswith("initial weights mine.npz: 104 of ")

    run.epoch, run.history = 1, [{"epoch": 1, "loss": 1.0, "val_miou": 0.5}]  # as if it had been trained
    run._save()
    (tmp_path / "silent.npz").unlink()  # the choice has been made
    resumed = Run(recipe, tmp_path / "run", True, notes.append)
    assert resumed.ranking == run.ranking
    assert len(notes) == 2, "a resumed run has nothing new to say"

    resumed.finish(lambda progress: None)
    network, card = load_network(tmp_path / "run" / "network.keras")
    assert_frozen(arrays_of(network), arrays, "3")
    assert card.spec.geometry == "same"
    assert card.images == 1012
    assert card.init.startswith("mine.npz sha256:")
    assert card.recipe["init"] == ["silent.npz", "mine.npz"]
    assert [row["init"] for row in card.ranking] == ["mine.npz", "silent.npz"]
