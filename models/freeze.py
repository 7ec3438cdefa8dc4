"""`--freeze`: how much of the backbone stays as it is loaded.

Frozen layers get no gradient and no weight decay, and their BatchNorm normalises with the statistics that it was loaded
with, in training too, and keeps them when those of the others are estimated anew. So what they compute never changes.
"""

from typing import TYPE_CHECKING

from edgeseg.errors import UsageError
from edgeseg.models.transfer import Transfer
from edgeseg.models.weights import BACKBONE_PREFIXES

if TYPE_CHECKING:
    import keras

ALL = "backbone"
BLOCKS = 17  # inverted residual blocks of MobileNetV2


def frozen_prefixes(depth: str) -> tuple[str, ...]:
    """How the names of the layers begin that `depth` freezes: "" none, "backbone" all, "N" the stem and N blocks.

    Raises UsageError for another depth.
    """
    if depth in ("", ALL):
        return BACKBONE_PREFIXES if depth else ()
    if not (depth.isdecimal() and 1 <= int(depth) <= BLOCKS):
        raise UsageError(
            f"--freeze {depth}: there is no such depth",
            f"give {ALL}, or how many of its blocks to freeze together with the first convolution: 1 to {BLOCKS}",
        )
    return ("Conv1", "bn_Conv1", "expanded_conv_", *(f"block_{block}_" for block in range(1, int(depth))))


def freeze(network: "keras.Model", depth: str, transfer: Transfer) -> None:
    """Freeze the layers of `depth`. Raises UsageError where one of them has not been copied as it was trained."""
    prefixes = frozen_prefixes(depth)
    for layer in network.layers:
        if not layer.name.startswith(prefixes) or not layer.weights:
            continue
        if layer.name not in transfer.copied or layer.name in transfer.sliced:
            what = "was cut from a wider one" if layer.name in transfer.sliced else "is not in the initial weights"
            raise UsageError(
                f"--freeze {depth} would keep {layer.name} as it is, which {what}",
                "leave out --freeze, or give --init a network or weights of this --width",
            )
        layer.trainable = False
