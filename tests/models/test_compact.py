"""Networks with weights of half precision: what is lost, and that Keras reads the file as it is."""

import zipfile

import numpy as np
import pytest

from edgeseg.palette import CAMVID


def test_rounding_is_that_of_float16_over_the_range_of_float32():
    from edgeseg.models.compact import half_precision

    values = np.random.default_rng(0).normal(size=10000).astype(np.float32)
    ordinary = values[np.abs(values) > 1e-4]  # float16 loses precision below
    assert np.array_equal(half_precision(ordinary), ordinary.astype(np.float16).astype(np.float32))
    ties = np.array([1 + 2**-11, 1 + 3 * 2**-11, -(1 + 2**-11)], np.float32)
    assert half_precision(ties).tolist() == [1, 1 + 2**-9, -1]
    wide = np.array([0, 1e-30, 1e30, -1e-6], np.float32)
    np.testing.assert_allclose(half_precision(wide), wide, rtol=2**-11)
    assert half_precision(np.array(3, np.float32)).shape == ()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_file(tmp_path):
    import keras
    from keras import layers

    from edgeseg.models.compact import round_weights, save_compact
    from edgeseg.models.file import NetworkCard, load_network, save_network
    from edgeseg.models.spec import NetworkSpec

    keras.utils.set_random_seed(1)
    image = keras.Input((32, 32, 3))
    network = keras.Model(image, layers.Conv2D(11, 1)(layers.BatchNormalization()(layers.Conv2D(256, 5)(image))))
    before = network.get_weights()
    card = NetworkCard(NetworkSpec("fcn8", 1.0, (32, 32), 11), CAMVID, "CamVid", {}, "random", {"macs": 3})
    save_network(tmp_path / "plain.keras", network, card)
    round_weights(network)
    save_compact(tmp_path / "compact.keras", network, card)
    found, told = load_network(tmp_path / "compact.keras")
    assert (told.spec, told.classes, told.figures) == (card.spec, card.classes, card.figures)
    for old, rounded, read in zip(before, network.get_weights(), found.get_weights(), strict=True):
        assert np.array_equal(rounded, read)
        np.testing.assert_allclose(rounded, old, rtol=2**-11)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["compact.keras", "plain.keras"]
    plain, compact = (tmp_path / name for name in ("plain.keras", "compact.keras"))
    assert zipfile.ZipFile(compact).namelist() == zipfile.ZipFile(plain).namelist()
    assert compact.stat().st_size < 0.6 * plain.stat().st_size
