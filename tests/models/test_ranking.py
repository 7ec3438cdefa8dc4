"""Of several initial weights, the ones are chosen whose source looks like the data."""

import math
from pathlib import Path

import keras
import numpy as np
import pytest

from edgeseg.datasets import open_dataset
from edgeseg.errors import UsageError
from edgeseg.models.average import restore_batch_norm
from edgeseg.models.evaluate import to_float_input
from edgeseg.models.network import NetworkSpec, build
from edgeseg.models.ranking import (
    SAMPLE,
    Ranked,
    choose,
    feature_statistics,
    overlap,
    rank,
    ranking_text,
    sample,
)
from edgeseg.models.transfer import arrays_of

SPEC = NetworkSpec("fcn32", 0.35, (64, 96), 3)


def test_overlap_is_the_integral_of_the_geometric_mean() -> None:
    x = np.linspace(-60, 60, 200_001)

    def density(mean: float, variance: float) -> np.ndarray:
        variance += 1e-3  # of BatchNorm
        return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)

    for one, two in (((0.0, 1.0), (0.0, 1.0)), ((0.0, 1.0), (2.0, 1.0)), ((1.0, 4.0), (-1.0, 0.2)), ((0, 0), (3, 9))):
        expected = np.sum(np.sqrt(density(*one) * density(*two))) * (x[1] - x[0])
        got = overlap(*(np.array([value]) for value in (*one, *two)))
        assert got == pytest.approx([expected], abs=1e-6)


@pytest.fixture(scope="module")
def images(streets: Path) -> list[np.ndarray]:
    return sample(open_dataset(str(streets)).pairs("train"), SPEC.imgsz)


def test_sample_is_bounded_and_even(streets: Path, images: list[np.ndarray]) -> None:
    pairs = open_dataset(str(streets)).pairs("train")
    assert [image.shape for image in images] == [(64, 96, 3)] * len(pairs)
    assert len(sample(pairs * 10, (32, 32))) == SAMPLE


def test_statistics_are_those_of_all_pixels(images: list[np.ndarray]) -> None:
    network = build(SPEC)
    norm = network.get_layer("bn_Conv1")
    (mean,), (variance,) = feature_statistics(network, [norm], images)
    first = keras.Model(network.input, network.get_layer("Conv1").output)
    features = keras.ops.convert_to_numpy(first(to_float_input(np.stack(images))))
    assert np.allclose(mean, features.mean(axis=(0, 1, 2)), atol=1e-5)
    assert np.allclose(variance, features.var(axis=(0, 1, 2)), rtol=1e-3)


@pytest.fixture(scope="module")
def sources(images: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of one network with the statistics of these streets, of their negatives, and what cannot be used."""
    folder = tmp_path_factory.mktemp("sources")
    network = build(SPEC)
    batch = to_float_input(np.stack(images))
    for name, source in (("streets", batch), ("negatives", -batch)):
        restore_batch_norm(network, [source], 1)
        np.savez(folder / f"{name}.npz", **arrays_of(network), geometry="symmetric", images=100)  # type: ignore[arg-type]
    np.savez(folder / "silent.npz", **arrays_of(network), geometry="symmetric")  # type: ignore[arg-type]
    np.savez(folder / "part.npz", geometry="symmetric", images=10)
    return {path.stem: str(path) for path in folder.iterdir()}


def test_similar_sources_come_first(sources: dict[str, str], images: list[np.ndarray]) -> None:
    names = ["none", "silent", "negatives", "part", "streets"]
    rows = rank([sources.get(name, name) for name in names], SPEC, images)
    assert [Path(row.init).stem for row in rows] == ["streets", "negatives", "none", "silent", "part"]
    same, other, random, silent, part = rows
    assert same.overlap is not None
    assert 0.98 < same.overlap <= 1
    assert other.overlap is not None
    assert other.overlap < same.overlap - 0.01
    assert same.score == pytest.approx(same.overlap * math.log10(101))
    assert other.score == pytest.approx(other.overlap * math.log10(101))
    assert (random.score, random.images, random.reason) == (0, 0, "")
    assert "how many images" in silent.reason
    assert "lacks" in part.reason
    lines = ranking_text(rows).splitlines()
    assert f"{same.score:.2f}" in lines[2]
    assert lines[2].endswith("100  streets.npz")
    assert lines[-1].endswith(f"-  {part.reason}")


def test_sources_that_have_to_be_cut_count_less(sources: dict[str, str], images: list[np.ndarray]) -> None:
    (narrow,) = rank([sources["streets"]], SPEC._replace(width=0.25), images)
    (whole,) = rank([sources["streets"]], SPEC, images)
    assert narrow.overlap == whole.overlap, "the likeness of the source does not depend on the cut"
    assert narrow.score == pytest.approx(whole.score * 0.25 / 0.35)
    (wide,) = rank([sources["streets"]], SPEC._replace(width=0.5), images)
    assert wide.reason == "streets.npz has width 0.35, this network 0.5"


def test_no_choice_needs_no_look(streets: Path) -> None:
    assert choose(["imagenet"], SPEC, open_dataset(str(streets)).pairs("train")) == []


def test_nothing_to_choose_from(sources: dict[str, str], streets: Path) -> None:
    pairs = open_dataset(str(streets)).pairs("train")
    with pytest.raises(UsageError, match=r"silent\.npz does not say .*; part\.npz lacks "):
        choose([sources["silent"], sources["part"]], SPEC, pairs)


def test_text_of_a_run_names_its_folder() -> None:
    assert "  drive/network.keras" in ranking_text([Ranked("/somewhere/drive/network.keras", 9, 0.5, 0.5)])
