"""ONNX Runtime: on the CPU, where it is the one runtime that still has wheels for Python 3.6, and on NVIDIA GPUs
through its CUDA and TensorRT providers, for boards on which TensorRT's Python bindings do not fit.

Options of the providers: https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html
"""

import ctypes
import hashlib
import os
from typing import Any, Dict, List, Tuple

import numpy as np

from edgeseg.backends import GPU_ONNXRUNTIME
from edgeseg.backends.base import BaseBackend
from edgeseg.bundle import Bundle
from edgeseg.errors import BundleError, EnvironmentFault
from edgeseg.quiet import import_runtime

_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int8)": "int8"}
_NAMES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
# Each with those that take the operators which it leaves out.
_CHAINS = {
    "cpu": [_NAMES["cpu"]],
    "cuda": [_NAMES["cuda"], _NAMES["cpu"]],
    "tensorrt": [_NAMES["tensorrt"], _NAMES["cuda"], _NAMES["cpu"]],
}
_GET_LIBRARIES = (
    "install the CUDA, cuDNN and TensorRT versions that this onnxruntime asks for "
    "(https://onnxruntime.ai/docs/execution-providers/), and let the loader find them (LD_LIBRARY_PATH)"
)


class Backend(BaseBackend):
    """Runs the `onnx` payload; input and output buffers are bound once, in host memory.

    `provider` is "cpu", "cuda" or "tensorrt". Raises EnvironmentFault if this onnxruntime lacks it or cannot start it:
    by itself onnxruntime would go on with the CPU.
    """

    def __init__(self, bundle: Bundle, package: str, threads: int, provider: str = "cpu") -> None:
        self._provider = provider
        self.name = "onnxruntime" if provider == "cpu" else "onnxruntime:" + provider
        self.instances = 0 if provider == "cpu" else 2  # on a GPU the second is prepared while the first runs
        super().__init__(bundle, package, threads)

    def _open(self, bundle: Bundle) -> Dict[str, Tuple[Tuple[int, ...], str]]:
        session = self._start(bundle)
        (source,) = session.get_inputs()
        (sink,) = session.get_outputs()
        found = {
            "input": (tuple(source.shape), _DTYPES.get(source.type, source.type)),
            "output": (tuple(sink.shape), _DTYPES.get(sink.type, sink.type)),
        }
        self._bind(session, source.name, sink.name)
        return found

    def _start(self, bundle: Bundle) -> Any:
        onnxruntime = import_runtime("onnxruntime")
        title, wanted = "onnxruntime " + onnxruntime.__version__, _NAMES[self._provider]
        available = onnxruntime.get_available_providers()
        if wanted not in available:
            raise EnvironmentFault("{} has no {}, only {}".format(title, wanted, ", ".join(available)), GPU_ONNXRUNTIME)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        providers: List[Any] = [name for name in _CHAINS[self._provider] if name in available]
        if self._provider == "tensorrt":
            providers[0] = (wanted, tensorrt_options(bundle, onnxruntime.__version__))
        try:
            session = onnxruntime.InferenceSession(
                bundle.payloads["onnx"], options, providers=providers, enable_fallback=0
            )
        except Exception as error:  # its exception classes are private and differ between versions
            if self._provider == "cpu":
                raise BundleError(
                    "{} cannot load the network of {}: {}".format(title, bundle.path, error),
                    "install a newer onnxruntime, or export the network again",
                )
            reason = _loader_error(self._provider) or str(error).strip()
            raise EnvironmentFault("{} cannot start {}: {}".format(title, wanted, reason), _GET_LIBRARIES)
        if wanted not in session.get_providers():
            reason = _loader_error(self._provider) or "its log says why"
            raise EnvironmentFault("{} cannot start {}: {}".format(title, wanted, reason), _GET_LIBRARIES)
        return session

    def _bind(self, session: Any, source: str, sink: str) -> None:
        declared_in, declared_out = self.manifest.input, self.manifest.output
        self._input = np.zeros(declared_in.shape, declared_in.dtype)
        self._output = np.zeros(declared_out.shape, declared_out.dtype)
        self._session = session
        self._binding: Any = session.io_binding()
        self._binding.bind_input(source, "cpu", 0, self._input.dtype, self._input.shape, self._input.ctypes.data)
        self._binding.bind_output(sink, "cpu", 0, self._output.dtype, self._output.shape, self._output.ctypes.data)

    def input(self) -> Any:
        return self._input

    def infer(self) -> Any:
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # as above: memory that ran out, a GPU that failed
            raise EnvironmentFault(
                "{} cannot infer: {}".format(self.name, error),
                "end other programs that use the memory or the GPU, then start again",
            )
        return self._output

    def close(self) -> None:
        self._binding = self._session = None  # frees the memory of the GPU


def tensorrt_options(bundle: Bundle, version: str) -> Dict[str, str]:
    """Options of the TensorRT provider of onnxruntime `version`, with a folder for its engines that is made here.

    The names of its engine files tell networks apart by their tensors, not by their weights, so each payload has a
    folder of its own. Raises EnvironmentFault if it cannot be made.
    """
    from edgeseg.trt.cache import cache_folder, explained

    digest = hashlib.sha256(bundle.payloads["onnx"]).hexdigest()[:16]
    folder = os.path.join(cache_folder(), "onnxruntime-{}-{}".format(version, digest))
    with explained(folder):
        os.makedirs(folder, exist_ok=True)
    precision = bundle.manifest.target.precision
    options = {
        "trt_fp16_enable": str(precision != "fp32"),  # with int8 too: it is for the layers that are not int8
        "trt_int8_enable": str(precision == "int8"),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": folder,
    }
    if tuple(int(part) for part in version.split(".")[:2]) >= (1, 15):  # older ones refuse options they do not know
        options["trt_timing_cache_enable"] = "True"
    return options


def _loader_error(provider: str) -> str:
    """Why the library of a GPU provider cannot be loaded, "" if that is not it.

    Only to be asked after onnxruntime has tried: it must be the first to load its own library.
    """
    onnxruntime = import_runtime("onnxruntime")
    folder = os.path.dirname(onnxruntime.__file__)
    try:
        ctypes.CDLL(os.path.join(folder, "capi", "libonnxruntime_providers_{}.so".format(provider)))
    except OSError as error:
        return str(error)
    return ""
