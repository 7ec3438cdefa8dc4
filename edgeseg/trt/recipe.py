"""What a bundle asks of an engine."""

import json
import math
from typing import Dict, NamedTuple, Optional

from edgeseg.bundle import Bundle
from edgeseg.errors import BundleError, UsageError
from edgeseg.kernels import has_pattern, kernels_of

_REEXPORT = "export the network again"


class Recipe(NamedTuple):
    """The network to build and how.

    `ranges`, for int8 on a DLA, else empty: the largest magnitude of each tensor; None where the layer that makes it
    stays in float. `sparse`: the weights have the 2:4 pattern, which the GPU may skip the zeros of.
    """

    bundle: str  # its path, for messages
    target: str
    onnx: bytes
    input_dtype: str  # uint8 | float32
    precision: str  # fp32 | fp16 | int8
    dla: Optional[int]
    ranges: Dict[str, Optional[float]]
    sparse: bool

    @property
    def reexport(self) -> str:
        """The start of the command that makes the bundle anew, to which a fix adds an option."""
        return "on the PC: edgeseg export NETWORK --target {}".format(self.target)


def read_recipe(bundle: Bundle) -> Recipe:
    """The recipe in a bundle.

    Raises UsageError if the bundle is not one for TensorRT, BundleError if something in it is missing or wrong.
    """
    target = bundle.manifest.target
    if target.backend != "tensorrt":
        raise UsageError(
            "{} is for target {} ({}), which needs no engine".format(bundle.path, target.name, target.backend),
            "run it as it is: edgeseg run {}; or export for this board: edgeseg export NETWORK --target xavier".format(
                bundle.path
            ),
        )
    if target.precision not in ("fp32", "fp16", "int8"):
        raise BundleError("{} asks for precision {!r}".format(bundle.path, target.precision), _REEXPORT)
    for role in ("onnx", "golden"):
        if role not in bundle.payloads:
            raise BundleError("{} holds no {} payload, which an engine needs".format(bundle.path, role), _REEXPORT)
    ranges: Dict[str, Optional[float]] = {}
    if target.precision == "int8" and target.dla is not None:
        ranges = _ranges(bundle)
    return Recipe(
        bundle.path,
        target.name,
        bundle.payloads["onnx"],
        bundle.manifest.input.dtype,
        target.precision,
        target.dla,
        ranges,
        has_pattern(kernels_of(bundle.payloads)),
    )


def _ranges(bundle: Bundle) -> Dict[str, Optional[float]]:
    wrong = BundleError(
        "{} holds no usable activation ranges, which int8 on a DLA needs".format(bundle.path), _REEXPORT
    )
    try:
        raw = json.loads(bundle.payloads["activation-ranges"].decode("utf-8"))
    except (KeyError, ValueError, RecursionError):
        raise wrong
    if not isinstance(raw, dict) or not raw:
        raise wrong
    for value in raw.values():
        if value is None:
            continue
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < math.inf:
            raise wrong
    return {name: None if value is None else float(value) for name, value in raw.items()}
