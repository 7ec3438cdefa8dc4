"""Magnitude pruning (Han et al. 2015, arXiv 1506.02626): the smallest weights become zero and stay zero.

It makes files smaller. No runtime here computes faster with scattered zeros, but for the 2:4 pattern on the tensor
cores of an Orin.

Layers lose different shares: one threshold in units of each layer's standard deviation (section 3.1 of the paper, where
that unit is the quality parameter of a layer) serves all of them, so a layer of which many weights are near zero loses
more; one that suffers more than others loses fewer (edgeseg.export.compress.sensitivity).

Left whole are depthwise kernels, which have nine weights a channel and are 3 % of a network, and the classes.
"""

from collections.abc import Mapping

import numpy as np

Kernels = Mapping[str, np.ndarray]  # by layer, (h, w, in, out)
Masks = dict[str, np.ndarray]  # bool, True for what stays

_STEPS = 50  # of the bisection


def masks_of(kernels: Kernels, share: float, sensitivity: Mapping[str, float] | None = None) -> Masks:
    """Masks that take `share` of all weights together, least magnitude in units of its layer first.

    `sensitivity` divides the threshold of a layer; 1 where it names none.
    """
    sensitivity = sensitivity or {}
    relative = {
        name: np.abs(kernel) / max(1e-12, float(kernel.std())) * sensitivity.get(name, 1.0)
        for name, kernel in kernels.items()
    }
    total = sum(kernel.size for kernel in kernels.values())
    low, high = 0.0, max(float(np.max(values)) for values in relative.values())
    for _ in range(_STEPS):
        middle = (low + high) / 2
        dropped = sum(int((values < middle).sum()) for values in relative.values())
        low, high = (middle, high) if dropped < share * total else (low, middle)
    return {name: values >= high for name, values in relative.items()}


def two_of_four(kernel: np.ndarray) -> np.ndarray:
    """The mask of the 2:4 pattern: of every four weights in a row along the input channels, the two largest stay.

    (h, w, in, out) -> bool. That is the axis along which TensorRT wants them (its developer guide, "Sparsity"). Where
    `in` is no multiple of four nothing is dropped: such a layer cannot have the pattern.
    """
    inputs = kernel.shape[2]
    if inputs % 4:
        return np.ones(kernel.shape, bool)
    fours = np.abs(np.moveaxis(kernel, 2, -1)).reshape(-1, 4)
    smallest = np.argsort(fours, axis=1, kind="stable")[:, :2]
    mask = np.ones(fours.shape, bool)
    np.put_along_axis(mask, smallest, False, axis=1)
    moved = np.moveaxis(kernel, 2, -1).shape
    return np.moveaxis(mask.reshape(moved), -1, 2)


def share_at(progress: float, initial: float, final: float) -> float:
    """The share that is pruned at `progress`, 0..1, of the schedule: quickly at first, then ever more slowly.

    Zhu and Gupta 2017, arXiv 1710.01878, equation 1.
    """
    return final + (initial - final) * (1 - min(1.0, progress)) ** 3
