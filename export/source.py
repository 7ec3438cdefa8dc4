"""NETWORK on the command line: a name from the zoo, or the path of a trained network."""

import hashlib
import zipfile
from pathlib import Path
from typing import NamedTuple

import keras

from edgeseg.errors import UsageError
from edgeseg.models.file import NetworkCard, load_network
from edgeseg.models.network import build
from edgeseg.zoo import NETWORK_FILE, locate_network, zoo_names


class FloatNetwork(NamedTuple):
    """A trained network, its card and its file."""

    network: keras.Model
    card: NetworkCard
    path: Path
    sha256: str
    zoo_name: str | None


def open_network(text: str) -> FloatNetwork:
    """Load a network by zoo name, .keras file or folder of `edgeseg train`. Raises UsageError."""
    zoo_name = text if text in zoo_names() else None
    path = locate_network(text)
    if not path.is_file():
        raise UsageError(
            f"there is no network {text}: neither a file nor a name from the box",
            f"give the {NETWORK_FILE} of `edgeseg train`, or one of: {', '.join(zoo_names())}",
        )
    try:
        network, card = load_network(path)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"network {path} cannot be read: {reason}", "is the file complete?") from error
    return FloatNetwork(network, card, path, file_sha256(path), zoo_name)


def at_size(source: FloatNetwork, imgsz: tuple[int, int]) -> FloatNetwork:
    """The same network for images of another size, (height, width); no weight of it depends on that.

    Raises UsageError for a size that it does not take, or a network that this version builds otherwise.
    """
    spec = source.card.spec._replace(imgsz=imgsz)
    if spec == source.card.spec:
        return source
    network = build(spec)
    theirs, ours = ([(w.path, tuple(w.shape)) for w in n.weights] for n in (source.network, network))
    if theirs != ours:
        raise UsageError(
            f"{source.path} has other layers than {spec.architecture} of this edgeseg: it cannot be built for {imgsz}",
            "train it again with this version, or export it in its own size",
        )
    network.set_weights(source.network.get_weights())
    return source._replace(network=network, card=source.card._replace(spec=spec))


def file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
