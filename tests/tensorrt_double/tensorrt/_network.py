"""The network definition: layers are the nodes of the ONNX graph."""

from typing import Any, Dict, List

from . import _plan
from ._precision import layer_type, tensor_types
from ._surface import TYPES, expect, native
from ._values import dims


class ITensor:
    """A tensor of a network definition."""

    def __init__(self, name: str, shape: Any, dtype: str, is_network_input: bool = False) -> None:
        self.name = name
        self._shape = shape
        self.dtype = getattr(TYPES["DataType"], dtype)
        self.is_network_input = is_network_input
        self.is_network_output = False
        self.is_shape_tensor = False
        self.is_execution_tensor = True
        self.dynamic_range: Any = None
        self.location = TYPES["TensorLocation"].DEVICE
        self.allowed_formats = 1

    @property
    def shape(self) -> Any:
        return dims(self._shape)

    def set_dynamic_range(self, min: float, max: float) -> bool:
        self.dynamic_range = (float(min), float(max))
        return True

    def reset_dynamic_range(self) -> None:
        self.dynamic_range = None


class ILayer:
    """One node of the ONNX graph."""

    def __init__(self, node: Any, tensors: Dict[str, Any]) -> None:
        self.node = node
        self.name = node.name
        self.metadata = ""
        self.type = getattr(TYPES["LayerType"], layer_type(node.op, TYPES["LayerType"].__members__))
        self._inputs = [tensors[name] for name in node.inputs if name in tensors]
        self._outputs = [tensors[name] for name in node.outputs]
        self.num_inputs = len(self._inputs)
        self.num_outputs = len(self._outputs)
        self.precision_is_set = False
        self._precision: Any = None

    def get_input(self, index: int) -> Any:
        return native("ITensor", self._inputs[index])

    def get_output(self, index: int) -> Any:
        return native("ITensor", self._outputs[index])

    def get_output_type(self, index: int) -> Any:
        return self._outputs[index].dtype

    @property
    def precision(self) -> Any:
        return self._precision

    @precision.setter
    def precision(self, value: Any) -> None:
        self._precision = expect(value, "DataType")
        self.precision_is_set = True


class INetworkDefinition:
    """What the parser fills: layers are the nodes of the ONNX graph."""

    def __init__(self, logger: Any, flags: int) -> None:
        names = TYPES["NetworkDefinitionCreationFlag"].__members__
        asked = [name for name, flag in names.items() if flags >> int(flag) & 1]
        self.logger = logger
        self.is_strongly_typed = _plan.major() >= 11 or "STRONGLY_TYPED" in asked
        self.has_implicit_batch_dimension = _plan.major() < 10 and "EXPLICIT_BATCH" not in asked
        self.name = "Unnamed Network 0"
        self.model = b""
        self.graph: Any = None
        self.tensors: Dict[str, ITensor] = {}
        self.layers: List[ILayer] = []
        self.inputs: List[str] = []
        self.outputs: List[str] = []

    def fill(self, model: bytes, graph: Any, session: Any) -> None:
        self.model, self.graph = model, graph
        ends = {info.name: info for info in list(session.get_inputs()) + list(session.get_outputs())}
        for name, dtype in tensor_types(graph, session).items():
            shape = ends[name].shape if name in ends else ()
            self.tensors[name] = ITensor(name, shape, dtype, name in [i.name for i in session.get_inputs()])
        self.layers = [ILayer(node, self.tensors) for node in graph.nodes]
        self.inputs = [info.name for info in session.get_inputs()]
        self.outputs = [info.name for info in session.get_outputs()]
        for name in self.outputs:
            self.tensors[name].is_network_output = True

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    @property
    def num_outputs(self) -> int:
        return len(self.outputs)

    def get_layer(self, index: int) -> Any:
        return native("ILayer", self.layers[index]) if 0 <= index < len(self.layers) else None

    def get_input(self, index: int) -> Any:
        return native("ITensor", self.tensors[self.inputs[index]]) if 0 <= index < len(self.inputs) else None

    def get_output(self, index: int) -> Any:
        return native("ITensor", self.tensors[self.outputs[index]]) if 0 <= index < len(self.outputs) else None

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, arg0: int) -> Any:
        return native("ILayer", self.layers[arg0])

    def get_flag(self, flag: Any) -> bool:
        expect(flag, "NetworkDefinitionCreationFlag")
        return flag.name == "STRONGLY_TYPED" and self.is_strongly_typed

    @property
    def flags(self) -> int:
        return int(self.is_strongly_typed) << int(TYPES["NetworkDefinitionCreationFlag"].STRONGLY_TYPED)


BEHAVIOURS = {kind.__name__: kind for kind in (ITensor, ILayer, INetworkDefinition)}
