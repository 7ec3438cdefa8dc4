"""A backend without a network: the class whose colour is nearest. For tests of robot software.

Ships with edgeseg so that everything runs with no runtime and no hardware. Feed it masks painted in the
class colours and it gives the classes back.
"""

from typing import Any, Dict, Tuple

import numpy as np

from edgeseg.backends.base import BaseBackend
from edgeseg.bundle import Bundle


class Backend(BaseBackend):
    """Logits are minus the squared distance to each class colour at the middle of each cell, class ids the nearest."""

    name = "fake"

    def _open(self, bundle: Bundle) -> Dict[str, Tuple[Tuple[int, ...], str]]:
        info, output = self.manifest.input, self.manifest.output
        self._input = np.zeros(info.shape, info.dtype)
        self._output = np.zeros(output.shape, output.dtype)
        colors = np.array([c.color for c in self.manifest.classes], np.float32)
        self._colors = colors[:, ::-1] if info.color == "bgr" else colors
        return {"input": (tuple(info.shape), info.dtype), "output": (tuple(output.shape), output.dtype)}

    def input(self) -> Any:
        return self._input

    def infer(self) -> Any:
        info, output = self.manifest.input, self.manifest.output
        image = self._input[0] if info.layout == "nhwc" else self._input[0].transpose(1, 2, 0)
        network = self.manifest.network
        rows, columns = (
            np.minimum(np.arange(count) * network.stride + network.stride // 2, side - 1)
            for count, side in zip(network.cells, network.imgsz)
        )
        pixels = (image[rows][:, columns].astype(np.float32) - info.offset) / info.scale
        distance = ((pixels[:, :, None, :] - self._colors) ** 2).sum(axis=-1)
        if output.kind == "classes":
            self._output[:] = distance.argmin(axis=-1).reshape(output.shape)
            return self._output
        logits = -distance / (3 * 255.0**2)  # -1..0
        if output.dtype == "uint8":
            logits = logits * 255 + 255
        elif output.dtype == "int8":
            logits = logits * 255 + 127
        result = logits if output.layout == "nhwc" else logits.transpose(2, 0, 1)
        np.copyto(self._output[0], np.rint(result) if output.dtype != "float32" else result, casting="unsafe")
        return self._output
