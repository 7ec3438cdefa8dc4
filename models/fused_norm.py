"""Batch normalisation of a training network in TensorFlow's one fused operation.

Keras writes it as moments, a product and a sum, each a pass over memory. Fused, a step of fcn8 takes 0.82 of the time
on two cores, and 0.65 on one (models/EXPERIMENTS.md).
"""

from functools import partial
from typing import Any

import keras


def fuse_batch_norm(network: keras.Model) -> None:
    """Let the BatchNorm layers of `network` train by the fused operation, on TensorFlow; the same function.

    Only these layer objects change: what is saved, and what is built anew, is plain Keras.
    """
    if keras.backend.backend() != "tensorflow":
        return
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.call = partial(_call, layer, layer.call)


def _call(layer: Any, plain: Any, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
    if not (training and layer.trainable):
        return plain(inputs, training=training, mask=mask)
    import tensorflow as tf

    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        inputs, layer.gamma, layer.beta, epsilon=layer.epsilon, is_training=True
    )
    count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), variance.dtype)
    biased = variance * (count - 1) / count  # the operation estimates the population, Keras keeps the sample
    for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, biased)):
        moving.assign(moving * layer.momentum + value * (1 - layer.momentum))
    return outputs
