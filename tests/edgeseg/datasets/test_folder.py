"""Plain folders of images and labels as people have them."""

import os

import numpy as np
import pytest

from edgeseg.datasets import open_dataset
from edgeseg.datasets.plain.folder import open_folder
from edgeseg.palette import SegClass
from edgeseg.stream.png import encode_palette_png

cv2 = pytest.importorskip("cv2", reason="datasets are read with OpenCV")

IMAGE = (10, 20, 30)
ROAD, CAR, BLACK = (128, 64, 128), (64, 0, 128), (0, 0, 0)


@pytest.fixture
def data(put, tmp_path):
    """Function (label, names="ab", classes=None) -> folder with images/NAME.jpg, labels/NAME.png and classes.txt."""

    def make(label, names=("a", "b"), classes=None):
        for name in names:
            put("images/{}.jpg".format(name), IMAGE)
            put("labels/{}.png".format(name), label)
        if classes is not None:
            (tmp_path / "classes.txt").write_text(classes)
        return str(tmp_path)

    return make


def halves(left, right):
    """6x8 pixels: values, or colours."""
    left, right = np.array(left, np.uint8), np.array(right, np.uint8)
    return np.array([[left] * 4 + [right] * 4] * 6)


def names(dataset):
    return [c.name for c in dataset.classes]


def corners(dataset, split="train"):
    label = dataset.read(dataset.pairs(split)[0])[1]
    return [int(label[0, 0]), int(label[0, -1])]


def splits_of(dataset):
    return {split: [pair.name for pair in pairs] for split, pairs in dataset.splits.items()}


def test_ids_and_names(data):
    root = data(halves(1, 255), classes="road\ncar\n")
    dataset = open_dataset(root)
    assert dataset.name == os.path.basename(root)
    assert names(dataset) == ["road", "car"]
    assert corners(dataset) == [1, 255]
    assert splits_of(dataset) == {"train": ["a"], "val": ["b"]}


def test_colours_of_a_colour_map(data, tmp_path):
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nroad,128,64,128\nvoid,0,0,0\ncar,64,0,128\n")
    dataset = open_dataset(data(halves(CAR, BLACK)))
    assert dataset.classes == (SegClass(0, "road", ROAD), SegClass(1, "car", CAR))
    assert corners(dataset) == [1, 255]


def test_palette_of_the_labels(data, put, tmp_path):
    """A palette colours classes that have names only, and is what the colours of a colour map mean."""
    root = data(0, classes="sky\nroad\n")
    for name in "ab":
        png = encode_palette_png(halves(0, 1), [SegClass(0, "", CAR), SegClass(1, "", ROAD)])
        (tmp_path / "labels" / (name + ".png")).write_bytes(png)
    assert open_dataset(root).classes == (SegClass(0, "sky", CAR), SegClass(1, "road", ROAD))
    (tmp_path / "classes.txt").write_text("128 64 128 road\n64 0 128 car\n")
    assert corners(open_dataset(root)) == [1, 0]


def test_ids_beside_a_colour_map(data, tmp_path):
    """The colours of the file are for display then."""
    (tmp_path / "labelmap.txt").write_text("void:0,0,0::\nroad:128,64,128::\ncar:64,0,128::\n")
    dataset = open_dataset(data(halves(0, 2)))
    assert corners(dataset) == [255, 1]
    assert dataset.classes[1].color == CAR


def test_first_labels_of_one_value_do_not_mislead(data, put, tmp_path):
    """0 may be an id or black; one label in 20 tells."""
    (tmp_path / "labelmap.txt").write_text("nothing:0,0,0::\ncar:64,0,128::\n")
    root = data(0, names=["{:02d}".format(n) for n in range(20)])
    put("labels/07.png", halves(0, 1))
    dataset = open_dataset(root)
    assert dataset.read(dataset.pairs("train")[7])[1][0, -1] == 1


def test_binary_masks(data, put, tmp_path, fault):
    root = data(halves(0, 255), classes="background\nroad\n")
    message = fault(open_dataset, root)
    assert "hold 0 and 255 only, and 255 means unlabelled" in message
    assert "255 255 255 NAME" in message
    (tmp_path / "classes.txt").write_text("0 0 0 background\n255 255 255 road\n")  # the fix
    assert corners(open_dataset(root)) == [0, 1]


def test_classes_of_a_palette(data, tmp_path):
    root = data(0)
    for name in "ab":
        png = encode_palette_png(halves(2, 255), [SegClass(i, "", (i, 7, 9)) for i in range(21)])
        (tmp_path / "labels" / (name + ".png")).write_bytes(png)
    dataset = open_dataset(root)
    assert dataset.classes == tuple(SegClass(i, "class{}".format(i), (i, 7, 9)) for i in range(3))
    assert corners(dataset) == [2, 255]


def test_classes_of_colours(data):
    dataset = open_dataset(data(halves(ROAD, CAR)))
    assert dataset.classes == (SegClass(0, "#400080", CAR), SegClass(1, "#804080", ROAD))
    assert corners(dataset) == [1, 0]


def test_classes_of_ids(data):
    dataset = open_dataset(data(halves(0, 3)))
    assert names(dataset) == ["class0", "class1", "class2", "class3"]
    assert corners(dataset) == [0, 3]


