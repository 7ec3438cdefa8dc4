"""In which precision does an engine compute? What TensorRT's engine inspector says of each layer.

With the fp16 flag, TensorRT has built engines that are fp32 throughout (NVIDIA/TensorRT#3160).
"""

import json
import re
from typing import Any, Dict, Optional

from edgeseg.errors import CheckFailed
from edgeseg.trt.recipe import Recipe

# Layers that move or hold data and say nothing of the precision of the network.
_DATA_LAYERS = ("Reformat", "NoOp", "Constant", "Shuffle", "Signal", "Wait")
# As TensorRT names them: "Int8", "Half", "Row major linear FP32", "Thirty-two wide channel vectorized row major Int8
# format". As whole words, for there are UInt8 and BFloat16 too.
_NAMES = (("int8", r"\bint8\b"), ("fp16", r"\b(half|fp16)\b"), ("fp32", r"\b(float|fp32)\b"))


def count_layers(text: str) -> Optional[Dict[str, int]]:
    """Layers by precision (int8, fp16, fp32, other) of the inspector's JSON; None where it does not tell."""
    try:
        layers = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(layers, list) or not layers or not all(isinstance(layer, dict) for layer in layers):
        return None  # names only: the engine was not built with detailed verbosity
    counts: Dict[str, int] = {}
    for layer in layers:
        if layer.get("LayerType") not in _DATA_LAYERS:
            precision = _precision(layer)
            counts[precision] = counts.get(precision, 0) + 1
    return counts if set(counts) - {"other"} else None


def _precision(layer: Dict[str, Any]) -> str:
    """That of its weights; without weights, the narrowest of its tensors."""
    weights = layer.get("Weights")
    if isinstance(weights, dict) and weights.get("Type"):
        types = [str(weights["Type"])]
    else:
        tensors = list(layer.get("Inputs") or []) + list(layer.get("Outputs") or [])
        types = [str(tensor.get("Format/Datatype", "")) for tensor in tensors if isinstance(tensor, dict)]
    for precision, pattern in _NAMES:
        if re.search(pattern, " ".join(types).lower()):
            return precision
    return "other"


def require_precision(layers: Optional[Dict[str, int]], recipe: Recipe) -> None:
    """Raise CheckFailed if the bundle asks for fp16 or int8 and no layer is that.

    Not for a DLA: there the inspector shows the whole network as one layer, between formats of the GPU.
    """
    if recipe.dla is None and layers and recipe.precision != "fp32" and not layers.get(recipe.precision):
        raise CheckFailed(
            "TensorRT built no {} layer for {}: {}".format(recipe.precision, recipe.bundle, layers_text(layers)),
            "end other programs, which disturb its measurements, and build again: edgeseg compile {} --force".format(
                recipe.bundle
            ),
        )


def layers_text(layers: Optional[Dict[str, int]]) -> str:
    """Counts for people: "57 int8, 8 fp16"."""
    if not layers:
        return "not known"
    order = ("int8", "fp16", "fp32", "other")
    return ", ".join("{} {}".format(layers[name], name) for name in order if layers.get(name))
