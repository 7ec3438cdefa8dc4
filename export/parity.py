"""Parity: does the exported file give the masks of the float network?"""

from typing import Any, NamedTuple

import keras
import numpy as np

from edgeseg.errors import CheckFailed
from edgeseg.export.product import Exported
from edgeseg.frames import Frame, Frames
from edgeseg.manifest import TargetInfo
from edgeseg.metrics import boundary_confusions, confusion_matrix, mean_iou, scores, where_sure
from edgeseg.models.evaluate import logits_of, to_float_input
from edgeseg.palette import SegClass
from edgeseg.postprocess import upsample_argmax
from edgeseg.preprocess import resize

# Share of pixels with the same class, by backend and precision.
REQUIRED_AGREEMENT = {
    ("tflite", "int8"): 0.97,
    ("tflite", "fp32"): 0.999,
    ("edgetpu", "int8"): 0.97,
    ("tensorrt", "int8"): 0.98,
    ("tensorrt", "fp16"): 0.99,
    ("tensorrt", "fp32"): 0.999,
}
ALLOWED_MIOU_DROP = 0.01
_INPUT_STEP = 1 / 127.5  # one grey value


class Parity(NamedTuple):
    """Float network against exported file; errors are in units of the tensor, shares in 0..1."""

    images: int
    source: str
    agreement: float  # of pixels of the full-size masks
    agreement_required: float
    worst_image: str
    worst_agreement: float
    miou_float: float | None  # None where the images are not familiar
    miou_exported: float | None
    miou_drop_allowed: float
    input_max_error: float
    logits_max_error: float
    logits_relative_error: float  # RMS of the error / RMS of the float logits
    logits_agreement: float  # of the winning class at low resolution
    sure_agreement: float  # the same, where the float network is sure (edgeseg.metrics)
    sure_share: float  # of the logits
    familiar: bool  # images as in training: the limit is on `agreement`; else on `sure_agreement`
    first_difference: str | None  # input | logits | masks: the first stage beyond its tolerance

    @property
    def failures(self) -> list[str]:
        """The limits that are not kept, in words; [] if the file is as good as the network."""
        found = []
        if self.familiar and not self.agreement >= self.agreement_required:
            found.append(f"{self.agreement:.2%} of the pixels agree, {self.agreement_required:.1%} are required")
        if not self.familiar and not self.sure_agreement >= self.agreement_required:
            found.append(
                f"{self.sure_agreement:.2%} of the pixels that the float network is sure of agree, "
                f"{self.agreement_required:.1%} are required"
            )
        if self.miou_float is not None and self.miou_exported is not None:
            drop = self.miou_float - self.miou_exported
            if not drop <= self.miou_drop_allowed:
                found.append(
                    f"mIoU falls from {self.miou_float:.2%} to {self.miou_exported:.2%}, "
                    f"{100 * self.miou_drop_allowed:.1f} points are allowed"
                )
        return found

    def require(self) -> None:
        """Raise CheckFailed with the numbers and the first differing stage, if a limit is not kept."""
        if self.failures:
            raise CheckFailed(
                f"the exported file differs from the float network on {self.images} images ({self.source}): "
                f"{'; '.join(self.failures)}. First stage that differs: {self.first_difference} ({self.stages()})",
                "calibrate on more images of the robot's own scenes (--data, --calibration N), or export in a higher "
                "--precision, if the target has one",
            )

    def stages(self) -> str:
        """The errors stage by stage, on one line."""
        return (
            f"input off by {self.input_max_error:.4f} at most, logits by {self.logits_max_error:.3f} at most "
            f"({self.logits_relative_error:.1%} RMS), winners agree on {self.logits_agreement:.2%} of the logits, "
            f"masks on {self.agreement:.2%} of the pixels, worst image {self.worst_image} {self.worst_agreement:.2%}"
        )


class Comparison(NamedTuple):
    """Parity and, for labelled images, the exported file's accuracy as the manifest has it."""

    parity: Parity
    accuracy: dict[str, Any] | None


