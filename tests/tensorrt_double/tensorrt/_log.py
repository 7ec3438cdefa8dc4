"""Loggers, and what TensorRT writes to them."""

import os
import time
from typing import Any

from . import _plan
from ._surface import TYPES, expect


def emit(logger: Any, severity: str, text: str) -> None:
    """Call the logger's `log`; as in TensorRT, an exception in it goes no further."""
    try:
        logger.log(getattr(TYPES["ILogger"], severity), text)
    except Exception as error:
        os.write(2, "[ERROR] Exception caught in log(): {}\n".format(error).encode("utf-8"))


def emit_error(logger: Any, where: str, text: str) -> None:
    """An error line: "4: [network.cpp::validate::1] Error Code 4: ..." before TensorRT 10, shorter since."""
    if _plan.major() < 10:
        text = "{}: [{}] {}".format(text[len("Error Code ")], where, text)
    else:
        text = "{}: {}".format(where.split("::")[1], text)
    emit(logger, "ERROR", text)


def require_gpu(logger: Any) -> None:
    """What createInferBuilder and createInferRuntime do where CUDA does not start."""
    expect(logger, "ILogger")
    if _plan.cuda_error():
        emit(logger, "ERROR", "CUDA initialization failure with error: {}".format(_plan.cuda_error()))
        raise TypeError("pybind11::init(): factory function returned nullptr")


class ILogger:
    def log(self, severity: Any, msg: str) -> None:
        os.write(2, b'[ERROR] Exception caught in log(): Tried to call pure virtual function "ILogger::log"\n')


class Logger:
    """The default logger, which writes to standard output."""

    def __init__(self, min_severity: Any = None) -> None:
        self.min_severity = expect(min_severity or TYPES["ILogger"].WARNING, TYPES["ILogger"].Severity)

    def log(self, severity: Any, msg: str) -> None:
        if severity <= self.min_severity:
            stamp = time.strftime("[%m/%d/%Y-%H:%M:%S]")
            os.write(1, "{} [TRT] [{}] {}\n".format(stamp, "FEWIV"[int(severity)], msg).encode("utf-8"))


BEHAVIOURS = {kind.__name__: kind for kind in (ILogger, Logger)}
