"""`edgeseg train --int8`: what is learned is worth something in int8, and stays plain Keras."""

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from edgeseg.cli import main
from edgeseg.datasets import open_dataset
from edgeseg.errors import UsageError
from edgeseg.models.activations import observe
from edgeseg.models.average import restore_batch_norm
from edgeseg.models.evaluate import to_float_input
from edgeseg.models.fake_quant import Range, quantised_tensors, round_outputs
from edgeseg.models.file import NetworkCard, load_network, save_network
from edgeseg.models.hold import channel_axis_of, read_shared
from edgeseg.models.int8 import int8_views, require_trained
from edgeseg.models.recipe import Recipe, check_recipe
from edgeseg.models.spec import NetworkSpec
from edgeseg.models.train import Progress, Run, train
from edgeseg.models.transfer import Transfer
from edgeseg.models.views import bake
from edgeseg.models.weights import read_weights
from edgeseg.palette import CAMVID, UNLABELED

SPEC = NetworkSpec("fcn8", 0.35, (64, 96), 11)
CONVOLUTIONS = keras.layers.Conv2D | keras.layers.DepthwiseConv2D


def small(spec: NetworkSpec) -> keras.Model:
    """Stride 8, in a few layers of each kind that the real networks have; a run of it takes two seconds."""
    image = keras.Input((*spec.imgsz, 3), name="image")
    x = image
    for number, layer in enumerate(
        (
            keras.layers.Conv2D(16, 3, 2, padding="same", use_bias=False, name="conv1"),
            keras.layers.DepthwiseConv2D(3, 2, padding="same", use_bias=False, name="depthwise2"),
            keras.layers.Conv2D(32, 3, 2, padding="same", use_bias=False, name="conv3"),
        ),
        start=1,
    ):
        x = keras.layers.BatchNormalization(name=f"norm{number}")(layer(x))
        x = keras.layers.ReLU(6.0, name=f"relu{number}")(x)
    return keras.Model(image, keras.layers.Conv2D(spec.classes, 1, name="score")(x))


@pytest.fixture(scope="module", autouse=True)
def built_small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgeseg.models.train.build", small)
        yield


def recipe(streets: Path, init: Path | str, **changes: object) -> Recipe:
    usual = Recipe(str(streets), "fcn8", 0.35, (64, 96), (64, 96), str(init), epochs=12, batch=4, lr=0.003, int8=True)
    return usual._replace(**changes)  # type: ignore[arg-type]


def run(recipe: Recipe, out: Path) -> tuple[keras.Model, NetworkCard]:
    train(recipe, out, (out / "checkpoint.npz").exists(), lambda progress: None)
    return load_network(out / "network.keras")


@pytest.fixture(scope="module")
def start(streets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fitted network that int8 spoils: weights on a feature that is always zero make the steps of the others coarse.

    A third of the weights of another layer are zero.
    """
    keras.utils.set_random_seed(0)
    network = small(SPEC)
    pruned, norm, score = (network.get_layer(name) for name in ("conv3", "norm3", "score"))
    kernel = keras.ops.convert_to_numpy(pruned.kernel)
    pruned.kernel.assign(kernel * (np.random.default_rng(0).random(kernel.shape) < 2 / 3))
    images, labels = examples(streets, "train")
    restore_batch_norm(network, [images], 1)
    norm.gamma.assign(np.arange(32) > 0)
    norm.beta.assign(-10.0 * (np.arange(32) == 0))
    features = keras.Model(network.input, score.input).predict(images, verbose=0)[labels < len(CAMVID)]
    wanted = 10 * np.eye(len(CAMVID))[labels[labels < len(CAMVID)]]
    kernel, *_ = np.linalg.lstsq(np.pad(features, ((0, 0), (0, 1)), constant_values=1), wanted, rcond=1e-4)
    kernel[0] = 127 * np.abs(kernel[1:-1]).max()
    score.set_weights([kernel[None, None, :-1].astype(np.float32), kernel[-1].astype(np.float32)])
    folder = tmp_path_factory.mktemp("start")
    save_network(folder / "network.keras", network, NetworkCard(SPEC, CAMVID, "streets", {}, "random", {}))
    return folder


def examples(streets: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Float images (n, 64, 96, 3) in -1..1, and the labels of their cells (n, 8, 12)."""
    dataset = open_dataset(str(streets))
    images, labels = (np.stack(group) for group in zip(*map(dataset.read, dataset.pairs(split)), strict=True))
    return to_float_input(images), labels[:, 4::8, 4::8].astype(np.int32)


@pytest.fixture(scope="module")
def learned(streets: Path, start: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, NetworkCard]:
    return run(recipe(streets, start, hold="zeros"), tmp_path_factory.mktemp("learned") / "run")


def int8_loss(folder: Path, streets: Path) -> float:
    """Cross entropy, on validation images, of what an int8 file of the network computes."""
    network, card = load_network(folder / "network.keras")
    images, labels = examples(streets, "val")
    pixels = np.rint((images + 1) * 127.5).astype(np.uint8)
    ranges = card.ranges or observe(network, pixels).ranges("percentile")
    bake(network, int8_views(network, {}))
    round_outputs(network, {name: Range(*bounds) for name, bounds in ranges.items()})
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=UNLABELED)
    return float(loss(labels, network(images, training=False)))


