"""LiteRT (ai-edge-litert), tflite-runtime or tensorflow.lite: one interpreter API in three packages."""

import importlib
from typing import Any, Dict, Tuple

from edgeseg.backends.base import BaseBackend, dtype_name
from edgeseg.bundle import Bundle
from edgeseg.coral.package import CUSTOM_OP, is_compiled
from edgeseg.errors import BundleError
from edgeseg.quiet import quiet
from edgeseg.tflite.model import TfliteModel, read_tflite
from edgeseg.tflite.sound import check_sound

INTERPRETER_MODULES = {
    "ai_edge_litert": "ai_edge_litert.interpreter",
    "tflite_runtime": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow.lite",
}
_CUSTOM = "CUSTOM "  # begins the name of a custom operator in TfliteModel


class Backend(BaseBackend):
    """Runs the `tflite` payload on the CPU."""

    name = "tflite"

    def _open(self, bundle: Bundle) -> Dict[str, Tuple[Tuple[int, ...], str]]:
        if is_compiled(read_payload(bundle, "tflite")):
            raise BundleError(
                "payload tflite of {} is compiled for the Edge TPU, which the CPU cannot run".format(bundle.path),
                "give the .tflite file from before edgetpu_compiler",
            )
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


def read_payload(bundle: Bundle, role: str) -> TfliteModel:
    """The .tflite file that is payload `role`, before a runtime sees it: some crash on a damaged one.

    Raises BundleError if it is damaged, does not have one input and one output, or has operators that nobody knows.
    """
    try:
        model = read_tflite(bundle.payloads[role])
        _check_operators(model)
        check_sound(model, bundle.payloads[role])
    except BundleError as error:
        raise BundleError("payload {} of {}: {}".format(role, bundle.path, error.message), error.fix)
    return model


def _check_operators(model: TfliteModel) -> None:
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise BundleError(
            "the network has {} inputs and {} outputs".format(len(model.inputs), len(model.outputs)),
            "export a network with one input and one output",
        )
    names = sorted({operator.name for operator in model.operators} - {CUSTOM_OP})
    custom = [name[len(_CUSTOM) :] for name in names if name.startswith(_CUSTOM)]
    if custom:
        raise BundleError(
            "the network has operators that TensorFlow Lite lacks: {}".format(", ".join(custom)),
            "export it without custom operators",
        )