def compare(
    network: keras.Model, exported: Exported, frames: Frames, classes: tuple[SegClass, ...], target: TargetInfo
) -> Comparison:
    """Run both over `frames`. Raises UsageError for a frame that cannot be read."""
    tally = _Tally(len(classes))
    for frame in frames.read():
        tally.add(frame, network, exported)
    parity = tally.parity(frames, REQUIRED_AGREEMENT[target.backend, target.precision])
    return Comparison(parity, _accuracy(tally.confusions_exported, frames, classes) if frames.familiar else None)


def _accuracy(confusions: np.ndarray, frames: Frames, classes: tuple[SegClass, ...]) -> dict[str, Any]:
    split = {"dataset": frames.dataset, "split": frames.split, "images": frames.images}
    return split | scores(confusions, classes)._asdict()


class _Tally:
    """Sums over the frames."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._images = 0
        self.confusion_float = np.zeros((classes, classes + 1), np.int64)
        self.confusions_exported = np.zeros((2, classes, classes + 1), np.int64)  # all pixels, those at borders
        self._pixels = np.zeros(2, np.int64)  # same class, all
        self._winners = np.zeros(2, np.int64)
        self._sure = np.zeros(2, np.int64)
        self._squares = np.zeros(2)  # of errors, of float logits
        self._input_error = self._logits_error = 0.0
        self._worst = (2.0, "")

    def add(self, frame: Frame, network: keras.Model, exported: Exported) -> None:
        self._images += 1
        size = frame.image.shape[:2]
        (reference,) = logits_of(network, [frame.image])
        if not np.isfinite(reference).all():
            raise CheckFailed(
                f"the float network gives NaN or infinity on {frame.name}", "its training diverged: train it again"
            )
        small = resize(frame.image, network.input_shape[1:3])
        raw, tensor = exported.run(small)
        self._input_error = max(self._input_error, float(np.abs(tensor - to_float_input(small)).max()))
        error = exported.real_logits(raw) - reference
        self._logits_error = max(self._logits_error, float(np.abs(error).max()))
        self._squares += (np.square(error, dtype=np.float64).sum(), np.square(reference, dtype=np.float64).sum())
        same = raw.argmax(-1) == reference.argmax(-1)
        self._winners += (same.sum(), same.size)
        sure = where_sure(reference)
        self._sure += (same[sure].sum(), sure.sum())
        masks = upsample_argmax(reference, size), upsample_argmax(raw, size)
        same = masks[0] == masks[1]
        self._pixels += (same.sum(), same.size)
        self._worst = min(self._worst, (float(same.mean()), frame.name))
        if frame.label is not None:
            self.confusion_float += confusion_matrix(frame.label, masks[0], self._classes)
            self.confusions_exported += boundary_confusions(frame.label, masks[1], self._classes)

    def parity(self, frames: Frames, required: float) -> Parity:
        parity = Parity(
            images=self._images,
            source=frames.title,
            agreement=_share(self._pixels),
            agreement_required=required,
            worst_image=self._worst[1],
            worst_agreement=self._worst[0],
            miou_float=_known(mean_iou(self.confusion_float)) if frames.familiar else None,
            miou_exported=_known(mean_iou(self.confusions_exported[0])) if frames.familiar else None,
            miou_drop_allowed=ALLOWED_MIOU_DROP,
            input_max_error=self._input_error,
            logits_max_error=self._logits_error,
            logits_relative_error=float(np.sqrt(self._squares[0] / max(self._squares[1], 1e-30))),
            logits_agreement=_share(self._winners),
            sure_agreement=_share(self._sure),
            sure_share=float(self._sure[1] / max(1, self._winners[1])),
            familiar=frames.familiar,
            first_difference=None,
        )
        return parity._replace(first_difference=_first_difference(parity))


def _first_difference(parity: Parity) -> str | None:
    """The first stage beyond its tolerance; on unfamiliar images only where the float network is sure."""
    if parity.input_max_error > _INPUT_STEP:
        return "input"
    if (parity.logits_agreement if parity.familiar else parity.sure_agreement) < parity.agreement_required:
        return "logits"
    if parity.familiar and parity.agreement < parity.agreement_required:
        return "masks"
    return "logits" if parity.failures else None  # the winners moved where it costs mIoU


def _share(counts: np.ndarray) -> float:
    return float(counts[0] / max(1, counts[1]))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
