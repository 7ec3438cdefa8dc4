"""`network.keras`: Keras' own file, plus `edgeseg.json` with classes and provenance inside it."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras

from edgeseg.errors import UsageError
from edgeseg.models.checkpoint import UNREADABLE, AtomicReplacement
from edgeseg.models.spec import NetworkSpec
from edgeseg.palette import SegClass
from edgeseg.zoo import CARD


class NetworkCard(NamedTuple):
    """What a trained network is, beside its weights."""

    spec: NetworkSpec
    classes: tuple[SegClass, ...]
    dataset: str
    recipe: dict[str, Any]
    init: str
    figures: dict[str, Any]
    teachers: tuple[str, ...] = ()
    ranking: tuple[dict[str, Any], ...] = ()  # of several initial weights, as models.ranking.Ranked, best first
    ranges: Mapping[str, Sequence[float]] | None = None  # of activations, that it was trained to int8 with
    images: int | None = None  # that it was trained on, those of its initial weights included; None: not known


def save_network(path: Path, network: keras.Model, card: NetworkCard) -> None:
    """Write a network and its card to `path` (.keras), atomically."""
    content = card._asdict() | {
        "spec": card.spec._asdict(),
        "classes": [c._asdict() for c in card.classes],
    }
    with AtomicReplacement(path) as temporary:
        network.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(CARD, json.dumps(content, indent=1))


def load_network(path: Path) -> tuple[keras.Model, NetworkCard]:
    """Read a network and its card. Raises UsageError if `path` is not one that edgeseg trained."""
    card = read_card(path)
    try:
        return keras.saving.load_model(path, compile=False), card
    except UNREADABLE as error:
        raise _foreign(path, error) from error


def read_card(path: Path) -> NetworkCard:
    """The card alone. Raises UsageError like `load_network`."""
    try:
        with zipfile.ZipFile(path) as archive:
            content = json.loads(archive.read(CARD))
        spec = NetworkSpec(**content["spec"])
        height, width = spec.imgsz
        spec = spec._replace(imgsz=(height, width), channels=tuple((name, count) for name, count in spec.channels))
        classes = tuple(SegClass(c["id"], c["name"], tuple(c["color"])) for c in content["classes"])
        content = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
        return NetworkCard(**content | {"spec": spec, "classes": classes})
    except UNREADABLE as error:
        raise _foreign(path, error) from error


def _foreign(path: Path, error: Exception) -> UsageError:
    return UsageError(
        f"{path} is not a network trained by edgeseg ({error})", "give the network.keras of `edgeseg train`"
    )
