"""The manifest of an exported network, and where it came from."""

import importlib.metadata
import platform
import time
from pathlib import Path
from typing import Any

from edgeseg.bundle import MEMBERS, Bundle, payload_info
from edgeseg.export.parity import Comparison
from edgeseg.export.product import Product
from edgeseg.export.source import FloatNetwork
from edgeseg.manifest import SCHEMA, Manifest, NetworkInfo, TargetInfo
from edgeseg.models.cost import cost_of
from edgeseg.version import __version__

_TOOLS = ("tensorflow", "tensorflow-cpu", "keras", "ai-edge-litert", "onnx", "onnxruntime", "numpy")


def manifest_of(source: FloatNetwork, target: TargetInfo, product: Product, comparison: Comparison) -> Manifest:
    """Describe what was made from `source`."""
    spec, cost = source.card.spec, cost_of(source.network)
    return Manifest(
        schema=SCHEMA,
        network=NetworkInfo(spec.architecture, spec.width, spec.imgsz, spec.stride, cost.parameters, cost.macs),
        classes=source.card.classes,
        input=product.input,
        output=product.output,
        target=target,
        payloads=tuple(payload_info(role, MEMBERS[role], data) for role, data in product.payloads.items()),
        compression=None,
        calibration=product.calibration,
        parity=comparison.parity._asdict(),
        accuracy=comparison.accuracy,
        compilation=None,
        verification=None,
        provenance=_provenance(source),
    )


def reused(bundle: Bundle, target: TargetInfo, comparison: Comparison) -> Manifest:
    """The manifest of a bundle made from a shipped one: the figures of its file, and what was found here."""
    note = {
        "from": Path(bundle.path).name,
        "edgeseg": __version__,
        "created": _now(),
        "parity": comparison.parity._asdict(),
    }
    return bundle.manifest._replace(target=target, provenance=bundle.manifest.provenance | {"reused": note})


def _provenance(source: FloatNetwork) -> dict[str, Any]:
    return {
        "edgeseg": __version__,
        "python": platform.python_version(),
        **{tool: version for tool in _TOOLS if (version := _version(tool))},
        "created": _now(),
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


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