def test_what_is_saved_is_plain_and_on_the_grid(learned: tuple[keras.Model, NetworkCard]) -> None:
    network, card = learned
    assert card.ranges and list(card.ranges) == quantised_tensors(network)
    for layer in network.layers:
        if isinstance(layer, CONVOLUTIONS):
            assert read_shared(keras.ops.convert_to_numpy(layer.kernel), channel_axis_of(layer)), layer.name


def test_it_lowers_the_loss_of_the_int8_network(
    streets: Path, start: Path, learned: tuple[keras.Model, NetworkCard], tmp_path: Path
) -> None:
    _, card = run(recipe(streets, start, int8=False), tmp_path / "plain")
    assert card.ranges is None
    save_network(tmp_path / "network.keras", *learned)
    before, without, with_it = (int8_loss(folder, streets) for folder in (start, tmp_path / "plain", tmp_path))
    assert with_it < 0.9 * without < before


def test_zeros_stay_zero(start: Path, learned: tuple[keras.Model, NetworkCard]) -> None:
    before, after = (
        keras.ops.convert_to_numpy(network.get_layer("conv3").kernel)
        for network in (load_network(start / "network.keras")[0], learned[0])
    )
    assert not after[before == 0].any()
    assert not np.array_equal(before, after)


def test_batch_norm_is_that_of_the_ranges(start: Path, learned: tuple[keras.Model, NetworkCard]) -> None:
    before, _ = load_network(start / "network.keras")
    for number in (1, 2, 3):
        pairs = (network.get_layer(f"norm{number}").get_weights() for network in (before, learned[0]))
        for one, two in zip(*pairs, strict=True):
            np.testing.assert_array_equal(one, two)


def test_stopped_and_resumed_it_ends_the_same(
    streets: Path, start: Path, learned: tuple[keras.Model, NetworkCard], tmp_path: Path
) -> None:
    def stop(progress: Progress) -> None:
        if progress.done and progress.epoch == 6:
            raise KeyboardInterrupt

    same = recipe(streets, start, hold="zeros")
    with pytest.raises(KeyboardInterrupt):
        train(same, tmp_path / "run", False, stop)
    network, card = run(same, tmp_path / "run")
    assert card.ranges == learned[1].ranges
    for one, two in zip(network.get_weights(), learned[0].get_weights(), strict=True):
        assert np.allclose(one, two, rtol=1e-3, atol=1e-4)


def test_ranges_are_found_once(streets: Path, learned: tuple[keras.Model, NetworkCard], tmp_path: Path) -> None:
    """What was trained to int8 before is trained on with the same ranges."""
    network, card = learned
    assert card.ranges
    wide = {name: (2 * low, 2 * high) for name, (low, high) in card.ranges.items()}
    save_network(tmp_path / "network.keras", network, card._replace(ranges=wide))
    again = Run(recipe(streets, tmp_path), tmp_path / "run", False, lambda text: None)
    assert again.ranges == wide
    low, high = wide["score"]
    logits = keras.ops.convert_to_numpy(again.learner(examples(streets, "val")[0], training=True))
    steps = logits / ((high - low) / 255)
    assert np.abs(steps - np.rint(steps)).max() < 0.01 and np.ptp(steps) > 20, "the learner does not round"


def test_it_needs_one_trained_network(start: Path) -> None:
    for init in ("none", ("imagenet", "fcn8-camvid")):
        with pytest.raises(UsageError, match="--int8 fine-tunes one trained network"):
            check_recipe(Recipe("data", init=init, int8=True))
    initial = read_weights(str(start / "network.keras"), SPEC.width)
    assert initial
    with pytest.raises(UsageError, match=r"has no score for it") as caught:
        require_trained(initial, Transfer(("conv1",), (), {"score": "other classes"}))
    assert "train without --int8 first" in caught.value.fix


def test_the_option_is_known(streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", str(streets), "--init", "none", "--int8", "-o", str(tmp_path / "run")]) == 2
    assert "--int8" in capsys.readouterr().err
