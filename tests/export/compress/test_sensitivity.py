"""Which layers can do without half of their weights, and which cannot."""

import keras
import numpy as np
import pytest

from edgeseg.export.compress.apply import dense_kernels
from edgeseg.export.compress.magnitude import masks_of
from edgeseg.export.compress.sensitivity import sensitivities


@pytest.mark.parametrize("pruned", [0.0, 0.6])
def test_a_layer_that_the_masks_hang_on_keeps_more(pruned):
    """One branch decides the classes, the other adds next to nothing; also where most weights are zero already."""
    rng = np.random.default_rng(0)
    image = keras.Input((16, 16, 8))
    main = keras.layers.Conv2D(8, 1, use_bias=False, name="main")(image)
    side = keras.layers.Conv2D(8, 1, use_bias=False, name="side")(image)
    network = keras.Model(image, keras.layers.Add()([main, keras.layers.Rescaling(0.01)(side)]))
    for name in ("main", "side"):
        kernel = rng.normal(size=(1, 1, 8, 8)).astype(np.float32)
        if pruned:
            kernel *= masks_of({name: kernel}, pruned)[name]
        network.get_layer(name).set_weights([kernel])
    batch = rng.normal(size=(2, 16, 16, 8)).astype(np.float32)
    kernels = dense_kernels(network)
    found = sensitivities(network, kernels, batch)
    assert found["main"] > 2 and found["side"] < 1 and found["main"] * found["side"] <= 1.01
    masks = masks_of(kernels, (1 + pruned) / 2, found)
    left = {name: float(masks[name].sum() / (kernel != 0).sum()) for name, kernel in kernels.items()}
    assert left["side"] < 0.3 and left["main"] > 0.7
    for name, kernel in dense_kernels(network).items():
        assert np.array_equal(kernel, kernels[name]), "the network is as before"
