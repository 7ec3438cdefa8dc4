"""Choice and quiet import of Keras' backend. Light until `import_keras` is called."""

import importlib
import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from edgeseg.errors import EnvironmentFault

BACKENDS = ("tensorflow", "torch", "jax")  # in the order of preference

# TensorFlow writes these while it is imported, whatever TF_CPP_MIN_LOG_LEVEL says.
_NOTICES = r"^(WARNING: All log messages before absl::InitializeLog|[IW][0-9]{4} [0-9:.]+ )"


def choose_backend() -> str:
    """Name of the backend to use: $KERAS_BACKEND, else the first one installed; imports nothing.

    Raises EnvironmentFault, with the command that mends it, where the backend is not installed.
    """
    chosen = os.environ.get("KERAS_BACKEND")
    if chosen and chosen not in BACKENDS:
        raise EnvironmentFault(
            f"KERAS_BACKEND is {chosen!r}, not one of {', '.join(BACKENDS)}", "unset KERAS_BACKEND, or name one of them"
        )
    if chosen and not is_installed(chosen):
        raise EnvironmentFault(
            f"KERAS_BACKEND is {chosen}, which is not installed", f"pip install {chosen}, or unset KERAS_BACKEND"
        )
    installed = [name for name in BACKENDS if is_installed(name)]
    if not installed:
        raise EnvironmentFault(
            f"training needs one of {', '.join(BACKENDS)} as the backend of Keras",
            "pip install 'edgeseg[export]' (TensorFlow), or pip install torch",
        )
    return chosen or installed[0]


def check_packages(needed: Sequence[str] = ("keras", "cv2", "matplotlib")) -> None:
    """Raise EnvironmentFault, with the command that installs them, unless all are installed."""
    absent = [name for name in needed if not is_installed(name)]
    if absent:
        raise EnvironmentFault(f"training needs {', '.join(absent)}", "pip install 'edgeseg[train]'")


def import_keras() -> None:
    """Import Keras on the chosen backend without its notices on the terminal; errors still get there.

    Raises EnvironmentFault where Keras, another package of training or a backend is absent.
    """
    check_packages()
    os.environ["KERAS_BACKEND"] = choose_backend()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for name in ("tensorflow", "absl", "jax"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with _without_notices():
        importlib.import_module("keras")
        if is_installed("tensorflow"):
            importlib.import_module("tensorflow")  # as Keras does later, on any backend


def is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


@contextmanager
def _without_notices() -> Iterator[None]:
    """Filter what native code writes to stderr; in a process of its own, as an abort must still be seen."""
    try:
        grep = subprocess.Popen(["grep", "--line-buffered", "-vE", _NOTICES], stdin=subprocess.PIPE, stdout=2)
    except OSError:
        yield
        return
    assert grep.stdin is not None
    sys.stderr.flush()
    terminal = os.dup(2)
    os.dup2(grep.stdin.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(terminal, 2)
        os.close(terminal)
        grep.stdin.close()
        grep.wait()
