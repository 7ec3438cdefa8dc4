"""Does an engine give the masks of the bundle's golden frame?

TensorRT picks kernels by measured time, so that two builds of one network differ (NVIDIA/TensorRT#4730), and some
are wrong, such as fp16 ones that give NaN (#1787, #3893).
"""

from typing import Any, NamedTuple, Optional

import numpy as np

from edgeseg.bundle import Bundle
from edgeseg.errors import BundleError, CheckFailed
from edgeseg.golden import unpack_golden
from edgeseg.manifest import Manifest
from edgeseg.metrics import where_sure
from edgeseg.preprocess import InputWriter
from edgeseg.trt.engine import Engine
from edgeseg.trt.recipe import Recipe

Array = Any

REQUIRED_AGREEMENT = {"fp32": 0.999, "fp16": 0.99, "int8": 0.97}  # share of the sure winners
# RMS of the error / RMS of the reference. Measured with the network in the box on CamVid: float16 throughout 0.005,
# int8 against float 0.115 to 0.126; logits moved by one cell 0.33 to 0.37, those of another frame 0.56. TF32, which
# fp32 engines of an Orin use, rounds like float16.
ALLOWED_ERROR = {"fp32": 0.02, "fp16": 0.05, "int8": 0.25}


class GoldenCheck(NamedTuple):
    """An engine's logits of the golden frame against those of the bundle's graph under onnxruntime."""

    sure_agreement: Optional[float]  # of the winning class, where the reference is sure; None if it nowhere is
    sure_share: float  # of the cells
    relative_error: float  # RMS
    agreement_required: float
    error_allowed: float

    @property
    def is_passed(self) -> bool:
        """Whether both limits are kept."""
        agrees = self.sure_agreement is None or self.sure_agreement >= self.agreement_required
        return agrees and self.relative_error <= self.error_allowed

    @property
    def text(self) -> str:
        """The figures on one line."""
        agreement = "no sure winners to compare"
        if self.sure_agreement is not None:
            agreement = "{:.2%} of the sure winners agree ({:.1%} required)".format(
                self.sure_agreement, self.agreement_required
            )
        return "{}, logits differ by {:.2%} RMS ({:.0%} allowed)".format(
            agreement, self.relative_error, self.error_allowed
        )


def check_tensors(engine: Engine, bundle: Bundle) -> None:
    """Raise BundleError if the engine's tensors are not what the manifest says."""
    declared = bundle.manifest
    for info, tensor in ((engine.input_info, declared.input), (engine.output_info, declared.output)):
        if (info.shape, info.dtype) != (tuple(tensor.shape), tensor.dtype):
            raise BundleError(
                "tensor {} of {} is {} {}, the manifest says {} {}".format(
                    info.name, bundle.path, info.shape, info.dtype, tuple(tensor.shape), tensor.dtype
                ),
                "export the network again",
            )


def check_engine(engine: Engine, bundle: Bundle, recipe: Recipe) -> GoldenCheck:
    """Run the golden frame as a camera frame would be.

    Raises CheckFailed with the figures if the masks are not those of the bundle, BundleError if the golden frame is
    damaged or of another size.
    """
    manifest = bundle.manifest
    golden = unpack_golden(bundle.payloads["golden"])
    shapes = (golden.image.shape[:2], golden.logits.shape)
    if shapes != (tuple(manifest.network.imgsz), _grid(engine.output, manifest).shape):
        raise BundleError("the golden frame of {} is of another size".format(bundle.path), "export the network again")
    InputWriter(manifest.input, manifest.network.imgsz).write(golden.image, "rgb", engine.input)
    engine.execute()
    found = _grid(engine.output, manifest)
    if not np.isfinite(found).all():
        raise CheckFailed(
            "the engine of {} gives NaN or infinity on the bundle's golden frame".format(bundle.path), _mend(recipe)
        )
    check = compare(golden.logits, found, recipe.precision)
    if not check.is_passed:
        raise CheckFailed(
            "the engine of {} does not give the masks of the bundle's golden frame: {}".format(bundle.path, check.text),
            _mend(recipe),
        )
    return check


def _mend(recipe: Recipe) -> str:
    """TensorRT chooses other kernels with each build; a precision that cannot hold the values stays wrong."""
    other = {"fp16": "fp32", "int8": "fp16", "fp32": "fp16"}[recipe.precision]
    return "build it again: edgeseg compile {} --force; if that fails too, {} --precision {}".format(
        recipe.bundle, recipe.reexport, other
    )


def compare(reference: Array, found: Array, precision: str) -> GoldenCheck:
    """Figures of logits (h, w, classes), all finite, against reference ones."""
    error = _rms(found.astype(np.float64) - reference) / max(_rms(reference), 1e-30)
    sure = where_sure(reference)
    same = (found.argmax(-1) == reference.argmax(-1))[sure]
    return GoldenCheck(
        sure_agreement=float(same.mean()) if same.size else None,
        sure_share=float(sure.mean()),
        relative_error=error,
        agreement_required=REQUIRED_AGREEMENT[precision],
        error_allowed=ALLOWED_ERROR[precision],
    )


def _rms(values: Array) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))


def _grid(output: Array, manifest: Manifest) -> Array:
    """The output tensor as (h, w, classes)."""
    return output[0] if manifest.output.layout == "nhwc" else output[0].transpose(1, 2, 0)
