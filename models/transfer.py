"""Weights copied from one network into another, layer by layer, and what can be said about it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from edgeseg.models.slicing import Arrays, slice_weights

if TYPE_CHECKING:
    import keras


ABSENT = "absent"


class Transfer(NamedTuple):
    """Which layers of a network have their weights from another, and which start at random."""

    copied: tuple[str, ...]
    sliced: tuple[str, ...]  # those of `copied` that have a part of the channels of a wider network
    fresh: dict[str, str]  # layer -> why it was not copied


def arrays_of(network: "keras.Model") -> Arrays:
    """All weights and statistics of a network, by `layer/weight`."""
    import keras

    return {f"{layer.name}/{w.name}": keras.ops.convert_to_numpy(w) for layer in network.layers for w in layer.weights}


def copy_weights(network: "keras.Model", arrays: Arrays, skip: dict[str, str] | None = None) -> Transfer:
    """Set every layer for which `arrays` has all weights, cut to its width; the others keep their start.

    `skip` names layers that are left alone although they may fit, and why.
    """
    cut = slice_weights(network, arrays)
    copied, sliced, fresh = [], [], {}
    for layer in network.layers:
        if not layer.weights:
            continue
        keys = [f"{layer.name}/{w.name}" for w in layer.weights]
        why = (skip or {}).get(layer.name) or _misfit(keys, [tuple(w.shape) for w in layer.weights], cut)
        if why:
            fresh[layer.name] = why
        else:
            for key, weight in zip(keys, layer.weights, strict=True):
                weight.assign(cut[key])
            copied.append(layer.name)
            sliced += [layer.name] * any(cut[key].shape != arrays[key].shape for key in keys)
    return Transfer(tuple(copied), tuple(sliced), fresh)


def _misfit(keys: Sequence[str], shapes: Sequence[tuple[int, ...]], arrays: Arrays) -> str:
    """Why these arrays cannot be copied; "" where they can."""
    for key, shape in zip(keys, shapes, strict=True):
        if key not in arrays:
            return ABSENT
        if arrays[key].shape != shape:
            return f"other shape: {_text(arrays[key].shape)}, not {_text(shape)}"
    return ""


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def transfer_text(source: str, transfer: Transfer) -> str:
    """What was copied from `source` and what was not, for people; a line for each reason."""
    total = len(transfer.copied) + len(transfer.fresh)
    cut = f", {len(transfer.sliced)} of them cut to this width" if transfer.sliced else ""
    lines = [f"initial weights {source}: {len(transfer.copied)} of {total} layers copied{cut}"]
    for reason in dict.fromkeys(transfer.fresh.values()):
        names = [name for name, why in transfer.fresh.items() if why == reason]
        own = [name for name in names if name.removesuffix("_BN") == name or name.removesuffix("_BN") not in names]
        lines.append(f"  new start ({reason}): {', '.join(own)}")
    return "\n".join(lines)
