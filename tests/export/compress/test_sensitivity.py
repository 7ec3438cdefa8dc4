"""Which layers can do without half of their weights, and which cannot."""

import keras
import numpy as np

from edgeseg.export.compress.apply import dense_kernels
from edgeseg.export.compress.magnitude import masks_of
from edgeseg.export.compress.sensitivity import sensitivities


def test_a_layer_that_the_masks_hang_on_keeps_more():
    """One branch decides the classes, the other adds next to nothing."""
    rng = np.random.default_rng(0)
    image = keras.Input((16, 16, 8))
    main = keras.layers.Conv2D(8, 1, use_bias=False, name="main")(image)
    side = keras.layers.Conv2D(8, 1, use_bias=False, name="side")(image)
    network = keras.Model(image, keras.layers.Add()([main, keras.layers.Rescaling(0.01)(side)]))
    for name in ("main", "side"):
        network.get_layer(name).set_weights([rng.normal(size=(1, 1, 8, 8)).astype(np.float32)])
    batch = rng.normal(size=(2, 16, 16, 8)).astype(np.float32)
    kernels = dense_kernels(network)
    found = sensitivities(network, kernels, batch)
    assert found["main"] > 2 and found["side"] < 1 and found["main"] * found["side"] <= 1.01
    zeros = {name: float((~mask).mean()) for name, mask in masks_of(kernels, 0.5, found).items()}
    assert zeros["side"] > 0.7 and zeros["main"] < 0.3
    for name, kernel in dense_kernels(network).items():
        assert np.array_equal(kernel, kernels[name]), "the network is as before"
