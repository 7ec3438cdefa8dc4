"""Behaviour behind the runtime's side: deserialise a plan, describe the engine, execute it with onnxruntime."""

import ctypes
import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from . import _plan
from ._inspect import EngineInspector
from ._log import emit_error, require_gpu
from ._parser import open_session
from ._precision import FROM_RUNTIME
from ._surface import TYPES, expect, native
from ._values import dims, host_memory

_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_pending: Dict[int, Tuple[Any, List[bool]]] = {}  # callbacks that a stream of the stub runs later; done?
_NUMPY = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8", "INT8": "int8", "INT32": "int32", "INT64": "int64"}


class _Tensor(NamedTuple):
    name: str
    is_input: bool
    shape: Tuple[int, ...]
    dtype: str  # name in DataType

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(_NUMPY[self.dtype]).itemsize


class Runtime:
    """Reads plans."""

    def __init__(self, logger: Any) -> None:
        require_gpu(logger)
        self.logger = logger
        self.DLA_core = -1
        self.max_threads = 1
        self.engine_host_code_allowed = False

    @property
    def num_DLA_cores(self) -> int:  # noqa: N802
        return _plan.dla_cores()

    def deserialize_cuda_engine(self, serialized_engine: Any) -> Any:
        where = "runtime.cpp::deserializeCudaEngine::50"
        try:
            data = bytes(memoryview(serialized_engine))
            about, model = _plan.read_plan(data)
            _plan.check_plan(about)
        except _plan.BadPlan as error:
            emit_error(self.logger, "stdArchiveReader.cpp::StdArchiveReader::40", str(error))
            emit_error(self.logger, where, "Error Code 4: Internal Error (Engine deserialization failed.)")
            return None
        return native("ICudaEngine", ICudaEngine(self.logger, about, model, data))


class ICudaEngine:
    """An engine: its tensors by name (8.5 and later) or by binding index (before 10)."""

    def __init__(self, logger: Any, about: Dict[str, Any], model: bytes, plan: bytes) -> None:
        self.logger = logger
        self.about = about
        self._plan = plan
        self.session = open_session(model)
        self.name = "Unnamed Network 0"
        self.device_memory_size = self.device_memory_size_v2 = 1 << 20
        self.refittable = False
        self.num_optimization_profiles = 1
        self.num_layers = len(about["layers"])
        self.profiling_verbosity = getattr(TYPES["ProfilingVerbosity"], about["profiling_verbosity"])
        self.has_implicit_batch_dimension = False
        ends = [(info, True) for info in self.session.get_inputs()]
        ends += [(info, False) for info in self.session.get_outputs()]
        self.tensors = [_Tensor(i.name, is_in, tuple(i.shape), FROM_RUNTIME[i.type]) for i, is_in in ends]

    def find(self, key: Any) -> _Tensor:
        """By name or index; TensorRT aborts or logs for a stranger, the double raises."""
        if isinstance(key, str):
            return next(t for t in self.tensors if t.name == key)
        return self.tensors[expect(key, int)]

    @property
    def num_io_tensors(self) -> int:
        return len(self.tensors)

    num_bindings = num_io_tensors

    def __len__(self) -> int:
        return len(self.tensors)

    def __getitem__(self, arg0: Any) -> Any:
        return self.tensors.index(self.find(arg0)) if isinstance(arg0, str) else self.find(arg0).name

    def get_tensor_name(self, index: int) -> str:
        return self.find(expect(index, int)).name

    def get_tensor_mode(self, name: str) -> Any:
        mode = TYPES["TensorIOMode"]
        names = [t.name for t in self.tensors]
        return mode.NONE if name not in names else mode.INPUT if self.find(name).is_input else mode.OUTPUT

    def get_tensor_shape(self, name: str) -> Any:
        return dims(self.find(expect(name, str)).shape)

    def get_tensor_dtype(self, name: str) -> Any:
        return getattr(TYPES["DataType"], self.find(expect(name, str)).dtype)

    def get_tensor_location(self, name: str) -> Any:
        return TYPES["TensorLocation"].DEVICE

    def get_tensor_format(self, name: str, profile_index: int = 0) -> Any:
        return TYPES["TensorFormat"].LINEAR

    def get_binding_name(self, index: int) -> str:
        return self.find(expect(index, int)).name

    def get_binding_index(self, name: str) -> int:
        return self.tensors.index(self.find(name))

    def binding_is_input(self, index: Any = None, name: Any = None) -> bool:
        return self.find(index if name is None else name).is_input

    def get_binding_shape(self, index: Any = None, name: Any = None) -> Any:
        return dims(self.find(index if name is None else name).shape)

    def get_binding_dtype(self, index: Any = None, name: Any = None) -> Any:
        return getattr(TYPES["DataType"], self.find(index if name is None else name).dtype)

    def get_binding_format(self, index: int) -> Any:
        return TYPES["TensorFormat"].LINEAR

    def create_execution_context(self, strategy: Any = None) -> Any:
        return native("IExecutionContext", IExecutionContext(self))

    def create_engine_inspector(self) -> Any:
        return native("EngineInspector", EngineInspector(self.about, [t.name for t in self.tensors]))

    def serialize(self) -> Any:
        return host_memory(self._plan)


