"""`network.keras`: Keras' own file, plus `edgeseg.json` with classes and provenance inside it."""

import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import keras

from edgeseg.errors import UsageError
from edgeseg.models.checkpoint import UNREADABLE, AtomicReplacement
from edgeseg.models.spec import NetworkSpec
from edgeseg.palette import SegClass

CARD = "edgeseg.json"


class NetworkCard(NamedTuple):
    """What a trained network is, beside its weights."""

    spec: NetworkSpec
    classes: tuple[SegClass, ...]
    dataset: str
    recipe: dict[str, Any]
    init: str
    figures: dict[str, Any]
    teachers: tuple[str, ...] = ()


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
    try:
        with zipfile.ZipFile(path) as archive:
            content = json.loads(archive.read(CARD))
        spec = NetworkSpec(**content["spec"] | {"imgsz": tuple(content["spec"]["imgsz"])})
        classes = tuple(SegClass(c["id"], c["name"], tuple(c["color"])) for c in content["classes"])
        card = NetworkCard(**content | {"spec": spec, "classes": classes})
        return keras.saving.load_model(path, compile=False), card
    except UNREADABLE as error:
        raise UsageError(
            f"{path} is not a network trained by edgeseg ({error})", "give the network.keras of `edgeseg train`"
        ) from error
