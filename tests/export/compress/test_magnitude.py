"""Which weights become zero, and how many."""

import numpy as np
import pytest

from edgeseg.export.compress.magnitude import masks_of, share_at, two_of_four


@pytest.fixture(scope="module")
def kernels():
    rng = np.random.default_rng(0)
    return {
        "gauss": rng.normal(0, 0.1, (1, 1, 64, 32)).astype(np.float32),
        "large": rng.normal(0, 10, (3, 3, 16, 8)).astype(np.float32),
        "peaked": rng.laplace(0, 0.1, (1, 1, 48, 48)).astype(np.float32),
    }


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.95])
def test_the_share_is_kept_over_all_layers(kernels, share):
    masks = masks_of(kernels, share)
    zeros = sum(int((~mask).sum()) for mask in masks.values())
    assert zeros == pytest.approx(share * sum(k.size for k in kernels.values()), abs=1)


def test_the_smallest_go_and_a_scale_changes_nothing(kernels):
    masks = masks_of(kernels, 0.5)
    for name, mask in masks.items():
        assert np.abs(kernels[name][~mask]).max() <= np.abs(kernels[name][mask]).min()
    scaled = masks_of({name: kernel * 7 for name, kernel in kernels.items()}, 0.5)
    assert all(np.array_equal(masks[name], scaled[name]) for name in masks)
    assert masks["peaked"].mean() < masks["gauss"].mean(), "of a layer with many small weights more are dropped"


def test_a_sensitive_layer_keeps_more(kernels):
    plain, careful = masks_of(kernels, 0.5), masks_of(kernels, 0.5, {"gauss": 3.0})
    assert careful["gauss"].mean() > plain["gauss"].mean() + 0.2
    assert careful["large"].mean() < plain["large"].mean()


@pytest.mark.parametrize("shape", [(1, 1, 8, 5), (3, 3, 16, 4)])
def test_two_of_four(shape):
    kernel = np.random.default_rng(1).normal(size=shape)
    mask = two_of_four(kernel)
    for y, x, o in np.ndindex(shape[0], shape[1], shape[3]):
        for first in range(0, shape[2], 4):
            four = np.abs(kernel[y, x, first : first + 4, o])
            stays = mask[y, x, first : first + 4, o]
            assert stays.sum() == 2 and four[stays].min() > four[~stays].max()


def test_three_channels_have_no_pattern():
    assert two_of_four(np.ones((3, 3, 3, 8))).all()


def test_schedule():
    assert [share_at(p, 0.0, 0.8) for p in (0, 1, 2)] == pytest.approx([0, 0.8, 0.8])
    assert share_at(0.5, 0.0, 0.8) == pytest.approx(0.7)
    assert share_at(0.5, 0.4, 0.8) == pytest.approx(0.75), "a network that is pruned already begins there"
