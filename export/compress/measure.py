"""What a step of compression gave: bytes, weights, computation, time and accuracy, all of the exported file."""

import json
import os
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgeseg.bundle import SUFFIX, read_bundle, write_bundle
from edgeseg.export.compress.entropy import counts_of, huffman_bits, shannon_bits
from edgeseg.export.compress.plan import effects
from edgeseg.export.describe import manifest_of
from edgeseg.export.measure import in_turns
from edgeseg.export.parity import compare
from edgeseg.export.product import Exported, Images, make_product, open_exported
from edgeseg.export.source import FloatNetwork
from edgeseg.export.targets import find_target
from edgeseg.frames import Frames
from edgeseg.kernels import Kernel, kernels_of
from edgeseg.manifest import TargetInfo
from edgeseg.models.checkpoint import AtomicReplacement
from edgeseg.models.cost import cost_of
from edgeseg.models.evaluate import logits_of
from edgeseg.postprocess import upsample_argmax
from edgeseg.preprocess import resize

FLOAT_BYTES = 4
ORIGINAL = "original"


class Row(NamedTuple):
    """A network after a step. Bytes are whole numbers, shares 0..1; `weights` are those of convolutions.

    `ratio` is the float32 size of the original network over that of this bundle. `shannon_bytes` and `huffman_bytes`
    are what the weights would take in an ideal code for independent symbols and in Huffman's, one for each kernel.
    """

    step: str
    epochs: int  # of fine-tuning
    parameters: int
    macs: int
    float32_bytes: int
    payload_bytes: int  # of the exported file
    bundle_bytes: int  # the same, entropy-coded, with its manifest
    ratio: float
    weights: int
    nonzeros: int
    unique: int  # most different values in one kernel
    bits_per_weight: float  # of the bundle
    shannon_bytes: int
    huffman_bytes: int
    miou_float: float | None  # of the float network after the step
    miou: float | None  # of the exported file
    agreement: float  # of the pixels, with the original float network
    failures: Sequence[str]  # why the file is not as good as its network; it would not be exported
    effects: dict[str, str]  # by target
    latency_ms: float | None = None  # on the CPU of this machine; None: does not run here

    def of_size(self, bundle_bytes: int, original_bytes: int) -> "Row":
        """The same network in a bundle of another size; `original_bytes` is the float32 size of the original.

        Rounded, so that a report with these figures does not change its own size for ever.
        """
        return self._replace(
            bundle_bytes=bundle_bytes,
            ratio=round(original_bytes / bundle_bytes, 1),
            bits_per_weight=round(8 * bundle_bytes / self.weights, 1),
        )


