"""Mapillary Vistas: streets of the world, with 65 evaluated classes (v1.2) or those of v2.0.

Neuhold et al., ICCV 2017; https://www.mapillary.com/dataset/vistas. Its config_v1.2.json, config_v2.0.json or
config.json has a list "labels" of names, colours and what is evaluated; label images hold positions in that list
(https://github.com/mapillary/mapillary_vistas, README.md). Classes are the evaluated ones, others are unlabelled.
"""

import json
import os
from typing import Dict, List, NamedTuple, Optional

from edgeseg.datasets.base import Dataset
from edgeseg.datasets.files import Pair, read_text
from edgeseg.datasets.labels import mapped_ids
from edgeseg.datasets.listing import pairs_in
from edgeseg.errors import UsageError
from edgeseg.palette import Color, numbered

_SPLITS = {"train": "training", "val": "validation"}


class _Version(NamedTuple):
    name: str
    config: str
    labels: str  # folder in that of a split


class _Label(NamedTuple):
    name: str
    color: Color
    evaluated: bool


# The first that is there is read.
_VERSIONS = (
    _Version("v2.0", "config_v2.0.json", os.path.join("v2.0", "labels")),
    _Version("v1.2", "config_v1.2.json", os.path.join("v1.2", "labels")),
    _Version("v1.2", "config.json", "labels"),  # as it was published before v2.0
)


def open_mapillary(root: str) -> Optional[Dataset]:
    """Read training/ and validation/ with their images and labels in `root`; None for another layout.

    An archive of v2.0 holds v1.2 as well. v2.0 is read; without config_v2.0.json, v1.2 is. testing/ has no labels.
    """
    version = _version(root)
    if version is None:
        parent = os.path.dirname(os.path.abspath(root))
        if os.path.basename(os.path.abspath(root)) in _SPLITS.values() and _version(parent):
            raise UsageError("{} is one split of Mapillary Vistas".format(root), "give --data " + parent)
        if any(_exists(root, one.config) or _split_folders(root, one.name) for one in _VERSIONS[:2]):
            raise UsageError(
                "{} is Mapillary Vistas, but of no version both the configuration and the labels are there".format(
                    root
                ),
                "unpack the archive again: {0} must hold config_v2.0.json and training/v2.0/labels/".format(root),
            )
        return None
    config = os.path.join(root, version.config)
    labels = _labels(config)
    evaluated = [position for position, label in enumerate(labels) if label.evaluated]
    decoder = mapped_ids(
        {position: number for number, position in enumerate(evaluated)},
        [position for position, label in enumerate(labels) if not label.evaluated],
        "label images hold positions 0..{} in {}".format(len(labels) - 1, config),
    )
    classes = numbered((labels[position].name, labels[position].color) for position in evaluated)
    return Dataset("Mapillary Vistas " + version.name, root, classes, _splits(root, version), decoder)


def _version(root: str) -> Optional[_Version]:
    return next((one for one in _VERSIONS if _exists(root, one.config) and _split_folders(root, one.labels)), None)


def _exists(root: str, name: str) -> bool:
    return os.path.exists(os.path.join(root, name))


def _split_folders(root: str, name: str) -> List[str]:
    """The splits with a folder `name` beside their images."""
    return [
        split
        for split, folder in _SPLITS.items()
        if _exists(root, os.path.join(folder, "images")) and _exists(root, os.path.join(folder, name))
    ]


def _splits(root: str, version: _Version) -> Dict[str, List[Pair]]:
    fix = "unpack the archive of Mapillary Vistas {} into {} again".format(version.name, root)
    folders = {split: os.path.join(root, _SPLITS[split]) for split in _split_folders(root, version.labels)}
    return {
        split: pairs_in(os.path.join(folder, "images"), os.path.join(folder, version.labels), fix)
        for split, folder in folders.items()
    }


def _labels(path: str) -> List[_Label]:
    """The list "labels" of a configuration. Raises UsageError if it is damaged."""
    try:
        labels = []
        for label in json.loads(read_text(path))["labels"]:
            red, green, blue = (int(value) for value in label["color"])
            labels.append(_Label(str(label["readable"]), (red, green, blue), bool(label["evaluate"])))
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            "{} is no configuration of Mapillary Vistas: {!r}".format(path, error), "copy it from the archive again"
        )
    return labels
