"""Which inference runtimes there are, what each runs, and how to get it. A table: nothing is imported."""

import importlib
import importlib.util
from typing import Any, List, NamedTuple, Optional, Tuple

from edgeseg.bundle import Bundle
from edgeseg.errors import BundleError, EnvironmentFault, UsageError


class BackendEntry(NamedTuple):
    """One runtime; rows are in order of preference for `device="auto"`."""

    name: str
    module: str  # module of edgeseg that holds the class `Backend`
    role: str  # the payload that it runs; "" for none
    packages: Tuple[str, ...]  # any one of these makes it available, best first
    install: str


BACKENDS = (
    BackendEntry(
        "tflite",
        "edgeseg.backends.tflite",
        "tflite",
        ("ai_edge_litert", "tflite_runtime", "tensorflow"),
        "pip install 'edgeseg[tflite]'",
    ),
    BackendEntry(
        "onnxruntime", "edgeseg.backends.onnxruntime", "onnx", ("onnxruntime",), "pip install 'edgeseg[onnx]'"
    ),
    BackendEntry("fake", "edgeseg.backends.fake", "", ("numpy",), ""),
)


def available_package(entry: BackendEntry) -> Optional[str]:
    """The best installed package that provides this backend, or None."""
    for package in entry.packages:
        if importlib.util.find_spec(package) is not None:
            return package
    return None


def choose_backend(bundle: Bundle, device: str) -> Tuple[BackendEntry, str]:
    """The backend for `device` ("auto", "cpu", or a backend's name) and the package it will use.

    Raises UsageError for an unknown device, BundleError if the bundle holds nothing that the device
    runs, EnvironmentFault with the install command if no runtime is installed.
    """
    wanted = _candidates(device)
    usable = [entry for entry in wanted if not entry.role or entry.role in bundle.payloads]
    if not usable:
        raise BundleError(
            "{} holds {} for target {}, which device {!r} does not run".format(
                bundle.path, ", ".join(bundle.payloads), bundle.manifest.target.name, device
            ),
            "export the network for this machine: edgeseg export NETWORK --target cpu -o OUT.edgeseg",
        )
    for entry in usable:
        package = available_package(entry)
        if package:
            return entry, package
    raise EnvironmentFault(
        "no runtime for this bundle is installed; any of these would do: {}".format(
            ", ".join(package for entry in usable for package in entry.packages)
        ),
        " or ".join(entry.install for entry in usable),
    )


def _candidates(device: str) -> List[BackendEntry]:
    if device in ("auto", "cpu"):
        return [entry for entry in BACKENDS if entry.name != "fake"]
    named = [entry for entry in BACKENDS if entry.name == device]
    if not named:
        raise UsageError(
            "there is no device {!r}".format(device),
            "devices: auto, cpu, {}".format(", ".join(entry.name for entry in BACKENDS)),
        )
    return named


def open_backend(bundle: Bundle, device: str = "auto", threads: int = 1) -> Any:
    """Open `bundle` on a device; see `edgeseg.backends.base.Backend` for what comes back."""
    entry, package = choose_backend(bundle, device)
    return importlib.import_module(entry.module).Backend(bundle, package, threads)
