"""NVIDIA TensorRT on a Jetson or another NVIDIA GPU: the engine of a bundle, built at its first run."""

from typing import Any, Dict, Tuple

import numpy as np

from edgeseg.backends.base import BaseBackend
from edgeseg.bundle import Bundle
from edgeseg.trt.provide import Request, open_session, provide_engine


class Backend(BaseBackend):
    """Runs the `onnx` payload as an engine. Its calls may come from any thread, one at a time."""

    name = "tensorrt"
    instances = 2  # the GPU computes one frame while the next is written

    def _open(self, bundle: Bundle) -> Dict[str, Tuple[Tuple[int, ...], str]]:
        self._session = open_session()
        try:
            self._engine = provide_engine(self._session, bundle, Request()).engine
        except BaseException:
            self._session.close()
            raise
        # On TX1, Nano and TX2 the processor does not cache memory that the GPU sees, so each value read costs a trip to
        # DRAM: it is read once, in order. https://docs.nvidia.com/cuda/cuda-for-tegra-appnote/ ("Pinned Memory")
        self._output = np.empty_like(self._engine.output)
        return {
            "input": (self._engine.input_info.shape, self._engine.input_info.dtype),
            "output": (self._engine.output_info.shape, self._engine.output_info.dtype),
        }

    def input(self) -> Any:
        if self._engine.input is None:
            raise RuntimeError("this Segmenter is closed")
        return self._engine.input

    def infer(self) -> Any:
        self._engine.execute()
        np.copyto(self._output, self._engine.output)
        return self._output

    def close(self) -> None:
        self._engine.close()
        self._session.close()

    @property
    def description(self) -> str:
        """For people: TensorRT's version, the GPU, the precision and the DLA core."""
        target = self.manifest.target
        dla = "" if target.dla is None else ", DLA {}".format(target.dla)
        return "{} (TensorRT {}, {}, {}{})".format(
            self.name, self._session.trt.__version__, self._session.memory.gpu.name, target.precision, dla
        )