@pytest.mark.parametrize(
    "label, problem",
    [
        (halves(0, 128), "hold the values 0, 128, which do not look like class ids"),
        (halves(0, 255), "hold 0 and 255 only"),
        (np.random.RandomState(0).randint(0, 255, (6, 80, 3)).astype(np.uint8), "too many for classes"),
    ],
    ids=["shades", "binary", "smooth"],
)
def test_labels_that_tell_no_classes(data, fault, label, problem):
    message = fault(open_dataset, data(label))
    assert problem in message
    assert "classes.txt" in message


def test_coloured_labels_with_names_only(data, fault):
    message = fault(open_dataset, data(halves(ROAD, CAR), classes="road\ncar\n"))
    assert "are in colours" in message
    assert "64 0 128, 128 64 128" in message  # ready to be copied


def test_value_without_name(data, put, fault):
    root = data(1, classes="road\ncar\n")
    put("labels/a.png", halves(2, 1))
    dataset = open_dataset(root)
    message = fault(dataset.read, dataset.pairs("train")[0])
    assert "a.png holds value(s) 2 outside the 2 classes (24 pixels)" in message
    assert "classes.txt (its values are 0..1" in message
    assert "where 0 is the background, name it in the first line" in message


def test_sizes_that_differ(data, put, fault):
    root = data(1, classes="road\ncar\n")
    put("labels/a.png", np.zeros((8, 6), np.uint8))
    dataset = open_dataset(root)
    assert "is 8x6 but its label" in fault(dataset.read, dataset.pairs("train")[0])


@pytest.mark.parametrize(
    "image, label",
    [
        ("images/{}.jpg", "masks/{}_mask.png"),
        ("Images/{}.JPG", "Labels/{}.png"),
        ("images/{}.jpg", "labels/labels/{}.png"),
        ("images/drive1/{}.jpg", "annotations/drive1/{}.png"),
        ("images/cam/{}.jpg", "labels/{}_L.png"),
    ],
)
def test_where_labels_lie(put, tmp_path, image, label):
    for name in ("frame9", "frame10"):
        put(image.format(name), IMAGE)
        put(label.format(name), 1)
    put(label.split("/")[0] + "/.hidden/x.png")
    splits = splits_of(open_dataset(str(tmp_path)))
    assert splits == {"train": ["frame9"], "val": ["frame10"]}  # in natural order


@pytest.mark.parametrize(
    "image, label",
    [
        ("images/{}/{}.jpg", "labels/{}/{}.png"),
        ("{}/images/{}.jpg", "{}/labels/{}.png"),
        ("{}/{}.jpg", "{}_labels/{}.png"),
    ],
)
@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_folders_of_splits(put, tmp_path, image, label, val):
    for split, name in (("train", "a"), (val, "a"), ("test", "c")):
        put(image.format(split, name), IMAGE)
        put(label.format(split, name), 0)
    assert splits_of(open_dataset(str(tmp_path))) == {"train": ["a"], "val": ["a"], "test": ["c"]}


@pytest.mark.parametrize("folder", [".", "splits", "ImageSets/Segmentation"])
def test_lists_of_splits(data, put, tmp_path, folder):
    root = data(1, names="abcd", classes="x\ny")
    put("images/without_label.jpg", IMAGE)
    os.makedirs(os.path.join(root, folder), exist_ok=True)
    for name, text in (("train.txt", "a\nd\n"), ("val.txt", "images/b.jpg labels/b.png\n")):
        (tmp_path / folder / name).write_text(text)
    assert splits_of(open_dataset(root)) == {"train": ["a", "d"], "val": ["b"]}


def test_image_outside_the_splits(data, put, fault):
    put("images/train/t.jpg", IMAGE)
    put("labels/train/t.png", 1)
    message = fault(open_dataset, data(1, classes="x\ny"))
    assert "2 image(s)" in message
    assert "in no split" in message


def test_images_without_labels(data, put, fault):
    image = put("images/c.jpg", IMAGE)
    message = fault(open_dataset, data(1, classes="x\ny"))
    assert "image(s) have no label: " + image in message
    assert "train.txt" in message


def test_polygons_are_no_labels(put, tmp_path, fault):
    put("images/a.jpg", IMAGE)
    put("labels/a.txt")
    message = fault(open_dataset, str(tmp_path))
    assert "holds no image files; it holds: a.txt" in message
    assert "polygons" in message


def test_masks_beside_polygons(put, tmp_path):
    put("images/a.jpg", IMAGE)
    put("labels/a.txt")
    put("masks/a.png", 1)
    assert splits_of(open_dataset(str(tmp_path))) == {"train": ["a"]}


def test_jpeg_labels(put, tmp_path, fault):
    put("images/a.jpg", IMAGE)
    put("labels/a.jpg", 1)
    assert "is a JPEG" in fault(open_dataset, str(tmp_path))


def test_a_damaged_label_is_named_when_it_is_read(data, put, fault):
    root = data(1, classes="x\ny")
    put("labels/a.png")
    dataset = open_dataset(root)
    assert "a.png" in fault(dataset.read, dataset.pairs("train")[0])


def test_other_folders(put, tmp_path):
    put("images/a.jpg", IMAGE)
    assert open_folder(str(tmp_path)) is None


def test_the_folders_of_camvid_with_other_classes(put, tmp_path):
    for split in ("train", "val"):
        put("{}/a.png".format(split), IMAGE)
        put("{}annot/a.png".format(split), 1)
    (tmp_path / "classes.txt").write_text("road\ncar\n")
    assert names(open_dataset(str(tmp_path))) == ["road", "car"]
