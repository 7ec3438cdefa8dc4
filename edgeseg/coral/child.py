"""The Edge TPU, seen from the child process that owns it: the only place that loads libedgetpu to run a network."""

import importlib
import re
from typing import Any, Dict, NamedTuple

import numpy as np

from edgeseg.backends.tflite import INTERPRETER_MODULES
from edgeseg.coral.devices import explain_no_device, parse_device
from edgeseg.errors import EnvironmentFault
from edgeseg.worker.child import Work

_REPLUG = "unplug the Edge TPU, plug it in again, and look at `edgeseg doctor`"


class EdgeTpu(Work):
    """A TensorFlow Lite interpreter with libedgetpu as its delegate.

    Options: `package` of the interpreter, `library` (path of libedgetpu), `delegate` (its options), `device` as the
    user named it, `threads` for operators that are left to the CPU.
    """

    def open(self, payload: bytes, options: Dict[str, Any]) -> Dict[str, Any]:
        """{"input": (shape, dtype), "output": ...}. Raises EnvironmentFault by what libedgetpu says."""
        module = importlib.import_module(INTERPRETER_MODULES[options["package"]])
        try:
            delegate = module.load_delegate(options["library"], options["delegate"])
            interpreter = module.Interpreter(
                model_content=payload, num_threads=options["threads"], experimental_delegates=[delegate]
            )
            interpreter.allocate_tensors()
            interpreter.invoke()  # the first one also sends the parameters
        except (OSError, ValueError, RuntimeError) as error:
            raise explain(str(error), options["device"])
        (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
        self._device: str = options["device"]
        self._interpreter = interpreter
        self._input = interpreter.tensor(source["index"])
        self._output = interpreter.tensor(sink["index"])
        return {
            side: ([int(n) for n in detail["shape"]], np.dtype(detail["dtype"]).name)
            for side, detail in (("input", source), ("output", sink))
        }

    def infer(self, source: Any, sink: Any) -> None:
        """Raises EnvironmentFault if libedgetpu reports an error."""
        np.copyto(self._input(), source)
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise explain(str(error), self._device)
        np.copyto(sink, self._output())

    def close(self) -> None:
        """Let libedgetpu put the Edge TPU to rest."""
        del self._input, self._output, self._interpreter


class _Known(NamedTuple):
    pattern: str  # of what libedgetpu or TensorFlow Lite says
    meaning: str
    fix: str


# The first that fits. Texts: google-coral/libedgetpu, tflite/ and driver/; TensorFlow, lite/core/subgraph.cc.
_KNOWN = (
    _Known(
        r"Package requires runtime version",
        "the network was compiled for a newer libedgetpu than the one here",
        "install libedgetpu 16.0 or newer, or compile for this one: edgetpu_compiler --min_runtime_version VERSION",
    ),
    _Known(
        r"Unsupported data type in custom op handler"
        r"|unresolved custom op.*(edgetpu-custom-op|EdgeTpuDelegateForCustomOp)",
        "libedgetpu was built for another TensorFlow Lite than this interpreter",
        "install a libedgetpu and an interpreter that fit each other: `edgeseg doctor` names them",
    ),
    _Known(
        r"already assigned to a different TPU",
        "libedgetpu spreads the network over several Edge TPUs",
        "name one: --device :0",
    ),
    _Known(
        r"Invalid argument: executable",
        "libedgetpu does not take the compiled network",
        "compile it again: edgeseg compile BUNDLE --force; if that does not help, install a newer libedgetpu",
    ),
    _Known(r"Failed to retrieve TPU context", "libedgetpu has lost the Edge TPU", _REPLUG),
    _Known(r"EdgeTpuDelegateForCustomOp\) failed to invoke", "the Edge TPU failed", _REPLUG),
    _Known(
        r"Didn't find op for builtin opcode",
        "an operator that is left to the CPU is newer than this interpreter",
        "pip install -U ai-edge-litert, or compile a network that is whole on the Edge TPU",
    ),
    _Known(
        r"cannot open shared object file",
        "libedgetpu or a library that it needs cannot be loaded",
        "sudo apt install libusb-1.0-0; `edgeseg doctor` names what is missing",
    ),
)


def explain(text: str, device: str) -> EnvironmentFault:
    """What an error of libedgetpu or of the interpreter means, as one of our errors."""
    if "Failed to load delegate" in text:  # all that it ever says, whatever the reason is
        return explain_no_device(parse_device(device))
    said = " ".join(text.split())
    for known in _KNOWN:
        if re.search(known.pattern, said):
            return EnvironmentFault("{}: {}".format(known.meaning, said), known.fix)
    return EnvironmentFault("the network does not run with libedgetpu: {}".format(said), _REPLUG)
