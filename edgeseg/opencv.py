"""The one place that imports OpenCV, so that `import edgeseg` stays light and its absence is explained."""

from typing import Any

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
