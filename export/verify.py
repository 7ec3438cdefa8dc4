"""Compare a finished bundle with its float network once more."""

from collections.abc import Callable
from typing import NamedTuple

from edgeseg.bundle import Bundle, read_bundle
from edgeseg.errors import UsageError
from edgeseg.export.frames import Frames, dataset_frames, open_matching, pattern_frames
from edgeseg.export.parity import MAX_IMAGES, PATTERN_FRAMES, REQUIRED_AGREEMENT, Comparison, compare
from edgeseg.export.product import open_exported
from edgeseg.export.shipped import check_payload
from edgeseg.export.source import FloatNetwork, file_sha256, open_network
from edgeseg.models.zoo import zoo_names, zoo_network


class VerifyRequest(NamedTuple):
    """What to verify; the defaults are those of `edgeseg verify`."""

    bundle: str
    network: str | None = None  # None: the zoo network that the bundle was made from
    data: str | None = None  # None: generated scenes
    split: str = "val"
    frames: int | None = None  # at most; None: 101 of a dataset, 20 generated ones


def verify_bundle(request: VerifyRequest, log: Callable[[str], None]) -> Comparison:
    """Compare masks of the bundle and of its float network; the caller asks `parity.failures`.

    Raises BundleError for a damaged bundle, UsageError where its float network cannot be found.
    """
    bundle = read_bundle(request.bundle)
    target = bundle.manifest.target
    if (target.backend, target.precision) not in REQUIRED_AGREEMENT:
        known = ", ".join(" ".join(pair) for pair in REQUIRED_AGREEMENT)
        raise UsageError(f"bundles for {target.backend} {target.precision} cannot be verified", f"these can: {known}")
    if target.backend == "tflite":
        check_payload(bundle)
    source = _float_network(bundle, request.network)
    frames = _frames(bundle, request)
    log(f"comparing with {source.path.name} on {frames.images} images ({frames.title})")
    return compare(source.network, open_exported(bundle.payloads), frames, bundle.manifest.classes, target)


def _float_network(bundle: Bundle, name: str | None) -> FloatNetwork:
    """The float network that the bundle was made from, known by its SHA-256."""
    wanted = bundle.manifest.provenance.get("network_sha256")
    if name is not None:
        source = open_network(name)
        if source.sha256 != wanted:
            raise UsageError(
                f"{bundle.path} was not made from {source.path}",
                f"give the network with SHA-256 {wanted} ({bundle.manifest.provenance.get('network_file')})",
            )
        return source
    for candidate in zoo_names():
        try:
            matches = file_sha256(zoo_network(candidate)) == wanted
        except UsageError:  # not part of this installation
            continue
        if matches:
            return open_network(candidate)
    raise UsageError(
        f"the float network of {bundle.path} is not in the box",
        f"give it with --network: the file {bundle.manifest.provenance.get('network_file')} with SHA-256 {wanted}",
    )


def _frames(bundle: Bundle, request: VerifyRequest) -> Frames:
    if request.frames is not None and request.frames < 1:
        raise UsageError(f"--frames {request.frames}: there is nothing to compare", "give a number above 0")
    if request.data is None:
        return pattern_frames(request.frames or PATTERN_FRAMES)
    dataset = open_matching(request.data, bundle.manifest.classes)
    return dataset_frames(dataset, request.split, request.frames or MAX_IMAGES)
