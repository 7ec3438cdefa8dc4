"""OpenCV, FFmpeg, libpng and TensorFlow Lite write to stderr by themselves; ours says what happened and what to do."""

import importlib
import os
import threading
from contextlib import contextmanager
from typing import Any, Iterator

_LOCK = threading.Lock()  # two threads that swap the descriptor at once would lose stderr for good


@contextmanager
def quiet() -> Iterator[None]:
    """Send file descriptor 2 of the process to /dev/null for the length of the block.

    The one way that silences native code of every version: OpenCV 4.1 has no switch in Python.
    Keep the block short, since other threads are silenced too.
    """
    # Read by OpenCV when it first starts FFmpeg; -8 is AV_LOG_QUIET. It also covers later decoding errors.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    with _LOCK:
        try:
            saved = os.dup(2)
        except OSError:  # a service without stderr
            yield
            return
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(null)
            os.close(saved)


def import_runtime(package: str) -> Any:
    """Import an inference runtime that must not tell anybody: onnxruntime 1.31 has telemetry, on unless it is told.

    Source: https://github.com/microsoft/onnxruntime, docs/Privacy.md.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return importlib.import_module(package)
