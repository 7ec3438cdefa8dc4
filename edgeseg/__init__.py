"""edgeseg: semantic segmentation for robots, on Jetson, Coral or any CPU.

    import edgeseg

    with edgeseg.Segmenter() as segmenter, edgeseg.open_source("camera:0") as source:
        for frame in source:
            result = segmenter(frame.image)
            print(result.shares())  # {"Road": 0.31, "Building": 0.22, ...}
            free = result.mask == 3  # (H, W) of bool: where the road is

The names below are the public ones; everything else may change.
"""

from edgeseg.bundle import Bundle, read_bundle
from edgeseg.errors import (
    BundleError,
    CameraError,
    CheckFailed,
    EdgesegError,
    EnvironmentFault,
    UsageError,
)
from edgeseg.palette import UNLABELED, SegClass
from edgeseg.segmentation import Contour, Segmentation
from edgeseg.segmenter import Segmenter
from edgeseg.stream import open_source
from edgeseg.stream.frame import Frame
from edgeseg.version import __version__

__all__ = [
    "UNLABELED",
    "Bundle",
    "BundleError",
    "CameraError",
    "CheckFailed",
    "Contour",
    "EdgesegError",
    "EnvironmentFault",
    "Frame",
    "SegClass",
    "Segmentation",
    "Segmenter",
    "UsageError",
    "__version__",
    "open_source",
    "read_bundle",
]
