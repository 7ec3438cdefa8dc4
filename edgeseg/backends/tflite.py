"""LiteRT (ai-edge-litert), tflite-runtime or tensorflow.lite: one interpreter API in three packages."""

import importlib
from typing import Any, Dict, Tuple

from edgeseg.backends.base import BaseBackend, dtype_name
from edgeseg.bundle import Bundle
from edgeseg.errors import BundleError
from edgeseg.quiet import quiet

INTERPRETER_MODULES = {
    "ai_edge_litert": "ai_edge_litert.interpreter",
    "tflite_runtime": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow.lite",
}


class Backend(BaseBackend):
    """Runs the `tflite` payload on the CPU."""

    name = "tflite"

    def _open(self, bundle: Bundle) -> Dict[str, Tuple[Tuple[int, ...], str]]:
        interpreter_class = importlib.import_module(INTERPRETER_MODULES[self.package]).Interpreter
        try:
            with quiet():  # "Created TensorFlow Lite XNNPACK delegate for CPU."
                self._interpreter = interpreter_class(model_content=bundle.payloads["tflite"], num_threads=self.threads)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BundleError(
                "{} {} cannot load the network of {}: {}".format(
                    self.package, self.name, bundle.path, str(error).strip()
                ),
                "install a newer runtime (pip install -U ai-edge-litert) or export the network again",
            )
        (source,) = self._interpreter.get_input_details()
        (sink,) = self._interpreter.get_output_details()
        self._input = self._interpreter.tensor(source["index"])
        self._output = self._interpreter.tensor(sink["index"])
        return {
            "input": (tuple(int(n) for n in source["shape"]), dtype_name(source["dtype"])),
            "output": (tuple(int(n) for n in sink["shape"]), dtype_name(sink["dtype"])),
        }

    def input(self) -> Any:
        return self._input()

    def infer(self) -> Any:
        self._interpreter.invoke()
        return self._output()  # a view: it must be let go of before the next call
