"""The one place that imports OpenCV, so that `import edgeseg` stays light and its absence is explained."""

import contextlib
from typing import Any, Iterator, List

from edgeseg.errors import EnvironmentFault

OLDEST = 4  # 3 lacks functions that we call; Debian 10 and Mendel have it


def load_cv2() -> Any:
    """Return the cv2 module. Raises EnvironmentFault with the command that installs it, or a newer one."""
    try:
        import cv2
    except ImportError as error:
        raise EnvironmentFault(
            "OpenCV cannot be imported ({})".format(error),
            "on a Jetson use the OpenCV of JetPack (python3 -m venv --system-site-packages); "
            "elsewhere: pip install 'edgeseg[camera]'",
        )
    if int(cv2.__version__.split(".")[0]) < OLDEST:
        raise EnvironmentFault(
            "OpenCV {} is too old: edgeseg needs {} or later".format(cv2.__version__, OLDEST),
            "pip install 'edgeseg[camera]'",
        )
    return cv2


def opencv_features(build: str) -> List[str]:
    """The parts of the report of `cv2.getBuildInformation` that matter here and say YES."""
    features = []
    for name in ("FFMPEG", "GStreamer", "v4l/v4l2", "GTK+", "QT"):
        lines = [line for line in build.splitlines() if line.strip().upper().startswith(name.upper() + ":")]
        if any("YES" in line.upper() for line in lines):
            features.append(name)
    return features


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
