"""A stand-in for NVIDIA's `tensorrt`, for tests: put this folder's parent on PYTHONPATH.

Its names, signatures and enum values are those of the real version, generated from the oracle in
tests/edgeseg/trt/api; whatever that version lacks raises AttributeError here too. Behind them is as much behaviour as
building and running an engine takes; a method without behaviour raises NotImplementedError. A plan of this double holds
the ONNX graph, and onnxruntime computes it on the memory that the caller's addresses point to.

Environment:

EDGESEG_DOUBLE_TENSORRT  the version: 8.2, 8.5.2 (default), 8.6.1, 10.3.0 or 11.4.0; read at import
EDGESEG_DOUBLE_FAULTS    words separated by spaces, read when they matter:
    build-fails      build_serialized_network logs errors as the real one does and gives None
    slow-build=S     it takes S seconds, with the GIL released, and reports to a progress monitor
    slow-fp16, slow-int8   the platform has no fast fp16 / int8 (default: what STUB_CUDA_CAPABILITY has)
    fp32-engine      the flags for fp16 and int8 are accepted and ignored (NVIDIA/TensorRT#3160)
    dla=N            number of DLA cores (default: 2 with capability 7.2 and 8.7, else 0)
    nan-output, wrong-output   the engine gives NaN / the negated logits
    execute-fails    the execute methods log an error and give False
EDGESEG_CUDART           the libcudart of tests/cuda_stub, if the addresses are its; then work is done when its stream
                         is synchronised, and an address that is not device memory is an error as on a GPU
STUB_CUDA_CAPABILITY     of the GPU, e.g. 72 (default)
STUB_CUDA_ERROR          a CUDA error, e.g. 35: Builder and Runtime fail as on a machine without a GPU

`tensorrt._surface.touched` holds (file, class, attribute) for each use by a file of edgeseg; `tensorrt._plan.read_plan`
says what an engine was built with.
"""

import os
import sys
import types
from typing import Any, Dict

from . import _build, _config, _inspect, _log, _network, _oracle, _parser, _plan, _run, _surface, _values

_VERSION = os.environ.get("EDGESEG_DOUBLE_TENSORRT", "8.5.2")
__version__ = {"8.2": "8.2.1.8", "8.5.2": "8.5.2.2", "11.4.0": "11.4.0.106"}.get(_VERSION, _VERSION)

_plan.set_version(__version__)
_behaviours: Dict[str, Any] = {}
for _module in (_log, _values, _network, _parser, _config, _build, _run, _inspect):
    _behaviours.update(_module.BEHAVIOURS)
globals().update(_surface.generate(_oracle.load_oracle(_VERSION), _behaviours))


class _Module(types.ModuleType):
    def __getattribute__(self, name: str) -> Any:
        _surface.touch("", name)
        return super().__getattribute__(name)


sys.modules[__name__].__class__ = _Module
