"""Networks for the zoo: half the precision of the weights, and a third to a half of the bytes.

Keras reads such a file like any other: the weights are float32, and the archive is a ZIP with LZMA members.
"""

import tempfile
import zipfile
from pathlib import Path

import keras
import numpy as np

from edgeseg.models.checkpoint import AtomicReplacement
from edgeseg.models.file import NetworkCard, save_network

_DROPPED = np.uint32(13)  # of the 23 bits of a float32's fraction; float16 has 10


def round_weights(network: keras.Model) -> None:
    """Round all weights to the precision of float16. They stay float32, with its range."""
    network.set_weights([half_precision(weight) for weight in network.get_weights()])


def half_precision(values: np.ndarray) -> np.ndarray:
    """The nearest float32 with 11 significant bits, ties to even; `values` are finite float32."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    last = (bits >> _DROPPED) & np.uint32(1)
    half = np.uint32((1 << 12) - 1)
    mask = np.uint32(0xFFFFFFFF << 13 & 0xFFFFFFFF)
    return ((bits + half + last) & mask).view(np.float32).reshape(values.shape)


def save_compact(path: Path, network: keras.Model, card: NetworkCard) -> None:
    """Write a network and its card to `path` (.keras) like `save_network`, in an archive of LZMA members."""
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / path.name
        save_network(plain, network, card)
        with AtomicReplacement(path) as temporary:
            _pack(plain, temporary)


def _pack(source: Path, target: Path) -> None:
    with zipfile.ZipFile(source) as plain, zipfile.ZipFile(target, "w", zipfile.ZIP_LZMA) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
