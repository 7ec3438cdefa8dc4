"""The one place that imports OpenCV, so that `import edgeseg` stays light and its absence is explained."""

import contextlib
from typing import Any, Iterator

from edgeseg.errors import EnvironmentFault


def load_cv2() -> Any:
    """Return the cv2 module. Raises EnvironmentFault with the command that installs it."""
    try:
        import cv2
    except ImportError as error:
        raise EnvironmentFault(
            "OpenCV cannot be imported ({})".format(error),
            "on a Jetson use the OpenCV of JetPack (python3 -m venv --system-site-packages); "
            "elsewhere: pip install 'edgeseg[camera]'",
        )
    return cv2


@contextlib.contextmanager
def single_threaded_opencv() -> Iterator[None]:
    """Keep OpenCV's thread pool out of the way of a pipeline that fills the cores itself."""
    cv2 = load_cv2()
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
