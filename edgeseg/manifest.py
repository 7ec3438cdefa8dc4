"""What a bundle says about itself: the only schema, checked key by key, with no inference runtime."""

import json
import re
from typing import Any, Dict, NamedTuple, Optional, Tuple

from edgeseg.errors import BundleError
from edgeseg.palette import SegClass

SCHEMA = 1


class NetworkInfo(NamedTuple):
    architecture: str
    width: float
    imgsz: Tuple[int, int]  # height, width in pixels
    stride: int  # input pixels per logit
    parameters: int
    macs: Optional[int]  # multiply-accumulates of one frame; None: unknown, hidden in a compiled file

    @property
    def cells(self) -> Tuple[int, int]:
        """Height and width of the output; a cell that the input fills in part counts as one."""
        return -(-self.imgsz[0] // self.stride), -(-self.imgsz[1] // self.stride)


class InputInfo(NamedTuple):
    """The input tensor. A value of it is `pixel * scale + offset`, with a scale and an offset for each channel in the
    order of `color`; in an integer tensor rounded and limited to what its type holds.
    """

    shape: Tuple[int, int, int, int]
    dtype: str  # uint8 | int8 | float32
    layout: str  # nhwc | nchw
    color: str  # rgb | bgr
    scale: Tuple[float, float, float]
    offset: Tuple[float, float, float]
    fit: str  # stretch | letterbox

    @property
    def formula(self) -> str:
        """How a pixel becomes a value, for people."""
        scale, offset = (
            "{:g}".format(v[0]) if len(set(v)) == 1 else "({:g}, {:g}, {:g})".format(*v)
            for v in (self.scale, self.offset)
        )
        return "value = pixel * {} + {}".format(scale, offset)


class OutputInfo(NamedTuple):
    """The output tensor: logits, each of which is `(value - zero_point) * scale`, or class ids as they are.

    `resize` says where the input has its samples: with half_pixel at the centres of cells of equal size, with
    align_corners the first and last are those of the first and last pixel (tf.compat.v1.image.resize_bilinear).
    """

    shape: Tuple[int, ...]  # classes also (1, h, w)
    dtype: str  # logits: int8 | uint8 | float32; classes also int32 | int64
    layout: str
    kind: str  # logits | classes
    resize: str  # half_pixel | align_corners
    scale: float
    zero_point: int

    @property
    def formula(self) -> str:
        """What a value means, for people."""
        if self.kind == "classes":
            return "a value is a class id"
        return "logit = (value - {}) * {:.6g}".format(self.zero_point, self.scale)


class TargetInfo(NamedTuple):
    name: str
    backend: str
    precision: str
    dla: Optional[int] = None  # the deep-learning accelerator core to build for; None: the GPU


class PayloadInfo(NamedTuple):
    role: str  # tflite | edgetpu | onnx | activation-ranges | golden
    path: str
    sha256: str
    bytes: int


class Manifest(NamedTuple):
    """The whole of manifest.json; free-form reports are plain dictionaries or None."""

    schema: int
    network: NetworkInfo
    classes: Tuple[SegClass, ...]
    input: InputInfo
    output: OutputInfo
    target: TargetInfo
    payloads: Tuple[PayloadInfo, ...]
    compression: Optional[Dict[str, Any]]
    calibration: Optional[Dict[str, Any]]
    parity: Optional[Dict[str, Any]]
    accuracy: Optional[Dict[str, Any]]
    compilation: Optional[Dict[str, Any]]  # by the Edge TPU compiler: its version, what it mapped
    verification: Optional[Dict[str, Any]]  # masks of the device against those of the CPU: `edgeseg verify`
    provenance: Dict[str, Any]

    def to_dict(self) -> Dict[str, Any]:
        """The manifest as JSON has it: dictionaries, lists, strings, numbers and None."""
        plain: Dict[str, Any] = _plain(self)
        return plain

    def to_json(self) -> str:
        """Serialise; `parse_manifest` reads it back to an equal manifest."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))


_CHOICES = {
    ("input", "dtype"): ("uint8", "int8", "float32"),
    ("input", "layout"): ("nhwc", "nchw"),
    ("input", "color"): ("rgb", "bgr"),
    ("input", "fit"): ("stretch", "letterbox"),
    ("output", "layout"): ("nhwc", "nchw"),
    ("output", "kind"): ("logits", "classes"),
    ("output", "resize"): ("half_pixel", "align_corners"),
}
_DTYPES = {"logits": ("int8", "uint8", "float32"), "classes": ("int8", "uint8", "int32", "int64", "float32")}


def parse_manifest(text: str) -> Manifest:
    """Read manifest.json. Raises BundleError naming the key that is missing, unknown or wrong."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError("manifest.json is not JSON: {}".format(error), _REEXPORT)
    if not isinstance(raw, dict):
        raise BundleError("manifest.json is not an object", _REEXPORT)
    if raw.get("schema") != SCHEMA:
        raise BundleError(
            "manifest schema {!r}; this edgeseg reads schema {}".format(raw.get("schema"), SCHEMA),
            "export the network again with this version of edgeseg, or install the version that wrote it",
        )
    manifest = _record(Manifest, raw, "")
    _check_meaning(manifest)
    return manifest


_REEXPORT = "export the network again"


def _fail(where: str, problem: str) -> BundleError:
    return BundleError("manifest.json: {} {}".format(where or "top level", problem), _REEXPORT)


def _record(kind: Any, raw: Any, where: str) -> Any:
    """Build the NamedTuple `kind` from a JSON object with exactly its keys."""
    if not isinstance(raw, dict):
        raise _fail(where, "is not an object")
    fields = kind._fields
    unknown = sorted(set(raw) - set(fields))
    if unknown:
        raise _fail(where, "has unknown key(s) {}; known: {}".format(", ".join(unknown), ", ".join(fields)))
    missing = [name for name in fields if name not in raw]
    if missing:
        raise _fail(where, "lacks key(s) {}".format(", ".join(missing)))
    types = kind.__annotations__
    values = {}
    for name in fields:
        values[name] = _value(types[name], raw[name], "{}.{}".format(where, name).lstrip("."))
    return kind(**values)


_NESTED: Dict[str, Any] = {
    "network": NetworkInfo,
    "input": InputInfo,
    "output": OutputInfo,
    "target": TargetInfo,
}
_LISTS: Dict[str, Any] = {"classes": SegClass, "payloads": PayloadInfo}
_LENGTHS = {"network.imgsz": (2,), "input.shape": (4,), "output.shape": (3, 4), "classes.color": (3,)}


def _value(kind: Any, raw: Any, where: str) -> Any:
    if where in _NESTED:
        return _record(_NESTED[where], raw, where)
    if where in _LISTS:
        if not isinstance(raw, list) or not raw:
            raise _fail(where, "is not a list with entries")
        return tuple(_record(_LISTS[where], item, "{}[{}]".format(where, i)) for i, item in enumerate(raw))
    lengths = _LENGTHS.get(re.sub(r"\[\d+\]", "", where))
    if lengths:
        if not isinstance(raw, list) or len(raw) not in lengths or not all(_is_count(v) for v in raw):
            raise _fail(where, "is not a list of {} non-negative integers".format(" or ".join(map(str, lengths))))
        return tuple(raw)
    if kind == Tuple[float, float, float]:
        if not isinstance(raw, list) or len(raw) != 3:
            raise _fail(where, "is {!r}, not a list of 3 numbers".format(raw))
        return tuple(_scalar(float, v, where) for v in raw)
    return _scalar(kind, raw, where)


def _scalar(kind: Any, raw: Any, where: str) -> Any:
    if kind in (str, int):
        if not isinstance(raw, kind) or isinstance(raw, bool):
            raise _fail(where, "is {!r}, not {}".format(raw, kind.__name__))
        return raw
    if kind is float:
        if not isinstance(raw, (int, float)) or isinstance(raw, bool) or not abs(raw) < 1e30:
            raise _fail(where, "is {!r}, not a finite number".format(raw))
        return float(raw)
    if raw is None and where != "provenance":
        return None
    if kind == Optional[int]:
        if not isinstance(raw, int) or isinstance(raw, bool) or raw < 0:
            raise _fail(where, "is {!r}, not a number or null".format(raw))
        return raw
    if not isinstance(raw, dict):
        raise _fail(where, "is not an object")
    return raw


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _check_meaning(manifest: Manifest) -> None:
    for (part, name), allowed in _CHOICES.items():
        value = getattr(getattr(manifest, part), name)
        if value not in allowed:
            raise _fail("{}.{}".format(part, name), "is {!r}, not one of {}".format(value, ", ".join(allowed)))
    ids = [c.id for c in manifest.classes]
    if ids != list(range(len(ids))) or len(ids) > 255:
        raise _fail("classes", "must have the ids 0, 1, 2, ... up to 254")
    wrong = [c.name for c in manifest.classes if not c.name or max(c.color) > 255]
    if wrong:
        raise _fail("classes", "have an empty name or a colour outside 0..255: {}".format(wrong))
    if manifest.network.parameters < 0:
        raise _fail("network.parameters", "is below 0")
    _check_shapes(manifest)
    _check_values(manifest.input, manifest.output)


def _check_shapes(manifest: Manifest) -> None:
    (height, width), output = manifest.network.imgsz, manifest.output
    if height < 1 or width < 1 or manifest.network.stride < 1:
        raise _fail("network", "has size {}x{} and stride {}".format(height, width, manifest.network.stride))
    wanted = {"input": [_shape(manifest.input.layout, height, width, 3)]}
    rows, columns = manifest.network.cells
    if output.kind == "logits":
        wanted["output"] = [_shape(output.layout, rows, columns, len(manifest.classes))]
    else:
        wanted["output"] = [_shape(output.layout, rows, columns, 1), (1, rows, columns)]
    for part, shapes in wanted.items():
        found = getattr(manifest, part).shape
        if found not in shapes:
            asked = " or ".join(map(str, shapes))
            raise _fail(part + ".shape", "is {}, but network and classes ask for {}".format(found, asked))


def _check_values(source: InputInfo, output: OutputInfo) -> None:
    if not min(source.scale) > 0:
        raise _fail("input.scale", "must be above 0")
    if output.dtype not in _DTYPES[output.kind]:
        allowed = ", ".join(_DTYPES[output.kind])
        raise _fail("output.dtype", "is {!r}, not one of {} for {}".format(output.dtype, allowed, output.kind))
    if not output.scale > 0:
        raise _fail("output.scale", "must be above 0")
    if output.kind == "classes" and (output.scale, output.zero_point) != (1, 0):
        raise _fail("output", "has a scale or zero point, but class ids are as they are")


def _shape(layout: str, height: int, width: int, channels: int) -> Tuple[int, ...]:
    return (1, height, width, channels) if layout == "nhwc" else (1, channels, height, width)


def _plain(value: Any) -> Any:
    """NamedTuples to dictionaries, tuples to lists."""
    if hasattr(value, "_asdict"):
        return {name: _plain(getattr(value, name)) for name in value._fields}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
