"""Google Coral's Edge TPU, in a supervised child process: its driver aborts the process on USB errors, or hangs."""

import importlib
import importlib.util
import os
from typing import Any, Dict, List, Tuple

from edgeseg.backends import way_out
from edgeseg.backends.base import BaseBackend
from edgeseg.backends.tflite import read_payload
from edgeseg.bundle import Bundle
from edgeseg.coral.abi import check_pair, foreign_pycoral
from edgeseg.coral.devices import check_before_loading, parse_device
from edgeseg.coral.library import Library, find_library
from edgeseg.coral.package import read_packages
from edgeseg.errors import BundleError, EnvironmentFault
from edgeseg.worker.process import Job
from edgeseg.worker.shared import TensorSpec
from edgeseg.worker.supervisor import Counters, Limits, Worker

PACKAGES = ("ai_edge_litert", "tflite_runtime")
LIMITS = Limits()
FAILING = (
    "use the cable that came with it, another USB 3 port or a powered hub, and keep it cool; `edgeseg doctor` checks "
    "the rest"
)


class Backend(BaseBackend):
    """Runs the `edgetpu` payload on one Edge TPU; `device` is one in pycoral's grammar, "" for any."""

    name = "edgetpu"
    instances = 1  # an Edge TPU serves one process

    def __init__(self, bundle: Bundle, package: str, threads: int, device: str = "") -> None:
        self._device = device
        super().__init__(bundle, package, threads)

    def _open(self, bundle: Bundle) -> Dict[str, Tuple[Tuple[int, ...], str]]:
        packages = read_packages(read_payload(bundle, "edgetpu"))
        if not packages:
            raise BundleError(
                "payload edgetpu of {} is not compiled for the Edge TPU".format(bundle.path),
                "edgeseg compile {}".format(bundle.path),
            )
        self.package, self._version = choose_interpreter(find_library())
        self._ready = check_before_loading(packages, self.package, self._version, parse_device(self._device))
        options = {
            "package": self.package,
            "library": self._ready.library.path,
            "delegate": self._ready.options,
            "device": self._device,
            "threads": self.threads,
        }
        source, sink = self.manifest.input, self.manifest.output
        job = Job(
            "edgeseg.coral.child:EdgeTpu",
            options,
            bundle.payloads["edgetpu"],
            TensorSpec(tuple(source.shape), source.dtype),
            TensorSpec(tuple(sink.shape), sink.dtype),
        )
        self._worker = Worker("the Edge TPU", job, "; ".join([FAILING] + way_out(bundle)), LIMITS)
        return {side: (tuple(shape), dtype) for side, (shape, dtype) in self._worker.found.items()}

    def input(self) -> Any:
        return self._worker.input

    def infer(self) -> Any:
        return self._worker.infer()

    def close(self) -> None:
        self._worker.close()

    @property
    def counters(self) -> Counters:
        """Frames, faults, restarts and the last fault of the child process."""
        return self._worker.counters

    @property
    def description(self) -> str:
        """For people: device, runtime version, the package and version of the interpreter, restarts if any."""
        device = self._ready.device
        parts = [
            "{} {}".format(device.kind, os.path.basename(device.path)),
            "runtime {}".format(self._ready.listing.runtime_version),
            "{} {}".format(self.package, self._version),
        ]
        restarts = self.counters.restarts
        if restarts:
            parts.append("{} restart{}".format(restarts, "" if restarts == 1 else "s"))
        return "{} ({})".format(self.name, ", ".join(parts))


def choose_interpreter(library: Library) -> Tuple[str, str]:
    """Package and version of the installed interpreter to load `library` with: the first that may.

    Raises EnvironmentFault if none may, saying why for the first.
    """
    order = PACKAGES
    if importlib.util.find_spec("pycoral") is not None and not foreign_pycoral():
        order = PACKAGES[::-1]  # Google's pycoral brings tflite-runtime as its own
    faults: List[EnvironmentFault] = []
    for package in (package for package in order if importlib.util.find_spec(package) is not None):
        version = getattr(importlib.import_module(package), "__version__", "")
        try:
            check_pair(library, package, version)
        except EnvironmentFault as fault:
            faults.append(fault)
        else:
            return package, version
    raise faults[0]
