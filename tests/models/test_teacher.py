"""What a network learns from another one: its mean probabilities, at the learner's resolution."""

from pathlib import Path

import keras
import numpy as np
import pytest

from edgeseg.cli import main
from edgeseg.errors import UsageError
from edgeseg.models.evaluate import to_float_input
from edgeseg.models.file import NetworkCard, load_network, save_network
from edgeseg.models.loss import DistillationLoss
from edgeseg.models.network import build
from edgeseg.models.spec import NetworkSpec
from edgeseg.models.teacher import Teacher
from edgeseg.models.train import Recipe, train
from edgeseg.palette import CAMVID

CROP = (64, 96)


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, keras.Model]:
    """Two networks of random weights, by file."""
    folder, spec = tmp_path_factory.mktemp("teachers"), NetworkSpec("fcn16", 0.35, (96, 128), len(CAMVID))
    networks = {}
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        path = folder / f"{seed}.keras"
        networks[path] = build(spec)
        save_network(path, networks[path], NetworkCard(spec, CAMVID, "streets", {}, "random", {}))
    return networks


@pytest.fixture
def images() -> np.ndarray:
    return to_float_input(np.random.default_rng(0).integers(0, 256, (2, *CROP, 3)).astype(np.uint8))


def softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(p / p.sum(-1, keepdims=True))


def test_an_ensemble_says_the_mean_of_its_networks(teachers: dict[Path, keras.Model], images: np.ndarray) -> None:
    expected = []
    for trained in teachers.values():
        network = build(NetworkSpec("fcn16", 0.35, CROP, len(CAMVID)))
        network.set_weights(trained.get_weights())
        expected.append(softmax(np.asarray(keras.ops.convert_to_numpy(network(images)))))
    teacher = Teacher(list(teachers), CAMVID, CROP, 16)
    assert np.allclose(teacher(images), np.mean(expected, axis=0), atol=1e-5)
    assert [source.split()[0] for source in teacher.sources] == ["1.keras", "2.keras"]


@pytest.mark.parametrize("stride", [8, 32])
def test_it_speaks_at_the_resolution_of_the_learner(
    teachers: dict[Path, keras.Model], images: np.ndarray, stride: int
) -> None:
    said = Teacher(list(teachers)[:1], CAMVID, CROP, stride)(images)
    assert said.shape == (2, CROP[0] // stride, CROP[1] // stride, len(CAMVID))
    assert np.allclose(said.sum(-1), 1, atol=1e-5)


def test_a_teacher_of_other_classes_is_refused(teachers: dict[Path, keras.Model]) -> None:
    with pytest.raises(UsageError, match=r"1.keras knows the classes Sky, .*, Bicyclist; this data has Sky, Building"):
        Teacher(list(teachers)[:1], CAMVID[:2], CROP, 8)


def test_loss_is_the_divergence_and_zero_for_the_same() -> None:
    rng = np.random.default_rng(0)
    said, logits = softmax(rng.normal(size=(2, 4, 6, 5))), rng.normal(size=(2, 4, 6, 5))
    expected = 0.7 * np.mean(np.sum(said * (np.log(said) - np.log(softmax(logits))), axis=-1))
    assert float(DistillationLoss(0.7)(said, logits)) == pytest.approx(expected, rel=1e-5)
    assert float(DistillationLoss(0.7)(said, np.log(said))) == pytest.approx(0, abs=1e-6)


def test_the_learner_comes_to_say_what_its_teacher_says(streets: Path, tmp_path: Path) -> None:
    """A teacher that sees nothing but fences is believed more than the labels."""
    path = tmp_path / "teacher.keras"
    spec = NetworkSpec("fcn32", 0.35, CROP, len(CAMVID))
    network = build(spec)
    network.get_layer("score").set_weights([np.zeros((1, 1, 128, 11)), 10 * np.eye(11)[7]])
    save_network(path, network, NetworkCard(spec, CAMVID, "streets", {}, "random", {}))
    recipe = Recipe(str(streets), "fcn32", 0.35, CROP, CROP, "none", epochs=1, batch=3, teacher=(str(path),))
    figures = train(recipe._replace(lr=0.03, distill=30.0), tmp_path / "run", False, lambda progress: None)
    fences = figures["val_iou"].pop("Fence")
    assert fences > 0
    assert all(iou < fences for iou in figures["val_iou"].values())
    card = load_network(tmp_path / "run" / "network.keras")[1]
    assert card.teachers[0].startswith("teacher.keras sha256:")
    assert card.recipe["teacher"] == ["teacher.keras"]


def test_an_absent_teacher_is_named_before_anything_begins(
    streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--data", str(streets), "--teacher", "nobody.keras", "-o", str(tmp_path / "run")]
    assert main(command) == 2
    assert "there is no network" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
