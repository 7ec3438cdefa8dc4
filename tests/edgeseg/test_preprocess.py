"""What reaches the input tensor: the resized frame, in the network's colours, type and range."""

from typing import Any, List

import numpy as np
import pytest

from edgeseg.manifest import InputInfo
from edgeseg.preprocess import InputWriter, resize

pytest.importorskip("cv2")

SIZE = (32, 48)
ONE, ZERO = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
CASES = [
    ("uint8", ONE, ZERO),
    ("int8", ONE, (-128.0, -128.0, -128.0)),
    ("int8", (0.5, 0.6, 0.7), (-100.0, -90.0, -80.0)),
    ("uint8", (1.2, 1.0, 0.8), (-20.0, 0.0, 30.0)),
    ("int8", ONE, ZERO),
    ("float32", ONE, ZERO),
    ("float32", (1 / 127.5,) * 3, (-1.0,) * 3),
    ("float32", (0.017, 0.0175, 0.0174), (-2.1, -2.0, -1.8)),
]


def frame(height, width):
    return np.random.RandomState(height).randint(0, 256, (height, width, 3)).astype(np.uint8)


def written(info, image, color="rgb"):
    tensor = np.full(info.shape, 77, info.dtype)
    InputWriter(info, SIZE).write(image, color, tensor)
    return tensor[0] if info.layout == "nhwc" else tensor[0].transpose(1, 2, 0)


def expected(pixels, dtype, scale, offset):
    values = pixels * np.array(scale) + np.array(offset)
    if dtype == "float32":
        return values
    limits = np.iinfo(dtype)
    return np.rint(values).clip(limits.min, limits.max)


@pytest.mark.parametrize("dtype, scale, offset", CASES)
@pytest.mark.parametrize("layout, shape", [("nhwc", (1,) + SIZE + (3,)), ("nchw", (1, 3) + SIZE)])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_every_type_and_range(dtype, scale, offset, layout, shape, color):
    image = frame(50, 70)
    found = written(InputInfo(shape, dtype, layout, "rgb", scale, offset, "stretch"), image, color)
    pixels = resize(image if color == "rgb" else np.ascontiguousarray(image[:, :, ::-1]), SIZE)
    assert found.dtype == dtype
    assert np.abs(found - expected(pixels.astype(np.float64), dtype, scale, offset)).max() < 1e-4


@pytest.mark.parametrize("dtype, scale, offset", CASES)
def test_what_a_letterbox_leaves_is_grey(dtype, scale, offset):
    info = InputInfo((1,) + SIZE + (3,), dtype, "nhwc", "rgb", scale, offset, "letterbox")
    writer = InputWriter(info, SIZE)
    assert writer.covered((16, 48)) == (16, 48)
    found = written(info, frame(16, 48))
    grey = expected(np.full((16, 48, 3), 128.0), dtype, scale, offset)
    assert np.abs(found[16:] - grey).max() < 1e-4 and np.abs(found[:16] - grey[0, 0]).max() > 0.5


def test_bytes_go_straight_into_the_tensor(monkeypatch):
    """The frame is resized into the tensor's own memory: nothing is copied after that."""
    for dtype, offset in (("uint8", ZERO), ("int8", (-128.0,) * 3)):
        tensor = np.zeros((1,) + SIZE + (3,), dtype)
        targets: List[Any] = []

        def spy(image, size, out=None, targets=targets):
            targets.append(out)
            return resize(image, size, out)

        monkeypatch.setattr("edgeseg.preprocess.resize", spy)
        InputWriter(InputInfo(tensor.shape, dtype, "nhwc", "rgb", ONE, offset, "stretch"), SIZE).write(
            frame(50, 70), "rgb", tensor
        )
        assert len(targets) == 1 and np.shares_memory(targets[0], tensor)
