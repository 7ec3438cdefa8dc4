"""Run a .tflite file on the PC, with the same interpreter and kernels as the `tflite` backend."""

import os
from typing import Any

import numpy as np

from edgeseg.errors import EnvironmentFault, UsageError
from edgeseg.export.quiet import quiet


class ExportedNetwork:
    """An interpreter with its buffers. Use it from one thread."""

    def __init__(self, data: bytes) -> None:
        self._interpreter = open_interpreter(data, usual_threads())
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]

    def run(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Raw logits (h, w, classes) as the file gives them, and the input tensor's real values (H, W, 3).

        `image` is RGB (H, W, 3) uint8 of the network's size. A uint8 input takes it as it is, a float
        input takes pixel / 127.5 - 1.
        """
        quantised = self._input["dtype"] == np.uint8
        value = image if quantised else (image.astype(np.float32) / 127.5 - 1)
        self._interpreter.set_tensor(self._input["index"], value[None])
        self._interpreter.invoke()
        logits = self._interpreter.get_tensor(self._output["index"])[0]
        return logits, real_values(value, self._input["quantization"]) if quantised else value

    def real_logits(self, raw: np.ndarray) -> np.ndarray:
        """What raw logits stand for, float32."""
        return raw if raw.dtype == np.float32 else real_values(raw, self._output["quantization"])


def usual_threads() -> int:
    """As many as this process has cores, up to four: more make a mobile network no faster."""
    return min(4, len(os.sched_getaffinity(0)))


def open_interpreter(data: bytes, threads: int) -> Any:
    """An interpreter with its tensors. Raises EnvironmentFault without LiteRT, UsageError where it refuses `data`."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise EnvironmentFault(f"LiteRT cannot be imported ({error})", "pip install 'edgeseg[export]'") from error
    with quiet():  # it announces its delegate
        try:
            interpreter = Interpreter(model_content=data, num_threads=threads)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise UsageError(f"LiteRT refuses the .tflite file: {error}", "export the network again") from error
    return interpreter


def real_values(value: np.ndarray, quantisation: tuple[float, int]) -> np.ndarray:
    """What quantised values stand for, float32; `quantisation` is scale and zero point."""
    scale, zero_point = quantisation
    return (value.astype(np.float32) - zero_point) * np.float32(scale)
