"""Label images are decoded to exactly the ids that their authors wrote, or refused with what is wrong."""

import os
import runpy
import struct

import numpy as np
import pytest

from edgeseg.datasets.labels import class_ids, mapped_colours
from edgeseg.datasets.pixels import read_colours, read_first_channel, read_ids, read_palette, unpacked
from edgeseg.errors import UsageError
from edgeseg.palette import CAMVID, voc_color
from edgeseg.stream.png import encode_palette_png, png_chunk

cv2 = pytest.importorskip("cv2", reason="labels are read with OpenCV")

ROAD, CAR, VOID = (128, 64, 128), (64, 0, 128), (0, 0, 0)
PALETTE = [voc_color(i) for i in range(256)]


def random_pixels(top, shape=(13, 21)):
    return np.random.RandomState(top).randint(0, top + 1, shape).astype(np.uint8)


@pytest.fixture
def indexed_png():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "png_files.py")
    return runpy.run_path(path)["indexed_png"]


@pytest.mark.parametrize("interlaced", [False, True], ids=["plain", "Adam7"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_indices_of_a_palette(tmp_path, capfd, indexed_png, bits, interlaced):
    pixels = random_pixels((1 << bits) - 1)
    path = tmp_path / "label.png"
    path.write_bytes(indexed_png(pixels, PALETTE[: 1 << bits], bits, interlaced))
    assert np.array_equal(read_ids(str(path)), pixels)
    assert [unpacked(code) for code in read_colours(str(path))[0]] == [PALETTE[i] for i in pixels[0]]
    assert read_palette(str(path)) == PALETTE[: 1 << bits]
    assert capfd.readouterr() == ("", "")


def test_our_own_masks_are_labels(tmp_path):
    mask = random_pixels(10)
    mask[0] = 255
    (tmp_path / "mask.png").write_bytes(encode_palette_png(mask, CAMVID))
    assert np.array_equal(class_ids(11)(str(tmp_path / "mask.png")), mask)
    colours = mapped_colours({c.color: c.id for c in CAMVID}, [VOID], "")
    assert np.array_equal(colours(str(tmp_path / "mask.png")), mask)


@pytest.mark.parametrize("damage", ["cut", "flipped", "no header", "huge"])
def test_damaged_png(tmp_path, capfd, fault, indexed_png, damage):
    whole = indexed_png(random_pixels(255, (60, 80)), PALETTE)
    data = {
        "cut": whole[: len(whole) // 2],
        "flipped": whole[:3000] + bytes(bytearray([whole[3000] ^ 1])) + whole[3001:],
        "no header": whole[:8] + whole[33:],
        "huge": whole[:8] + png_chunk(b"IHDR", struct.pack(">II", 1 << 30, 1 << 30) + whole[24:29]) + whole[33:],
    }[damage]
    (tmp_path / "label.png").write_bytes(data)
    for read in (read_ids, read_colours, read_first_channel):
        assert "label.png cannot be read as an image" in fault(read, str(tmp_path / "label.png"))
    assert capfd.readouterr().err == ""


def test_grey_image_with_three_channels(put):
    pixels = random_pixels(5)
    assert np.array_equal(read_ids(put("label.png", np.dstack([pixels] * 3))), pixels)


def test_jpeg_label(put, fault):
    path = put("label.jpg", 3)
    message = fault(class_ids(11), path)
    assert "label.jpg is a JPEG" in message
    os.rename(path, path[:-3] + "png")  # as people do
    assert "is a JPEG" in fault(mapped_colours({ROAD: 0}, [], ""), path[:-3] + "png")


def test_colours_become_ids(put):
    pixels = np.full((6, 8, 3), ROAD, np.uint8)
    pixels[:2] = CAR
    pixels[2, 0] = VOID
    label = mapped_colours({ROAD: 0, CAR: 254}, [VOID], "")(put("label.png", pixels))
    assert label.dtype == np.uint8
    assert np.array_equal(label[:2], np.full((2, 8), 254))
    assert label[2, 0] == 255
    assert np.all(label[3:] == 0)


def test_transparency_is_no_colour(tmp_path):
    pixels = np.zeros((6, 8, 4), np.uint8)
    pixels[..., :3] = ROAD[::-1]
    assert cv2.imwrite(str(tmp_path / "label.png"), pixels)
    assert np.all(mapped_colours({ROAD: 7}, [], "")(str(tmp_path / "label.png")) == 7)


def test_forgotten_colour_is_named_with_its_pixels_and_the_nearest(put, fault):
    pixels = np.full((6, 8, 3), ROAD, np.uint8)
    pixels[0, :3] = (60, 0, 120)
    message = fault(mapped_colours({ROAD: 0, CAR: 1}, [VOID], "list it in colours.txt"), put("label.png", pixels))
    assert "1 colour(s) that no class has, RGB (60, 0, 120) (3 pixels, nearest known (64, 0, 128))" in message
    assert "list it in colours.txt" in message
    assert "smooth" not in message


def test_smooth_borders_are_told_as_such(put, fault):
    half = np.where(np.arange(24)[None, :, None] < 12, np.array(ROAD), np.array(CAR)).repeat(20, axis=0)
    smooth = cv2.blur(half.astype(np.uint8), (19, 1))
    message = fault(mapped_colours({ROAD: 0, CAR: 1}, [], "list it"), put("label.png", smooth))
    assert "smooth borders" in message
    assert "nearest neighbour" in message


def test_values_of_a_first_channel_of_16_bits(tmp_path):
    pixels = np.zeros((6, 8, 3), np.uint16)
    pixels[..., 2] = 22  # OpenCV has BGR
    pixels[..., 1] = 40000
    assert cv2.imwrite(str(tmp_path / "label.png"), pixels)
    assert np.all(read_first_channel(str(tmp_path / "label.png")) == 22)
    with pytest.raises(UsageError):
        read_ids(str(tmp_path / "label.png"))


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_told_not_cut(put, fault, channels):
    """OpenCV would make 0 of every value below 256."""
    path = put("label.png", np.full((6, 8, 3)[: 2 + channels // 3], 3, np.uint16))
    for decoder in (class_ids(5), mapped_colours({ROAD: 0}, [VOID], "")):
        message = fault(decoder, path)
        assert "label.png has 16 bits per channel" in message
        assert "8 bits" in message
