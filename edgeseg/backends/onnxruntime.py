"""ONNX Runtime on the CPU; the one runtime that still has wheels for Python 3.6."""

from typing import Any, Dict, Tuple

import numpy as np

from edgeseg.backends.base import BaseBackend
from edgeseg.bundle import Bundle
from edgeseg.errors import BundleError

_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int8)": "int8"}


class Backend(BaseBackend):
    """Runs the `onnx` payload; input and output buffers are bound once."""

    name = "onnxruntime"

    def _open(self, bundle: Bundle) -> Dict[str, Tuple[Tuple[int, ...], str]]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(bundle.payloads["onnx"], options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exception classes are private and differ between versions
            raise BundleError(
                "onnxruntime {} cannot load the network of {}: {}".format(onnxruntime.__version__, bundle.path, error),
                "install a newer onnxruntime, or export the network again",
            )
        (source,) = session.get_inputs()
        (sink,) = session.get_outputs()
        found = {
            "input": (tuple(source.shape), _DTYPES.get(source.type, source.type)),
            "output": (tuple(sink.shape), _DTYPES.get(sink.type, sink.type)),
        }
        self._bind(session, source.name, sink.name)
        return found

    def _bind(self, session: Any, source: str, sink: str) -> None:
        declared_in, declared_out = self.manifest.input, self.manifest.output
        self._input = np.zeros(declared_in.shape, declared_in.dtype)
        self._output = np.zeros(declared_out.shape, declared_out.dtype)
        self._session = session
        self._binding = session.io_binding()
        self._binding.bind_input(source, "cpu", 0, self._input.dtype, self._input.shape, self._input.ctypes.data)
        self._binding.bind_output(sink, "cpu", 0, self._output.dtype, self._output.shape, self._output.ctypes.data)

    def input(self) -> Any:
        return self._input

    def infer(self) -> Any:
        self._session.run_with_iobinding(self._binding)
        return self._output
