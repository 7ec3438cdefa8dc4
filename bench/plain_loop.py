"""The loop that everybody writes first, to compare with: grab, resize, invoke, argmax, draw, write."""

import importlib
import os
import time
from typing import Any

import numpy as np

from edgeseg.backends import BACKENDS, available_package
from edgeseg.backends.tflite import INTERPRETER_MODULES
from edgeseg.bundle import Bundle
from edgeseg.errors import EnvironmentFault
from edgeseg.opencv import load_cv2


def plain_loop_fps(bundle: Bundle, video: str, threads: int, folder: str) -> float:
    """FPS of a plain loop of OpenCV and LiteRT, one step after another, over a video file.

    Raises EnvironmentFault where the bundle or this machine has no LiteRT.
    """
    cv2 = load_cv2()
    interpreter = _interpreter(bundle, threads)
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    height, width = bundle.manifest.network.imgsz
    colors = np.array([c.color[::-1] for c in bundle.manifest.classes], np.uint8)
    capture = cv2.VideoCapture(video)
    size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    writer = cv2.VideoWriter(os.path.join(folder, "plain.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 30.0, size)
    frames = 0
    start = time.perf_counter()
    while True:
        ok, frame = capture.read()
        if not ok:
            break
        rgb = cv2.cvtColor(cv2.resize(frame, (width, height)), cv2.COLOR_BGR2RGB)
        interpreter.set_tensor(source["index"], rgb[None])
        interpreter.invoke()
        logits = interpreter.get_tensor(sink["index"])[0].astype(np.float32)
        mask = cv2.resize(logits, size).argmax(axis=-1)
        writer.write(cv2.addWeighted(frame, 0.5, colors[mask], 0.5, 0))
        frames += 1
    writer.release()
    capture.release()
    return frames / (time.perf_counter() - start)


def _interpreter(bundle: Bundle, threads: int) -> Any:
    package = available_package(BACKENDS[0])
    is_plain = bundle.manifest.input.dtype == "uint8" and bundle.manifest.output.kind == "logits"
    if package is None or not is_plain or "tflite" not in bundle.payloads:
        raise EnvironmentFault("the plain loop needs LiteRT and an int8 bundle for it", BACKENDS[0].install)
    module = importlib.import_module(INTERPRETER_MODULES[package])
    interpreter = module.Interpreter(model_content=bundle.payloads["tflite"], num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter
