"""The ONNX parser."""

from typing import Any, List, Optional

from . import _plan
from ._log import emit_error
from ._surface import TYPES, behaviour_of, expect, native


def open_session(model: bytes) -> Any:
    """An onnxruntime session of one thread that logs nothing."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _error_text(self: Any) -> str:
    return "In node {node} ({func}): {code.name}: {desc}".format(**self._behaviour._values)


class ParserError:
    """One fault of an ONNX graph."""

    def __init__(self, code: str, desc: str, node: int, func: str) -> None:
        self._values = {"code": getattr(TYPES["ErrorCode"], code), "desc": desc, "node": node, "func": func}

    def code(self) -> Any:
        return self._values["code"]

    def desc(self) -> Any:
        return self._values["desc"]

    def node(self) -> Any:
        return self._values["node"]

    def func(self) -> Any:
        return self._values["func"]

    def file(self) -> str:
        return "ModelImporter.cpp"

    def line(self) -> int:
        return 1

    SPACE = {"__str__": _error_text, "__repr__": _error_text}


class OnnxParser:
    """Reads an ONNX graph into a network; what onnxruntime refuses, it refuses."""

    def __init__(self, network: Any, logger: Any) -> None:
        self._network = behaviour_of(network, "INetworkDefinition")
        self._logger = expect(logger, "ILogger")
        self._errors: List[ParserError] = []
        self.flags = 0

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return native("ParserError", self._errors[index]) if 0 <= index < len(self._errors) else None

    def clear_errors(self) -> None:
        self._errors = []

    def parse(self, model: Any, path: Optional[str] = None) -> bool:
        data = bytes(memoryview(model))
        if self._network.has_implicit_batch_dimension:
            return self._refuse(
                "INVALID_VALUE",
                "This version of the ONNX parser only supports TensorRT INetworkDefinitions with an explicit batch "
                "dimension. Please ensure the network was created using the EXPLICIT_BATCH "
                "NetworkDefinitionCreationFlag.",
            )
        try:
            graph = _plan.walk_model(data)
        except ValueError:
            return self._refuse("MODEL_DESERIALIZE_FAILED", "Failed to parse the ONNX model.")
        for index, node in enumerate(graph.nodes):
            if node.domain not in ("", "ai.onnx"):
                text = "Plugin not found, are the plugin name, version, and namespace correct?"
                return self._refuse("UNSUPPORTED_NODE", text, index, "importFallbackPluginImporter")
        try:
            session = open_session(data)
        except Exception as error:
            return self._refuse("INVALID_GRAPH", str(error))
        if "UINT8" not in TYPES["DataType"].__members__ and "tensor(uint8)" in [i.type for i in session.get_inputs()]:
            text = "Failed to convert ONNX date type to TensorRT data type."  # spelt so in onnx-tensorrt
            return self._refuse("UNSUPPORTED_NODE", text, -1, "importInput")
        self._network.fill(data, graph, session)
        return True

    def parse_from_file(self, model: str) -> bool:
        with open(model, "rb") as file:
            return self.parse(file.read())

    def _refuse(self, code: str, text: str, node: int = -1, func: str = "parse") -> bool:
        self._errors.append(ParserError(code, text, node, func))
        emit_error(self._logger, "ModelImporter.cpp::parse::1", "Error Code 3: API Usage Error ({})".format(text))
        return False


BEHAVIOURS = {kind.__name__: kind for kind in (ParserError, OnnxParser)}
