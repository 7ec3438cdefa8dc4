"""Averaged weights, and BatchNorm statistics that belong to them."""

import keras
import numpy as np
import pytest

from edgeseg.models.average import DECAY, EVERY, WeightAverage, restore_batch_norm
from edgeseg.models.network import NetworkSpec, build


def tiny() -> keras.Model:
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])


def test_average_is_a_copy_and_not_the_weights() -> None:
    network = tiny()
    start = network.get_weights()
    average = WeightAverage(network)
    network.set_weights([w + 1 for w in start])
    assert all(np.array_equal(a, b) for a, b in zip(average.state()[1:], start, strict=True))
    average.update()
    assert all(np.array_equal(a, b + 1) for a, b in zip(network.get_weights(), start, strict=True))


def test_average_of_a_short_run_is_not_its_start() -> None:
    network = tiny()
    average = WeightAverage(network)
    end = [w + 1 for w in network.get_weights()]
    network.set_weights(end)
    average.update()
    assert all(np.allclose(a, b, atol=1e-3) for a, b in zip(average.state()[1:], end, strict=True))


def test_average_lags_behind_as_its_decay_says() -> None:
    network = tiny()
    network.set_weights([np.zeros_like(w) for w in network.get_weights()])
    average = WeightAverage(network)
    average.set_state([np.array(10**6), *network.get_weights()])  # long past the warm-up
    network.set_weights([np.ones_like(w) for w in network.get_weights()])
    steps = 40 * EVERY
    for _ in range(steps):
        average.update()
    assert np.allclose(average.state()[1], 1 - DECAY**steps, atol=1e-4)


def test_average_goes_on_from_its_state() -> None:
    network = tiny()
    averages = [WeightAverage(network), WeightAverage(network)]
    rng = np.random.default_rng(0)
    for step in range(4 * EVERY):
        network.set_weights([rng.normal(size=w.shape) for w in network.get_weights()])
        averages[0].update()
        averages[1].update()
        if step == EVERY + 2:
            averages[1] = WeightAverage(network)
            averages[1].set_state(averages[0].state())
    assert all(np.array_equal(a, b) for a, b in zip(averages[0].state(), averages[1].state(), strict=True))


def test_batch_norm_statistics_are_the_means_of_the_batches() -> None:
    network = build(NetworkSpec("fcn32", 0.35, (64, 96), 3))
    rng = np.random.default_rng(0)
    batches = [rng.uniform(-1, 1, (4, 64, 96, 3)).astype(np.float32) for _ in range(3)]
    first = keras.Model(network.input, network.get_layer("Conv1").output)
    restore_batch_norm(network, batches, count=2)
    outputs = [keras.ops.convert_to_numpy(first(batch)) for batch in batches[:2]]
    norm = network.get_layer("bn_Conv1")
    for variable, statistic in ((norm.moving_mean, np.mean), (norm.moving_variance, np.var)):
        expected = np.mean([statistic(o, axis=(0, 1, 2)) for o in outputs], axis=0)
        assert np.allclose(np.array(variable), expected, rtol=1e-3, atol=1e-5)


def test_batch_norm_statistics_do_not_depend_on_momentum_or_past() -> None:
    networks = [build(NetworkSpec("fcn32", 0.35, (32, 32), 3)) for _ in range(2)]
    norms = [layer for layer in networks[1].layers if isinstance(layer, keras.layers.BatchNormalization)]
    networks[1].set_weights(networks[0].get_weights())
    for norm in norms:
        norm.momentum = 0.5
        norm.moving_mean.assign(norm.moving_mean + 7)
    batches = [np.random.default_rng(s).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32) for s in range(2)]
    for network in networks:
        restore_batch_norm(network, batches, count=10)
    for one, two in zip(networks[0].get_weights(), networks[1].get_weights(), strict=True):
        assert np.allclose(one, two, atol=1e-5)
    assert all(norm.momentum == 0.5 for norm in norms), "the momentum was not put back"


def test_no_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="no batch"):
        restore_batch_norm(build(NetworkSpec("fcn32", 0.35, (32, 32), 2)), [], count=3)
