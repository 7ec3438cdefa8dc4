"""Silence for native libraries that write to the terminal, without losing what they said."""

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Keep stdout and stderr, Python's and the C++ libraries', off the terminal for a while.

    If the block raises, the last lines that were held back are shown on stderr. Not for threads.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as held, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        failed = False
        for number in (1, 2):
            os.dup2(held.fileno(), number)
        try:
            yield
        except Exception:
            failed = True
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in enumerate(saved, start=1):
                os.dup2(copy, number)
                os.close(copy)
            if failed:
                held.seek(0)
                print(held.read().decode("utf-8", "replace")[-2000:], file=sys.stderr)


def import_tensorflow() -> None:
    """Import Keras on TensorFlow, whatever $KERAS_BACKEND says, without TensorFlow's greetings."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401
