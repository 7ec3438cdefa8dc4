"""The contract of a backend: one screen. Checks live here, a runtime's file has only its three verbs."""

from typing import Any, Dict, Tuple

import numpy as np

from edgeseg.bundle import Bundle
from edgeseg.errors import BundleError

Array = Any


class BaseBackend:
    """Runs one network: fill `input()`, then `infer()`.

    A subclass sets `name` and writes `_open` (make the runtime, return what it found the tensors to
    be), `input`, `infer` and, where there is something to release, `close`.
    """

    name = ""
    instances: int = 0  # how many at a time fill the machine; 0: one for each core

    def __init__(self, bundle: Bundle, package: str, threads: int) -> None:
        self.manifest = bundle.manifest
        self.package = package
        self.threads = threads
        found = self._open(bundle)
        for part, tensor in (("input", self.manifest.input), ("output", self.manifest.output)):
            declared = (tuple(tensor.shape), tensor.dtype)
            if found[part] != declared:
                self.close()
                raise BundleError(
                    "the {} tensor of {} is {} {}, its manifest says {} {}".format(
                        part, bundle.path, *(found[part] + declared)
                    ),
                    "export the network again",
                )

    def _open(self, bundle: Bundle) -> Dict[str, Tuple[Tuple[int, ...], str]]:
        """Load the payload; return {"input": (shape, dtype), "output": (shape, dtype)}."""
        raise TypeError("a backend must say how it opens a bundle")

    def input(self) -> Array:
        """The input tensor to write into, in the manifest's shape. Let go of it before `infer`."""
        raise TypeError("a backend must give its input tensor")

    def infer(self) -> Array:
        """Run the network; the output tensor. Let go of it before the next call."""
        raise TypeError("a backend must infer")

    def close(self) -> None:
        """Release the runtime."""

    @property
    def description(self) -> str:
        """For people: the backend, the package behind it and its version."""
        version = getattr(__import__(self.package), "__version__", "")
        return "{} ({} {}, {} thread{})".format(
            self.name, self.package, version, self.threads, "" if self.threads == 1 else "s"
        )


def dtype_name(dtype: Any) -> str:
    return np.dtype(dtype).name
