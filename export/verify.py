"""Compare a finished bundle with its float network once more."""

from collections.abc import Callable

import numpy as np

from edgeseg.bundle import Bundle
from edgeseg.errors import UsageError
from edgeseg.export.litert import real_values
from edgeseg.export.parity import REQUIRED_AGREEMENT, Comparison, Parity, compare
from edgeseg.export.product import open_exported
from edgeseg.export.shipped import check_payload
from edgeseg.export.source import FloatNetwork, at_size, open_network
from edgeseg.frames import Frames
from edgeseg.models.evaluate import to_float_input
from edgeseg.segmenter import Segmenter
from edgeseg.zoo import find_network

Log = Callable[[str], None]


def verify_bundle(bundle: Bundle, network: str | None, frames: Frames, log: Log) -> Comparison:
    """Compare masks of the bundle and of its float network; the caller asks `parity.failures`.

    `network` is a name or path; None: the zoo network that the bundle was made from. Raises BundleError for a payload
    that is not what its manifest says, UsageError where the float network cannot be found.
    """
    target = bundle.manifest.target
    if (target.backend, target.precision) not in REQUIRED_AGREEMENT:
        known = ", ".join(" ".join(pair) for pair in REQUIRED_AGREEMENT)
        raise UsageError(f"bundles for {target.backend} {target.precision} cannot be verified", f"these can: {known}")
    if target.backend == "tflite":
        check_payload(bundle)
    source = find_float_network(bundle, network)
    log(f"comparing with {source.path.name} on {frames.images} images ({frames.title})")
    return compare(source.network, open_exported(bundle.payloads), frames, bundle.manifest.classes, target)


def compare_tpu(source: FloatNetwork, tpu: Segmenter, frames: Frames, log: Log) -> Parity:
    """Compare masks of a float network and of the Edge TPU that `tpu` runs on."""
    log(f"comparing the Edge TPU with {source.path.name} on {frames.images} images ({frames.title})")
    return compare(source.network, _OnTpu(tpu), frames, tpu.classes, tpu.manifest.target).parity


class _OnTpu:
    """A Segmenter as `compare` wants it. What reaches the network's input stays on the device."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter

    def run(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._segmenter.logits(image, "rgb")[0], to_float_input(image)

    def real_logits(self, raw: np.ndarray) -> np.ndarray:
        output = self._segmenter.manifest.output
        return real_values(raw, (output.scale, output.zero_point))


def find_float_network(bundle: Bundle, name: str | None) -> FloatNetwork:
    """The float network that the bundle was made from, known by its SHA-256, for the input size of the bundle.

    `name` None: the one in the box. Raises UsageError where it is another one, or not in the box.
    """
    return at_size(_made_from(bundle, name), bundle.manifest.network.imgsz)


def _made_from(bundle: Bundle, name: str | None) -> FloatNetwork:
    wanted = bundle.manifest.provenance.get("network_sha256")
    if name is not None:
        source = open_network(name)
        if source.sha256 != wanted:
            raise UsageError(
                f"{bundle.path} was not made from {source.path}",
                f"give the network with SHA-256 {wanted} ({bundle.manifest.provenance.get('network_file')})",
            )
        return source
    found = find_network(wanted)
    if found is not None:
        return open_network(found)
    raise UsageError(
        f"the float network of {bundle.path} is not in the box",
        f"give it with --network: the file {bundle.manifest.provenance.get('network_file')} with SHA-256 {wanted}",
    )
