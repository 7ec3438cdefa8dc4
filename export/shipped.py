"""The int8 bundle that ships with a network of the zoo, for machines that do not have its images."""

from pathlib import Path

from edgeseg.bundle import Bundle, read_bundle
from edgeseg.errors import BundleError
from edgeseg.export.describe import now
from edgeseg.export.flatbuffer import check_full_integer, read_tflite
from edgeseg.export.parity import Comparison
from edgeseg.export.source import FloatNetwork
from edgeseg.export.tflite import input_problems
from edgeseg.manifest import Manifest
from edgeseg.models.zoo import zoo_bundle
from edgeseg.version import __version__


def shipped_bundle(source: FloatNetwork, name: str) -> Bundle:
    """The bundle of zoo network `name`, after making sure that it was made from exactly `source`.

    Converting to int8 needs images to calibrate on, and those of the zoo networks may not be shipped;
    ranges from other images would not be those of the network's accuracy figures.
    Raises BundleError if it belongs to another float network, or is not what its manifest says.
    """
    bundle = read_bundle(str(zoo_bundle(name)))
    if bundle.manifest.provenance.get("network_sha256") != source.sha256:
        raise BundleError(
            f"{bundle.path} was not made from {source.path}", "install edgeseg again, or give --data to convert anew"
        )
    check_payload(bundle)
    return bundle


def reused(bundle: Bundle, comparison: Comparison) -> Manifest:
    """The manifest of a bundle made from a shipped one: its own figures, and what was found here."""
    note = {
        "from": Path(bundle.path).name,
        "edgeseg": __version__,
        "created": now(),
        "parity": comparison.parity._asdict(),
    }
    return bundle.manifest._replace(provenance=bundle.manifest.provenance | {"reused": note})


def check_payload(bundle: Bundle) -> None:
    """Raise BundleError unless the tflite payload is what the manifest says of it."""
    data = bundle.payloads.get("tflite")
    if data is None:
        raise BundleError(
            f"{bundle.path} has no tflite payload but {', '.join(bundle.payloads)}", "give a bundle of target cpu"
        )
    model = read_tflite(data)
    problems = []
    if bundle.manifest.target.precision == "int8":
        problems = check_full_integer(model) or input_problems(model)
    for side, indices in (("input", model.inputs), ("output", model.outputs)):
        found = [(model.tensors[i].shape, model.tensors[i].type) for i in indices]
        told = getattr(bundle.manifest, side)
        if found != [(told.shape, told.dtype)]:
            problems.append(f"{side} is {found}, the manifest says {told.shape} {told.dtype}")
    if problems:
        raise BundleError(f"{bundle.path}: {'; '.join(problems)}", "export the network again")
