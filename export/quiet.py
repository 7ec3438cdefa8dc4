"""Silence for libraries that write to the terminal, without losing what they said."""

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what Python and C++ code writes to stdout and stderr off the terminal for a while.

    If the block raises, the last lines that were held back are shown on stderr. Not for threads.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile("w+", errors="replace") as held:
        try:
            for number in (1, 2):
                os.dup2(held.fileno(), number)
            with redirect_stdout(held), redirect_stderr(held), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except Exception:
            held.flush()
            held.seek(0)
            said = held.read()[-2000:]
            os.write(saved[1], said.encode())
            raise
        finally:
            for number, copy in enumerate(saved, start=1):
                os.dup2(copy, number)
                os.close(copy)


def import_tensorflow() -> None:
    """Import Keras on TensorFlow, whatever $KERAS_BACKEND says, without TensorFlow's greetings."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of each network that is traced anew
