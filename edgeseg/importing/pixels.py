"""How camera pixels become values of someone else's input tensor."""

from typing import Iterable, NamedTuple, Optional, Tuple

from edgeseg.errors import UsageError
from edgeseg.importing.metadata import Metadata
from edgeseg.manifest import InputInfo
from edgeseg.tflite.model import Tensor

Triple = Tuple[float, float, float]

# Real values of black and white for which quantised networks are trained to take pixels as they are.
_USUAL_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-128.0, 127.0), (-0.5, 0.5))
_RANGE_ERROR = 0.02  # of the range: 1/128 per step stands for 2/255
_CHOICES = (
    "say what the network was trained with: --input-range 0 1, --input-range -1 1, --input-range 0 255, or "
    "--mean R G B --std R G B of pixels from 0 to 1, such as --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225"
)


class PixelOptions(NamedTuple):
    """What a user says: pixels are brought to `range`, by default 0..1, then `mean` is taken off and `std` divides.

    `mean` and `std` are in the order of `color`.
    """

    range: Optional[Tuple[float, float]] = None
    mean: Optional[Triple] = None
    std: Optional[Triple] = None
    color: str = "rgb"


class _Mapping(NamedTuple):
    """Values of the network's input, pixel * scale + offset, and who says so."""

    scale: Triple
    offset: Triple
    source: str


def describe_input(tensor: Tensor, options: PixelOptions, metadata: Metadata) -> Tuple[InputInfo, str]:
    """The manifest's account of the input `tensor`, and where it is from.

    Raises UsageError where neither options nor the file say what pixels mean, or the options make no sense.
    """
    mapping = _told(options) or _from_metadata(metadata)
    if tensor.type != "float32":
        mapping = _quantised(tensor, mapping)
    elif mapping is None:
        raise UsageError("nothing in the file says which values its input {} takes".format(tensor.name), _CHOICES)
    shape = (1, tensor.shape[1], tensor.shape[2], 3)
    info = InputInfo(shape, tensor.type, "nhwc", options.color, mapping.scale, mapping.offset, "stretch")
    return info, mapping.source


def _told(options: PixelOptions) -> Optional[_Mapping]:
    given = [("--input-range", options.range), ("--mean", options.mean), ("--std", options.std)]
    names = [name for name, value in given if value is not None]
    if not names:
        return None
    low, high = options.range or (0.0, 1.0)
    mean, std = options.mean or (0.0, 0.0, 0.0), options.std or (1.0, 1.0, 1.0)
    if not low < high or not min(std) > 0:
        raise UsageError("{} leaves the input no extent".format(" and ".join(names)), _CHOICES)
    if options.mean is not None and not low <= min(mean) <= max(mean) <= high:
        raise UsageError(
            "--mean {:g} {:g} {:g} lies outside the pixels, {:g} to {:g}".format(*mean + (low, high)),
            "for a mean of pixels from 0 to 255 add --input-range 0 255",
        )
    scale = _three((high - low) / 255 / d for d in std)
    return _Mapping(scale, _three((low - m) / d for m, d in zip(mean, std)), ", ".join(names))


def _from_metadata(metadata: Metadata) -> Optional[_Mapping]:
    if not metadata.mean:
        return None
    mean, std = (_three(v * 3 if len(v) == 1 else v) for v in (metadata.mean, metadata.std))
    scale = _three(1 / d for d in std)
    return _Mapping(scale, _three(-m / d for m, d in zip(mean, std)), "normalisation in the file's metadata")


def _quantised(tensor: Tensor, mapping: Optional[_Mapping]) -> _Mapping:
    """The mapping to the steps of an integer tensor."""
    lowest = 0 if tensor.type == "uint8" else -128
    plain = _Mapping((1.0, 1.0, 1.0), (float(lowest),) * 3, "pixels as they are")
    if not tensor.scale or not tensor.scale[0] > 0:
        return plain
    step, zero_point = tensor.scale[0], tensor.zero_point[0] if tensor.zero_point else 0
    if mapping is None:
        black, white = (lowest - zero_point) * step, (lowest + 255 - zero_point) * step
        if any(max(abs(black - low), abs(white - high)) <= _RANGE_ERROR * (high - low) for low, high in _USUAL_RANGES):
            return plain._replace(source="pixels as they are: black is {:.3g}, white {:.3g}".format(black, white))
        raise UsageError(
            "pixels as they are would mean {:.3g} to {:.3g} in its {} input {}, which is no usual range".format(
                black, white, tensor.type, tensor.name
            ),
            "{}; --input-range {:.5g} {:.5g} takes them as they are".format(_CHOICES, black, white),
        )
    scale = _three(a / step for a in mapping.scale)
    offset = _three(b / step + zero_point for b in mapping.offset)
    if all(max(abs(b - lowest), abs(255 * a + b - lowest - 255)) <= 1 for a, b in zip(scale, offset)):
        return plain._replace(source=mapping.source + ": pixels as they are, to a step")
    return _Mapping(scale, offset, mapping.source)


def _three(values: Iterable[float]) -> Triple:
    first, second, third = values
    return first, second, third
