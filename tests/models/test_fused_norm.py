"""Batch normalisation in one operation: the function, the gradients and the statistics of Keras' own."""

import keras
import numpy as np
import pytest

from edgeseg.models.fused_norm import fuse_batch_norm


def _network() -> keras.Model:
    image = keras.Input((6, 5, 3))
    norm = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name="norm")
    frozen = keras.layers.BatchNormalization(name="frozen")
    network = keras.Model(image, frozen(norm(image)))
    network.get_layer("norm").set_weights(
        [np.array(v, np.float32) for v in ([1, 2, 3], [0, 1, 2], [0, 1, 0], [1, 2, 1])]
    )
    frozen.trainable = False
    return network


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(3, 2, (2, 6, 5, 3)).astype(np.float32)


def _step(network: keras.Model, images: np.ndarray) -> list[np.ndarray]:
    """Weights and outputs after one step of training."""
    network.compile(keras.optimizers.SGD(0.1), "mse")
    network.train_on_batch(images, np.ones_like(images))
    return [*network.get_weights(), keras.ops.convert_to_numpy(network(images))]


def test_trains_as_keras_does(images: np.ndarray) -> None:
    plain, fused = _network(), _network()
    fuse_batch_norm(fused)
    before = plain.get_weights()
    after = _step(plain, images)
    for mine, keras_own in zip(_step(fused, images), after, strict=True):
        np.testing.assert_allclose(mine, keras_own, rtol=1e-5, atol=1e-5)
    moved = [not np.allclose(a, b) for a, b in zip(before, after, strict=False)]
    assert moved == [True] * 4 + [False] * 4, "the step changes the first layer, the second is frozen"


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the fused operation is TensorFlow's")
def test_it_is_one_operation(images: np.ndarray) -> None:
    import tensorflow as tf

    network = _network()
    fuse_batch_norm(network)
    graph = tf.function(lambda x: network(x, training=True)).get_concrete_function(tf.constant(images)).graph
    kinds = [operation.type for operation in graph.get_operations()]
    assert kinds.count("FusedBatchNormV3") == 1


def test_a_saved_network_is_plain_keras(images: np.ndarray, tmp_path) -> None:
    network = _network()
    fuse_batch_norm(network)
    _step(network, images)
    network.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_allclose(again(images), network(images), rtol=1e-6)