class Measure:
    """Measures networks as bundles of one target, against the original one."""

    def __init__(
        self,
        original: FloatNetwork,
        info: TargetInfo,
        images: Images,
        frames: Frames,
        log: Callable[[str], None],
    ) -> None:
        self.info = info
        self._original, self._images, self._frames, self._log = original, images, frames, log
        self._masks: list[bytes] = []  # of the original float network, compressed: those of Cityscapes take a gigabyte
        self._float32_bytes = FLOAT_BYTES * cost_of(original.network).parameters

    @property
    def request(self) -> dict[str, Any]:
        """All that its figures depend on, but for the network and the data."""
        images = {"number": self._images.number, "ranges": self._images.ranges, "frames": self._frames.images}
        return self.info._asdict() | images

    def references(self, folder: Path) -> tuple[list[Row], list[Path]]:
        """The original in float32, and in the precision of the target: rows and bundles, kept in `folder`."""
        target = find_target(self.info.name)
        float_target = target if "fp32" in target.precisions else find_target("cpu")
        float_info = TargetInfo(float_target.name, float_target.backend, "fp32")
        wanted = [(ORIGINAL, float_info)] + [(self.info.precision, self.info)] * (self.info.precision != "fp32")
        paths = [folder / f"{name}{SUFFIX}" for name, _ in wanted]
        rows = []
        for (name, info), path in zip(wanted, paths, strict=True):
            told = effects(name) if name != ORIGINAL else {}
            rows.append(kept(path.with_suffix(".json"), partial(self._row, self._original, name, told, 0, info, path)))
        return rows, paths

    def row(self, source: FloatNetwork, step: str, told: dict[str, str], epochs: int, bundle: Path) -> Row:
        """What `source` is after `step`, whose effects are `told`; also written as `bundle`."""
        return self._row(source, step, told, epochs, self.info, bundle)

    def _row(
        self, source: FloatNetwork, name: str, told: dict[str, str], epochs: int, info: TargetInfo, path: Path
    ) -> Row:
        images = self._images._replace(ranges=None) if source.card.ranges else self._images
        product = make_product(source, find_target(info.name), info.precision, info.dla, images, self._log)
        self._log(f"measuring {name} on {self._frames.images} images ({self._frames.title})")
        comparison = compare(source.network, product.exported, self._frames, source.card.classes, info)
        parity = comparison.parity
        if parity.failures:
            self._log(f"{name}: the exported file is not as good as its network: {'; '.join(parity.failures)}")
        write_bundle(str(path), manifest_of(source, info, product, comparison), product.payloads)
        cost = cost_of(source.network)
        kernels = kernels_of(product.payloads)
        counts = [counts_of(kernel.array) for kernel in kernels]
        row = Row(
            step=name,
            epochs=epochs,
            parameters=cost.parameters,
            macs=cost.macs,
            float32_bytes=FLOAT_BYTES * cost.parameters,
            payload_bytes=sum(len(data) for data in product.payloads.values()),
            bundle_bytes=0,
            ratio=0.0,
            weights=sum(kernel.weights for kernel in kernels),
            nonzeros=sum(kernel.weights - kernel.zeros for kernel in kernels),
            unique=max(len(count) for count in counts),
            bits_per_weight=0.0,
            shannon_bytes=round(sum(shannon_bits(count) for count in counts) / 8),
            huffman_bytes=round(sum(huffman_bits(count) for count in counts) / 8),
            miou_float=parity.miou_float,
            miou=parity.miou_exported,
            agreement=parity.agreement if source is self._original else self._agreement(product.exported),
            failures=tuple(parity.failures),
            effects=told,
        )
        return row.of_size(os.path.getsize(path), self._float32_bytes)

    def _agreement(self, exported: Exported) -> float:
        """Share of the pixels in which a file's masks are those of the original float network."""
        imgsz = self._original.card.spec.imgsz
        if not self._masks:
            for frame in self._frames.read():
                (logits,) = logits_of(self._original.network, [frame.image])
                self._masks.append(zlib.compress(upsample_argmax(logits, frame.image.shape[:2]).tobytes(), 1))
        same = pixels = 0
        for frame, packed in zip(self._frames.read(), self._masks, strict=True):
            mask = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(frame.image.shape[:2])
            raw, _ = exported.run(resize(frame.image, imgsz))
            same += int((upsample_argmax(raw, mask.shape) == mask).sum())
            pixels += mask.size
        return same / pixels


def kept(path: Path, make: Callable[[], Row]) -> Row:
    """The row in the file `path`; where there is none, a new one, which is written there."""
    if path.is_file():
        return Row(**json.loads(path.read_text()))
    row = make()
    with AtomicReplacement(path) as temporary:
        temporary.write_text(json.dumps(row._asdict(), indent=1))
    return row


def timed(rows: Sequence[Row], bundles: Sequence[Path], imgsz: tuple[int, int]) -> list[Row]:
    """The rows with the time of an inference on this machine, in turns; those that do not run here stay as they are."""
    payloads = [read_bundle(str(path)).payloads for path in bundles]
    networks = [None if "activation-ranges" in payload else open_exported(payload) for payload in payloads]
    image = np.zeros((*imgsz, 3), np.uint8)
    times = iter(in_turns([partial(network.run, image) for network in networks if network]))
    return [
        row._replace(latency_ms=next(times)) if network else row for row, network in zip(rows, networks, strict=True)
    ]


def kernels_record(kernels: Sequence[Kernel], shared: bool) -> dict[str, Any]:
    """What a bundle says of its kernels, and is refused where it is not so: sizes, zeros, codebooks where shared."""
    return {
        kernel.name: {
            "weights": kernel.weights,
            "zeros": kernel.zeros,
            "codebook": list(kernel.values) if shared and kernel.values is not None else None,
        }
        for kernel in kernels
    }