class IExecutionContext:
    """Runs an engine on device addresses."""

    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self._addresses: Dict[str, int] = {}
        self.name = ""
        self.debug_sync = False
        self.all_binding_shapes_specified = True
        self.active_optimization_profile = 0

    @property
    def engine(self) -> Any:
        return native("ICudaEngine", self._engine)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        known = expect(name, str) in [t.name for t in self._engine.tensors]
        if known:
            self._addresses[name] = expect(memory, int)
        else:
            self._error("Error Code 3: API Usage Error (Given invalid tensor name: {}.)".format(name))
        return known

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def get_tensor_shape(self, name: str) -> Any:
        return dims(self._engine.find(name).shape)

    def set_input_shape(self, name: str, shape: Any) -> bool:
        return self._engine.find(name).shape == tuple(shape)

    def set_binding_shape(self, binding: int, shape: Any) -> bool:
        return self._engine.find(binding).shape == tuple(shape)

    def get_binding_shape(self, binding: int) -> Any:
        return dims(self._engine.find(binding).shape)

    def infer_shapes(self) -> List[str]:
        return []

    def execute_v2(self, bindings: List[int]) -> bool:
        return self._execute(list(bindings), None)

    def execute_async_v2(self, bindings: List[int], stream_handle: int, input_consumed: Any = None) -> bool:
        return self._execute(list(bindings), expect(stream_handle, int))

    def execute_async_v3(self, stream_handle: int) -> bool:
        missing = [t.name for t in self._engine.tensors if not self._addresses.get(t.name)]
        if missing:
            self._error("Error Code 3: API Usage Error (Address is not set for tensor {}.)".format(missing[0]))
            return False
        return self._execute([self._addresses[t.name] for t in self._engine.tensors], expect(stream_handle, int))

    def _execute(self, addresses: List[int], stream: Optional[int]) -> bool:
        """Enqueue on the stub's stream; without the stub, or without a stream, compute at once."""
        if len(addresses) != len(self._engine.tensors):
            self._error("Error Code 3: API Usage Error (Parameter check failed, condition: nbBindings)")
            return False
        if "execute-fails" in _plan.faults():
            self._error("Error Code 1: Cuda Runtime (an illegal memory access was encountered)")
            return False
        stub = _cuda_stub()
        for tensor, address in zip(self._engine.tensors, addresses):
            expect(address, int)
            if stub is not None and not stub.stub_cuda_is_device(address, tensor.bytes):
                self._error("Error Code 1: Cuda Runtime (an illegal memory access was encountered)")
                return False
        if stub is None or stream is None:
            if stub is not None:
                stub.cudaStreamSynchronize(None)
            self._compute(addresses)
            return True
        _enqueue(stub, stream, lambda: self._compute(addresses))
        return True

    def _compute(self, addresses: List[int]) -> None:
        arrays = [_view(t, address) for t, address in zip(self._engine.tensors, addresses)]
        pairs = list(zip(self._engine.tensors, arrays))
        results = self._engine.session.run(None, {t.name: array for t, array in pairs if t.is_input})
        for result, (_, array) in zip(results, [pair for pair in pairs if not pair[0].is_input]):
            array[...] = self._spoilt(result)

    def _spoilt(self, result: Any) -> Any:
        """With fp16's rounding where a layer runs in fp16, and the faults that were asked for."""
        faults = _plan.faults()
        if "nan-output" in faults:
            return np.full_like(result, np.nan)
        if "wrong-output" in faults:
            result = -result
        if "HALF" in [layer["precision"] for layer in self._engine.about["layers"]]:
            result = result.astype(np.float16)
        return result

    def _error(self, text: str) -> None:
        emit_error(self._engine.logger, "executionContext.cpp::enqueueInternal::1", text)


def _view(tensor: _Tensor, address: int) -> Any:
    memory = (ctypes.c_char * tensor.bytes).from_address(address)
    return np.frombuffer(memory, _NUMPY[tensor.dtype]).reshape(tensor.shape)


def _cuda_stub() -> Any:
    path = os.environ.get("EDGESEG_CUDART")
    if not path:
        return None
    stub = ctypes.CDLL(path)  # the same copy as that of the caller
    stub.stub_cuda_is_device.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    stub.stub_cuda_enqueue.argtypes = [ctypes.c_void_p, _CALLBACK, ctypes.c_void_p]
    stub.cudaStreamSynchronize.argtypes = [ctypes.c_void_p]
    return stub


def _enqueue(stub: Any, stream: int, work: Callable[[], None]) -> None:
    """Have the stub call `work` when the stream gets there."""
    for key in [key for key, (_, is_done) in _pending.items() if is_done]:
        del _pending[key]  # not by the callback itself: its code must outlive its return

    def run(key: int) -> int:
        try:
            work()
            return 0
        except Exception:
            return 700  # cudaErrorIllegalAddress
        finally:
            _pending[key][1].append(True)

    key = max(_pending, default=0) + 1
    _pending[key] = (_CALLBACK(run), [])
    stub.stub_cuda_enqueue(stream, _pending[key][0], key)


BEHAVIOURS = {kind.__name__: kind for kind in (Runtime, ICudaEngine, IExecutionContext)}
