"""The manifest of an exported network, and where it came from."""

import importlib.metadata
import platform
import time
from pathlib import Path
from typing import Any

from edgeseg.bundle import payload_info
from edgeseg.export.cost import cost_of
from edgeseg.export.flatbuffer import read_tflite
from edgeseg.export.parity import Comparison
from edgeseg.export.source import FloatNetwork
from edgeseg.manifest import SCHEMA, InputInfo, Manifest, NetworkInfo, OutputInfo, TargetInfo
from edgeseg.version import __version__

_TOOLS = ("tensorflow", "tensorflow-cpu", "keras", "ai-edge-litert", "numpy")


def manifest_of(
    source: FloatNetwork,
    target: TargetInfo,
    payload: bytes,
    comparison: Comparison,
    calibration: dict[str, Any] | None,
) -> Manifest:
    """Describe `payload`, the .tflite file made from `source`."""
    spec = source.card.spec
    model = read_tflite(payload)
    logits = model.tensors[model.outputs[0]]
    integer = target.precision == "int8"
    return Manifest(
        schema=SCHEMA,
        network=NetworkInfo(spec.architecture, spec.width, spec.imgsz, spec.stride, *cost_of(source.network)),
        classes=source.card.classes,
        input=InputInfo(
            shape=(1, *spec.imgsz, 3),
            dtype="uint8" if integer else "float32",
            layout="nhwc",
            color="rgb",
            scale=1.0 if integer else 1 / 127.5,
            offset=0.0 if integer else -1.0,
            fit="stretch",
        ),
        output=OutputInfo(
            shape=(1, spec.imgsz[0] // spec.stride, spec.imgsz[1] // spec.stride, len(source.card.classes)),
            dtype="int8" if integer else "float32",
            layout="nhwc",
            kind="logits",
            resize="half_pixel",
            scale=logits.scale[0] if integer else 1.0,
            zero_point=logits.zero_point[0] if integer else 0,
        ),
        target=target,
        payloads=(payload_info("tflite", "network.tflite", payload),),
        compression=None,
        calibration=calibration,
        parity=comparison.parity._asdict(),
        accuracy=comparison.accuracy,
        provenance=_provenance(source),
    )


def _provenance(source: FloatNetwork) -> dict[str, Any]:
    return {
        "edgeseg": __version__,
        "python": platform.python_version(),
        **{tool: version for tool in _TOOLS if (version := _version(tool))},
        "created": now(),
        "network_file": source.path.name,
        "network_sha256": source.sha256,
        "trained_on": source.card.dataset,
        "init": source.card.init,
        "recipe": {key: _portable(value) for key, value in source.card.recipe.items()},
    }


def _portable(value: Any) -> Any:
    """Folders of the machine that trained mean nothing elsewhere: only their last name is kept."""
    return Path(value).name if isinstance(value, str) and "/" in value else value


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
