"""Does the Edge TPU draw the masks of the CPU?

Compiled files that give wrong numbers exist (google-coral/edgetpu issues #377, #382, #460, #685); the compiler says
nothing of it, and only running both files shows it.
"""

import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from edgeseg.backends import find_ways
from edgeseg.bundle import Bundle, write_bundle
from edgeseg.errors import CheckFailed, UsageError
from edgeseg.frames import Frame, Frames
from edgeseg.metrics import SURE_MARGIN, agreement_iou, confusion_matrix, mean_iou, where_sure
from edgeseg.postprocess import margin_to_confidence
from edgeseg.segmenter import Segmenter

Array = Any

# By edgeseg.metrics.agreement_iou, of each frame. libcoral asks 0.93 to 0.99 of its models, CPU against TPU, on an
# image of the kind that they know (coral/segmentation_models_test.cc). How much of that is rounding: two right sets of
# int8 kernels on a CPU, XNNPACK's and TFLite's own, agree by 0.981 or more with an FCN-8s on CamVid. On generated
# scenes, where such a network wavers, it is 0.954, but 0.9999 of the pixels that it is sure of: there those count.
REQUIRED = 0.95


class Verification(NamedTuple):
    """Edge TPU against CPU, both with the int8 network; shares in 0..1. The manifest keeps it as a dictionary."""

    ok: bool
    images: int
    source: str
    agreement_required: float  # of the masks of each frame, as `edgeseg.metrics.agreement_iou`
    counted: float  # share of the pixels: all of labelled images, else those that the CPU is sure of
    agreement: float  # of all frames together
    worst_image: str
    worst_agreement: float
    logits_agreement: float  # of the winning class at low resolution, likewise
    logits_max_error: Optional[float]  # in logits; None where the network gives classes
    first_difference: Optional[str]  # logits | masks: the first stage that differs where the check fails
    miou_cpu: Optional[float]  # None where the images have no labels
    miou_tpu: Optional[float]
    cpu: str  # what ran the network, for people
    tpu: str
    cpu_ms: float  # of one inference, the median
    tpu_ms: float
    float_parity: Optional[Dict[str, Any]] = None  # float network against Edge TPU, as in the manifest; None: not done

    def require(self) -> None:
        """Raise CheckFailed, naming the worst frame and what to do, if the masks of a frame differ too much."""
        if not self.worst_agreement >= self.agreement_required:
            raise CheckFailed(
                "the Edge TPU does not draw the masks of the CPU: those of {} agree by {:.3f} (same pixels / all of "
                "both less the same), {} is required of each of {} images ({}). First stage that differs: {}".format(
                    self.worst_image,
                    self.worst_agreement,
                    self.agreement_required,
                    self.images,
                    self.source,
                    self.first_difference,
                ),
                "the compiled file computes wrong numbers: compile with another version of edgetpu_compiler, or export "
                "for another input size; `edgetpu_compiler -i TENSOR`, which ends the TPU's part at a tensor, finds "
                "the operator, for a report; until then use --device cpu",
            )


def tpu_device(bundle: Bundle, device: str) -> str:
    """The name of the Edge TPU that `device` asks for, for a Segmenter.

    Raises BundleError for a bundle that is not compiled or not for it, UsageError for a device that is another one.
    """
    name = "edgetpu" if device == "auto" else device
    if find_ways(bundle, name)[0].entry.role != "edgetpu":
        raise UsageError(
            "--device {} is no Edge TPU, and its masks are what is to be verified".format(device),
            "leave --device out, or name an Edge TPU: usb, pci, usb:1",
        )
    return name


def compare(cpu: Segmenter, tpu: Segmenter, frames: Frames) -> Verification:
    """Run both over `frames`. Raises UsageError if there is none, and what frames and runtimes raise."""
    tally = _Tally(cpu)
    for segmenter in (cpu, tpu):
        segmenter.warm_up()
    for frame in frames.read():
        tally.add(frame, cpu, tpu)
    if not tally.images:
        raise UsageError("{}: there is no frame to compare".format(frames.title), "choose another --camera or --data")
    return tally.result(frames, cpu.backend.description, tpu.backend.description)


