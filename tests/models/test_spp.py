"""The pyramid against NumPy: which cells each bin averages, and where its mean lands on the map."""

from functools import cache
from itertools import pairwise

import keras
import numpy as np
import pytest

from edgeseg.errors import UsageError
from edgeseg.models.network import NetworkSpec, build, check
from edgeseg.models.spp import bins, spread

# Cells of stride 32: the smallest map, each remainder by 4, 224x320, 352x480, 480x640, 512x1024.
SIZES = [(2, 2), (2, 3), (4, 4), (5, 6), (7, 10), (9, 8), (11, 15), (15, 20), (16, 32)]
SPEC = NetworkSpec("spp", 0.35, (64, 96), 11)


def run(network: keras.Model, x: np.ndarray) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(network(x.astype(np.float32))), np.float64)


@cache
def pyramid(size: tuple[int, int]) -> keras.Model:
    x = keras.Input((*size, 1))
    return keras.Model(x, bins(x))


@cache
def spreader(size: tuple[int, int]) -> keras.Model:
    x = keras.Input((4, 4, 1))
    return keras.Model(x, spread(x, size))


def doubling(cells: int) -> np.ndarray:
    """(2 cells, cells): the bilinear resize by two with half-pixel centres, along one axis."""
    matrix = np.zeros((2 * cells, cells))
    for row in range(2 * cells):
        place = np.clip((row + 0.5) / 2 - 0.5, 0, cells - 1)
        before = int(place)
        after = min(before + 1, cells - 1)
        matrix[row, before] += 1 - (place - before)
        matrix[row, after] += place - before
    return matrix


def edges(doubled: int, count: int) -> list[tuple[int, int]]:
    """First and one-past-last doubled cell of each bin."""
    distance = doubled // count
    return [(i * distance, doubled - (count - 1 - i) * distance) for i in range(count)]


def means(x: np.ndarray, count: int) -> np.ndarray:
    """(count, count): the level of count x count bins of a map (h, w)."""
    doubled = doubling(x.shape[0]) @ x @ doubling(x.shape[1]).T
    rows, columns = (edges(side, count) for side in doubled.shape)
    return np.array([[doubled[top:end, left:right].mean() for left, right in columns] for top, end in rows])


@pytest.mark.parametrize("size", SIZES)
def test_three_levels(size: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=size)
    found = run(pyramid(size), x[None, ..., None])[0]
    assert found.shape == (4, 4, 3)
    np.testing.assert_allclose(found[..., 0], means(x, 4), atol=1e-5)
    np.testing.assert_allclose(found[..., 1], doubling(2) @ means(x, 2) @ doubling(2).T, atol=1e-5)
    np.testing.assert_allclose(found[..., 2], np.full((4, 4), x.mean()), atol=1e-5)


def weights_of_cells(size: tuple[int, int]) -> np.ndarray:
    """(h, w, 4, 4, 3): how much each cell counts in each value of the pyramid."""
    cells = np.eye(size[0] * size[1]).reshape(-1, *size, 1)
    return run(pyramid(size), cells).reshape(*size, 4, 4, 3)


@pytest.mark.parametrize("size", SIZES)
def test_every_cell_counts_and_nothing_else_does(size: tuple[int, int]) -> None:
    weights = weights_of_cells(size)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=(0, 1)), 1, atol=1e-5)  # means of real cells, no padding among them
    assert weights[..., 0].sum(axis=(2, 3)).min() > 0
    shares = weights.mean(axis=(2, 3)) * size[0] * size[1]
    np.testing.assert_allclose(shares[..., 1:], 1, atol=1e-4)  # in levels 1 and 2 every cell counts alike
    if size[0] % 2 == size[1] % 2 == 0:
        np.testing.assert_allclose(shares[..., 0], 1, atol=1e-4)


@pytest.mark.parametrize("doubled", range(4, 132, 2))
def test_neighbours_share_two_doubled_cells_at_most(doubled: int) -> None:
    """What the docstring says of uneven sizes, for the edges that `test_three_levels` holds the network to."""
    found = edges(doubled, 4)
    assert found[0][0] == 0 and found[-1][1] == doubled
    assert len({end - start for start, end in found}) == 1
    shared = {before[1] - after[0] for before, after in pairwise(found)}
    assert shared == {0 if doubled % 4 == 0 else 2}
    assert all(end - start == doubled // 2 for start, end in edges(doubled, 2))


@pytest.mark.parametrize("size", SIZES)
def test_values_come_back_to_their_place(size: tuple[int, int]) -> None:
    weights = run(spreader(size), np.eye(16).reshape(-1, 4, 4, 1)).reshape(4, 4, *size)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=(0, 1)), 1, atol=1e-5)
    for axis, cells in enumerate(size):
        centres = np.arange(4) + 0.5
        found = np.tensordot(centres, weights.sum(axis=1 - axis), axes=(0, 0)).mean(axis=1 - axis)  # in bins
        ideal = np.clip((np.arange(cells) + 0.5) * 4 / cells, 0.5, 3.5)
        assert np.abs(found - ideal).max() <= 0.5
        assert (np.diff(found) >= -1e-5).all()
        np.testing.assert_allclose(found + found[::-1], 4, atol=1e-5)  # left and right alike


def test_whole_and_quarters_of_a_picture() -> None:
    """A map of four flat quarters; the doubling mixes the cells on their borders a little."""
    x = np.kron([[1.0, 2.0], [3.0, 4.0]], np.ones((4, 6)))
    found = run(pyramid((8, 12)), x[None, ..., None])[0]
    np.testing.assert_allclose(found[::3, ::3, 0], [[1, 2], [3, 4]])
    np.testing.assert_allclose(found[::3, ::3, 1], [[1, 2], [3, 4]], atol=0.1)
    np.testing.assert_allclose(found[..., 2], 2.5)


@pytest.mark.parametrize("imgsz", [(32, 96), (96, 32), (32, 32)])
def test_too_small_names_the_smallest(imgsz: tuple[int, int]) -> None:
    with pytest.raises(UsageError) as caught:
        check(SPEC._replace(imgsz=imgsz))
    assert "at least 64" in caught.value.message
    assert caught.value.fix == f"use --imgsz {max(64, imgsz[0])} {max(64, imgsz[1])}"
    with pytest.raises(UsageError, match="--imgsz 64 352 or --imgsz 64 384"):
        check(SPEC._replace(imgsz=(40, 360)))


def test_weights_do_not_depend_on_the_size() -> None:
    """Training crops, the size of the network and the sizes that a compiler falls back to share weights."""
    small, large = build(SPEC), build(SPEC._replace(imgsz=(352, 480)))
    large.set_weights(small.get_weights())
    names = [[w.path for w in network.weights] for network in (small, large)]
    assert names[0] == names[1]
    for weight, other in zip(small.weights, large.weights, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), keras.ops.convert_to_numpy(other))


def test_the_decoder_goes_on_where_that_of_fcn8_ends() -> None:
    """Same names and shapes, so that weights of the one can begin the other."""
    spp, fcn8 = (
        {w.path: tuple(w.shape) for w in build(SPEC._replace(architecture=name)).weights} for name in ("spp", "fcn8")
    )
    assert {path for path, shape in fcn8.items() if spp[path] != shape} == {"score/kernel"}
    added = {path.split("/")[0].removesuffix("_BN") for path in spp.keys() - fcn8.keys()}
    assert added == {"pyramid", "skip32", "reduce4", "skip4", "refine4_depthwise", "refine4_pointwise"}
