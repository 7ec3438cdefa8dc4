"""Run an .onnx file of ours on the PC, with ONNX Runtime on the CPU."""

import os

import numpy as np
from onnx import helper

from edgeseg.errors import UsageError
from edgeseg.export.onnx import NORMALISED
from edgeseg.export.onnx_rules import read_onnx
from edgeseg.quiet import import_runtime


class OnnxNetwork:
    """A session with its buffers; the same calls as edgeseg.export.litert.ExportedNetwork."""

    def __init__(self, data: bytes) -> None:
        onnxruntime = import_runtime("onnxruntime")

        model = read_onnx(data)
        model.graph.output.append(helper.make_empty_tensor_value_info(NORMALISED))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = min(4, os.cpu_count() or 1)
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exception classes are private
            raise UsageError(f"ONNX Runtime refuses the .onnx file: {error}", "export the network again") from error
        (source,) = self._session.get_inputs()
        self._input = source.name
        self._dtype = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}[source.type]

    def run(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits (h, w, classes) float32, and the real values (H, W, 3) that the network sees.

        `image` is RGB (H, W, 3) uint8 of the network's size; the graph normalises it.
        """
        logits, seen = self._session.run(None, {self._input: image[None].astype(self._dtype)})
        return np.ascontiguousarray(logits[0].transpose(1, 2, 0)), seen[0].transpose(1, 2, 0)

    def real_logits(self, raw: np.ndarray) -> np.ndarray:
        return raw
