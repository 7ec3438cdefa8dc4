"""What camera pixels become in someone else's input tensor: read from the file, told, or asked for."""

import numpy as np
import pytest

from edgeseg.errors import UsageError
from edgeseg.importing.metadata import Metadata
from edgeseg.importing.pixels import PixelOptions, describe_input
from edgeseg.preprocess import InputWriter
from edgeseg.tflite.model import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def tensor(kind, scale=None, zero_point=0):
    shape = (1, 16, 24, 3)
    return Tensor("image", shape, shape, kind, (scale,) if scale else (), (zero_point,) if scale else (), 0)


UNSAID, NONE = PixelOptions(), Metadata()


def values(source, options=UNSAID, metadata=NONE, size=(16, 24)):
    """What reaches the tensor for an image with every pixel value in each channel, and that image in RGB."""
    pytest.importorskip("cv2")
    info, _ = describe_input(source, options, metadata)
    image = np.random.RandomState(0).randint(0, 256, size + (3,)).astype(np.uint8)
    image[0, 0], image[0, 1] = 0, 255
    found = np.empty(info.shape, info.dtype)
    InputWriter(info, size).write(image, "rgb", found)
    return found[0], image


@pytest.mark.parametrize("scale, zero_point", [(1 / 255, 0), (2 / 255, 127), (1 / 128, 128), (1.0, 0)])
def test_quantised_inputs_of_a_usual_range_take_pixels(scale, zero_point):
    found, image = values(tensor("uint8", scale, zero_point))
    assert np.array_equal(found, image)
    found, image = values(tensor("int8", scale, zero_point - 128))
    assert np.array_equal(found, image.astype(np.int16) - 128) and found.dtype == np.int8


def test_integers_without_quantisation_take_pixels():
    found, image = values(tensor("uint8"))
    assert np.array_equal(found, image)
    found, image = values(tensor("int8"))
    assert np.array_equal(found, image.astype(np.int16) - 128)


@pytest.mark.parametrize("kind, lowest", [("uint8", 0), ("int8", -128)])
def test_quantised_inputs_of_normalised_images(kind, lowest):
    scale, zero_point = 0.0187, 114 + lowest  # -2.13 to 2.64
    with pytest.raises(UsageError, match=r"would mean -2\.13 to 2\.64") as caught:
        describe_input(tensor(kind, scale, zero_point), PixelOptions(), Metadata())
    assert "--mean R G B --std R G B" in caught.value.fix
    found, image = values(tensor(kind, scale, zero_point), PixelOptions(mean=MEAN, std=STD))
    real = (image / 255 - np.array(MEAN)) / np.array(STD)
    expected = np.rint(real / scale + zero_point).clip(lowest, lowest + 255)
    assert np.abs(found - expected).max() <= 1 and (found != expected).mean() < 0.01
    assert len(np.unique(found)) > 240


def test_what_to_say_to_take_pixels_as_they_are():
    """The error names the range that changes nothing."""
    with pytest.raises(UsageError) as caught:
        describe_input(tensor("uint8", 0.0187, 114), PixelOptions(), Metadata())
    low, high = caught.value.fix.split("--input-range ")[-1].split()[:2]
    found, image = values(tensor("uint8", 0.0187, 114), PixelOptions((float(low), float(high))))
    assert np.array_equal(found, image)


@pytest.mark.parametrize(
    "options, expected",
    [
        (PixelOptions((0, 1)), lambda x: x / 255),
        (PixelOptions((-1, 1)), lambda x: x / 127.5 - 1),
        (PixelOptions((0, 255)), lambda x: x),
        (PixelOptions(mean=MEAN, std=STD), lambda x: (x / 255 - np.array(MEAN)) / np.array(STD)),
        (PixelOptions((0, 255), mean=(123.0, 117.0, 104.0)), lambda x: x - np.array([123, 117, 104])),
        (PixelOptions((-1, 1), std=(0.5, 1.0, 2.0)), lambda x: (x / 127.5 - 1) / np.array([0.5, 1, 2])),
    ],
)
def test_float_inputs(options, expected):
    found, image = values(tensor("float32"), options)
    assert found.dtype == np.float32
    assert np.abs(found - expected(image.astype(np.float64))).max() < 1e-4


def test_float_inputs_must_be_told():
    with pytest.raises(UsageError, match="nothing in the file says which values") as caught:
        describe_input(tensor("float32"), PixelOptions(), Metadata())
    for option in ("--input-range 0 1", "--input-range -1 1", "--mean"):
        assert option in caught.value.fix


def test_metadata_says_it():
    found, image = values(tensor("float32"), metadata=Metadata(mean=(127.5,), std=(127.5,)))
    assert np.abs(found - (image / 127.5 - 1)).max() < 1e-5
    three = Metadata(mean=(123.0, 117.0, 104.0), std=(58.0, 57.0, 57.5))
    found, image = values(tensor("float32"), metadata=three)
    assert np.abs(found - (image - np.array(three.mean)) / np.array(three.std)).max() < 1e-4
    found, image = values(tensor("float32"), PixelOptions((0, 1)), three)  # the user knows better
    assert np.abs(found - image / 255).max() < 1e-5
    found, image = values(tensor("uint8", 1 / 128, 128), metadata=Metadata(mean=(127.5,), std=(127.5,)))
    assert np.array_equal(found, image)


def test_other_colour_order():
    info, _ = describe_input(tensor("uint8"), PixelOptions(color="bgr"), Metadata())
    assert info.color == "bgr"


@pytest.mark.parametrize(
    "options, words",
    [
        (PixelOptions((1, 0)), "no extent"),
        (PixelOptions((0, 1), std=(1.0, 0.0, 1.0)), "no extent"),
        (PixelOptions(mean=(123.0, 117.0, 104.0)), "lies outside the pixels, 0 to 1"),
    ],
)
def test_options_that_make_no_sense(options, words):
    with pytest.raises(UsageError, match=words):
        describe_input(tensor("float32"), options, Metadata())
