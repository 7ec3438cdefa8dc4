"""The int8 bundle that ships with a network of the zoo, for machines that do not have its images."""

from edgeseg.bundle import Bundle, read_bundle
from edgeseg.errors import BundleError, UsageError
from edgeseg.export.source import FloatNetwork
from edgeseg.export.tflite import input_problems
from edgeseg.models.zoo import zoo_bundle
from edgeseg.tflite.checks import check_full_integer
from edgeseg.tflite.model import read_tflite


def shipped_bundle(source: FloatNetwork) -> Bundle:
    """The int8 bundle of a zoo network, after making sure that it was made from exactly `source`, at its size.

    Converting to int8 needs images to calibrate on, and those of the zoo networks may not be shipped;
    ranges from other images would not be those of the network's accuracy figures.
    Raises UsageError for a network that is not of the zoo or not of its size there, BundleError if the bundle belongs
    to another float network, or is not what its manifest says.
    """
    if source.zoo_name is None:
        raise UsageError(
            "int8 needs images of the robot's own scenes to calibrate on",
            "give the training data with --data DIR; or --precision fp32; or --calibration random, "
            "which costs accuracy",
        )
    bundle = read_bundle(str(zoo_bundle(source.zoo_name)))
    if bundle.manifest.provenance.get("network_sha256") != source.sha256:
        raise BundleError(
            f"{bundle.path} was not made from {source.path}", "install edgeseg again, or give --data to convert anew"
        )
    shipped, asked = (" x ".join(map(str, size)) for size in (bundle.manifest.network.imgsz, source.card.spec.imgsz))
    if shipped != asked:
        raise UsageError(
            f"the int8 file in the box is for images of {shipped} (height x width), not {asked}",
            "give the training data with --data DIR, to calibrate at that size; or leave --imgsz out",
        )
    check_payload(bundle)
    return bundle


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