def keep(bundle: Bundle, verification: Verification) -> None:
    """Write the result into the bundle. Raises EnvironmentFault if its folder cannot be written."""
    manifest = bundle.manifest._replace(verification=dict(verification._asdict()))
    write_bundle(os.path.realpath(bundle.path), manifest, bundle.payloads)  # the file itself, where it is a link


class _Tally:
    """Sums over the frames."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._output = segmenter.manifest.output
        self._classes = len(segmenter.classes)
        self._confusion = [np.zeros((self._classes, self._classes + 1), np.int64) for _ in range(2)]
        self._frames: List[Tuple[float, str, float]] = []  # agreement of masks, name, agreement of winners
        self._pixels = np.zeros(3, np.int64)  # the same, counted, all
        self._logits_error = 0.0
        self._ms: Tuple[List[float], List[float]] = ([], [])

    @property
    def images(self) -> int:
        return len(self._frames)

    def add(self, frame: Frame, cpu: Segmenter, tpu: Segmenter) -> None:
        grids, results = [], []
        for i, segmenter in enumerate((cpu, tpu)):
            grid, times = segmenter.logits(frame.image, "rgb")
            self._ms[i].append(times["infer"])
            result = segmenter.finish(grid, frame.image.shape[:2], times)
            if frame.label is not None:
                self._confusion[i] += confusion_matrix(frame.label, result.mask, self._classes)
            grids.append(grid)
            results.append(result)
        # Without labels, the scene may be one on which the network wavers.
        waver = frame.label is None and self._output.kind == "logits"
        masks = [result.mask for result in results]
        if waver:
            masks = _only(masks, results[0].confidence >= margin_to_confidence(SURE_MARGIN))
        self._pixels += ((masks[0] == masks[1]).sum(), masks[0].size, results[0].mask.size)
        error = np.abs(grids[0].astype(np.float64) - grids[1]).max() * self._output.scale
        self._logits_error = max(self._logits_error, float(error))
        self._frames.append((agreement_iou(*masks), frame.name, self._winners(grids, waver)))

    def _winners(self, grids: List[Array], waver: bool) -> float:
        """Agreement of the classes that win in the network's own outputs."""
        if self._output.kind == "classes":
            return agreement_iou(*grids)
        winners = [grid.argmax(-1) for grid in grids]
        if waver:
            winners = _only(winners, where_sure(grids[0].astype(np.float32) * self._output.scale))
        return agreement_iou(*winners)

    def result(self, frames: Frames, cpu: str, tpu: str) -> Verification:
        worst = min(self._frames)
        ok = worst[0] >= REQUIRED
        mious = [mean_iou(c) if c.any() else None for c in self._confusion]
        same, counted, pixels = (int(n) for n in self._pixels)
        return Verification(
            ok=ok,
            images=self.images,
            source=frames.title,
            agreement_required=REQUIRED,
            counted=counted / float(pixels),
            agreement=same / float(2 * counted - same),
            worst_image=worst[1],
            worst_agreement=worst[0],
            logits_agreement=float(np.mean([winners for _, _, winners in self._frames])),
            logits_max_error=self._logits_error if self._output.kind == "logits" else None,
            first_difference=None if ok else "logits" if worst[2] < REQUIRED else "masks",
            miou_cpu=mious[0],
            miou_tpu=mious[1],
            cpu=cpu,
            tpu=tpu,
            cpu_ms=float(np.median(self._ms[0])),
            tpu_ms=float(np.median(self._ms[1])),
        )


def _only(arrays: List[Array], where: Array) -> List[Array]:
    """Their elements `where` is true; all if that is nowhere."""
    return [array[where] for array in arrays] if where.any() else arrays
