"""A plan, loaded: its input and output memory and one call that runs it. The only place that executes.

Source: NVIDIA TensorRT Developer Guide, "The Runtime Phase"; named tensors since 8.5, bindings by index before.
"""

import re
import threading
from typing import Any, List, NamedTuple, Optional, Tuple

from edgeseg.errors import BundleError, EnvironmentFault
from edgeseg.trt.library import create, failure
from edgeseg.trt.memory import Buffer, Memory
from edgeseg.trt.progress import interrupts_deferred

# By the name of trt.DataType; trt.nptype fails under NumPy 1.24 in TensorRT 8.4 and 8.5 (NVIDIA/TensorRT#2567).
_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}


_NO_MEMORY = "end other programs that use the GPU"


class TensorInfo(NamedTuple):
    """An input or output of an engine, as the engine itself says."""

    name: str
    is_input: bool
    shape: Tuple[int, ...]
    dtype: str  # NumPy's name


class RefusedPlan(EnvironmentFault):
    """TensorRT does not take this plan: another TensorRT or GPU built it, or it is damaged."""


class Engine:
    """Runs a plan: fill `input`, `execute()`, read `output`. From any thread, one at a time.

    `input` and `output` are NumPy views of memory that the GPU reads and writes; they are invalid after `close`.
    Raises RefusedPlan if TensorRT does not take the plan, EnvironmentFault if the GPU has no room for it,
    BundleError if it has other than one input and one output.
    """

    def __init__(self, trt: Any, log: Any, memory: Memory, plan: bytes, dla: Optional[int] = None) -> None:
        self._trt, self._log, self._memory = trt, log, memory
        self._lock = threading.Lock()
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self.input: Any = None
        self.output: Any = None
        self._buffers: List[Buffer] = []
        try:
            with interrupts_deferred(), memory.active():
                self._load(plan, dla)
                self.input_info, self.output_info = self._allocate()
        except BaseException:
            self.close()
            raise

    def _load(self, plan: bytes, dla: Optional[int]) -> None:
        trt, log = self._trt, self._log
        runtime = create(lambda: trt.Runtime(log), log, "a runtime")
        self._runtime = runtime
        if dla is not None:
            runtime.DLA_core = dla
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            fault = failure(
                "TensorRT {} does not take this engine".format(trt.__version__),
                log,
                "build it again: edgeseg compile BUNDLE --force",
            )
            if re.search(r"out ?of ?memory", fault.message, re.IGNORECASE):
                raise EnvironmentFault(fault.message, _NO_MEMORY)  # nothing is wrong with the engine
            raise RefusedPlan(fault.message, fault.fix)
        self._engine = engine
        self._context = engine.create_execution_context()
        if self._context is None:
            raise failure("the GPU has no memory to run this engine in", log, _NO_MEMORY)

    def _allocate(self) -> Tuple[TensorInfo, TensorInfo]:
        """Make the buffers and tell the context where they are, once for all frames."""
        tensors = io_tensors(self._trt, self._engine)
        if [tensor.is_input for tensor in tensors].count(True) != 1 or len(tensors) != 2:
            raise BundleError(
                "the network has other tensors than one input and one output: {}".format(
                    ", ".join(tensor.name for tensor in tensors)
                ),
                "export the network again",
            )
        context = self._context
        for tensor in tensors:
            buffer = self._memory.buffer(tensor.shape, tensor.dtype)
            self._buffers.append(buffer)
            if hasattr(context, "set_tensor_address"):
                placed = context.set_tensor_address(tensor.name, buffer.pointer)
            else:
                placed = True  # by its index, with each call
            if not placed:
                raise failure("TensorRT refuses the memory of tensor {}".format(tensor.name), self._log)
        self._pointers = [buffer.pointer for buffer in self._buffers]
        source = tensors.index(next(tensor for tensor in tensors if tensor.is_input))
        self._input, self._output = self._buffers[source], self._buffers[1 - source]
        self.input, self.output = self._input.array, self._output.array
        return tensors[source], tensors[1 - source]

    def execute(self) -> None:
        """Run `input` to `output` and wait for it. Raises EnvironmentFault if TensorRT or the GPU fails."""
        with self._lock, self._memory.active():
            context = self._context
            if context is None:
                raise RuntimeError("this engine is closed")
            self._input.upload()
            if hasattr(context, "execute_async_v3"):
                accepted = context.execute_async_v3(self._memory.stream)
            else:
                accepted = context.execute_async_v2(self._pointers, self._memory.stream)
            if not accepted:
                raise failure(
                    "TensorRT could not run the engine",
                    self._log,
                    "build it again: edgeseg compile BUNDLE --force; if it fails again, reboot the board",
                )
            self._output.download()
            self._memory.synchronize()

    def layers_json(self) -> str:
        """What the engine inspector says of each layer; "" where it says nothing."""
        with self._lock, self._memory.active():
            inspector = self._engine.create_engine_inspector()
            if inspector is None:
                return ""
            return inspector.get_engine_information(self._trt.LayerInformationFormat.JSON) or ""

    def close(self) -> None:
        """Release everything; later calls of `execute` raise RuntimeError."""
        with interrupts_deferred(), self._lock, self._memory.active():
            self._context = None  # before the engine, which goes before the runtime
            self._engine = None
            self._runtime = None
            self.input = self.output = None
            while self._buffers:
                self._buffers.pop().free()


def io_tensors(trt: Any, engine: Any) -> List[TensorInfo]:
    """Inputs and outputs of an engine in the order of its bindings. Raises BundleError for a type NumPy lacks."""
    rows = []
    if hasattr(engine, "num_io_tensors"):
        for i in range(engine.num_io_tensors):
            name = engine.get_tensor_name(i)
            is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            rows.append((name, is_input, engine.get_tensor_shape(name), engine.get_tensor_dtype(name)))
    else:
        for i in range(engine.num_bindings):
            name, is_input = engine.get_binding_name(i), engine.binding_is_input(i)
            rows.append((name, is_input, engine.get_binding_shape(i), engine.get_binding_dtype(i)))
    tensors = []
    for name, is_input, shape, dtype in rows:
        if dtype.name not in _DTYPES:
            raise BundleError("tensor {} is of type {}".format(name, dtype.name), "export the network again")
        tensors.append(TensorInfo(name, bool(is_input), tuple(int(n) for n in shape), _DTYPES[dtype.name]))
    return tensors
