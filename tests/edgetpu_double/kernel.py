"""What the TPU of libedgetpu.c computes: the uncompiled model, in a second interpreter of the same package.

libedgetpu.c imports this file into the process that loaded it. A file of compiled.py carries its uncompiled model.
For others $EDGETPU_DOUBLE_MODEL names the uncompiled file; tensors are found in it by their names.
"""

import ctypes
import os
import sys
import traceback
from typing import Any, List

import numpy as np
from compiled import carried_model, cut

from edgeseg.tflite.model import read_tflite
from edgeseg.tflite.sound import check_sound

_PACKAGES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow.lite")


class View(ctypes.Structure):
    """A tensor of the operator `edgetpu-custom-op`."""

    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.c_void_p), ("bytes", ctypes.c_size_t)]

    def array(self) -> Any:
        """Its bytes (bytes,) uint8, writable."""
        return np.frombuffer((ctypes.c_uint8 * self.bytes).from_address(self.data), np.uint8)


_LOAD = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
_RUN = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.POINTER(View), ctypes.c_int, ctypes.POINTER(View), ctypes.c_int
)


class _Executable:
    """One model; its interpreter is made at the first run, which says what it is to give."""

    def __init__(self, options: bytes) -> None:
        self._model = carried_model(options)
        if not self._model:
            with open(os.environ["EDGETPU_DOUBLE_MODEL"], "rb") as file:
                self._model = file.read()
        check_sound(
            read_tflite(self._model), self._model
        )  # a damaged one must not end the process: a real TPU would not
        self._interpreter: Any = None

    def run(self, inputs: List[View], outputs: List[View]) -> None:
        if self._interpreter is None:
            self._open([view.name.decode("utf-8") for view in outputs])
        interpreter = self._interpreter
        for view, detail in zip(inputs, interpreter.get_input_details()):
            interpreter.tensor(detail["index"])().reshape(-1).view(np.uint8)[:] = view.array()
        interpreter.invoke()
        found = {detail["name"]: detail["index"] for detail in interpreter.get_output_details()}
        for view in outputs:
            tensor = interpreter.get_tensor(found[view.name.decode("utf-8")])
            view.array()[:] = np.ascontiguousarray(tensor).reshape(-1).view(np.uint8)

    def _open(self, names: List[str]) -> None:
        package = next(sys.modules[name] for name in _PACKAGES if name in sys.modules)
        interpreter = package.Interpreter(model_content=self._model)
        if sorted(detail["name"] for detail in interpreter.get_output_details()) != sorted(names):
            interpreter = package.Interpreter(model_content=cut(self._model, names))
        interpreter.allocate_tensors()
        self._interpreter = interpreter


_loaded: List[_Executable] = []


def _load(address: int, size: int) -> int:
    try:
        _loaded.append(_Executable(ctypes.string_at(address, size)))
        return len(_loaded) - 1
    except Exception:
        traceback.print_exc()
        return -1


def _run(handle: int, inputs: Any, input_count: int, outputs: Any, output_count: int) -> int:
    try:
        _loaded[handle].run(inputs[:input_count], outputs[:output_count])
        return 0
    except Exception:
        traceback.print_exc()
        return 1


_functions = (_LOAD(_load), _RUN(_run))  # kept: C calls them


def register(address: int) -> None:
    """Write the two functions into the struct `kernel` of libedgetpu.c."""
    slots = (ctypes.c_void_p * 2).from_address(address)
    for i, function in enumerate(_functions):
        slots[i] = ctypes.cast(function, ctypes.c_void_p).value
