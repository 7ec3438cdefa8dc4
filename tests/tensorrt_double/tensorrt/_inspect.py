"""The engine inspector."""

import json
from typing import Any, Dict, List

from . import _plan
from ._surface import expect

# The words that TensorRT has for formats, before 10 and since.
_FORMATS = {
    "FLOAT": ("Row major linear FP32", "Float"),
    "HALF": ("Row major linear FP16 format", "Half"),
    "INT8": ("Row major Int8 format", "Int8"),
    "UINT8": ("Row major linear UInt8 format", "UInt8"),
}


class EngineInspector:
    """Describes layers as far as the engine's profiling verbosity allows."""

    def __init__(self, about: Dict[str, Any], bindings: List[str]) -> None:
        self._about = about
        self._bindings = bindings
        self.execution_context: Any = None

    def get_engine_information(self, format: Any) -> str:
        layers = [self._describe(layer) for layer in self._layers()]
        if expect(format, "LayerInformationFormat").name == "ONELINE":
            return "\n".join(map(str, layers))
        return json.dumps({"Layers": layers, "Bindings": self._bindings}, indent=1)

    def get_layer_information(self, layer_index: int, format: Any) -> str:
        expect(format, "LayerInformationFormat")
        return json.dumps(self._describe(self._layers()[layer_index]))

    def _layers(self) -> List[Any]:
        return [] if self._about["profiling_verbosity"] == "NONE" else list(self._about["layers"])

    def _describe(self, layer: Dict[str, Any]) -> Any:
        if self._about["profiling_verbosity"] == "LAYER_NAMES_ONLY":
            return layer["name"]
        ends = {part: [self._tensor(layer, name) for name in layer[part.lower()]] for part in ("Inputs", "Outputs")}
        return dict(ends, Name=layer["name"], LayerType=layer["type"].capitalize(), TacticName="double")

    def _tensor(self, layer: Dict[str, Any], name: str) -> Dict[str, Any]:
        dtype = layer["types"][name]
        text = _FORMATS.get(dtype, (dtype, dtype))[_plan.major() >= 10]
        return {"Name": name, "Location": "Device", "Dimensions": [], "Format/Datatype": text}


BEHAVIOURS = {kind.__name__: kind for kind in (EngineInspector,)}
