"""What tests of dataset layouts may use: files of a miniature dataset, and the message of a fault in it."""

import os

import numpy as np
import pytest

from edgeseg.errors import UsageError


@pytest.fixture
def put(tmp_path):
    """Function (path, pixels=None) -> path below tmp_path of an image file that it writes; None: an empty file.

    A number stands for 6x8 pixels of that value, three numbers for pixels of that RGB colour.
    """
    cv2 = pytest.importorskip("cv2", reason="datasets are read with OpenCV")

    def write(path, pixels=None):
        path = os.path.join(str(tmp_path), *path.split("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if pixels is None:
            open(path, "wb").close()
            return path
        if isinstance(pixels, int):
            pixels = np.full((6, 8), pixels, np.uint8)
        elif isinstance(pixels, tuple):
            pixels = np.full((6, 8, 3), pixels, np.uint8)
        if pixels.ndim == 3:
            pixels = pixels[..., ::-1]  # OpenCV has BGR
        assert cv2.imwrite(path, pixels)
        return path

    return write


@pytest.fixture
def fault():
    """Function (call, *args) -> message and fix of the UsageError that the call has to raise."""

    def message(call, *args):
        with pytest.raises(UsageError) as caught:
            call(*args)
        assert caught.value.fix
        return str(caught.value)

    return message
