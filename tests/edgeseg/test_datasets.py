"""A labelled folder is read as it is on disk, and every fault in it is named."""

import os
import shutil

import numpy as np
import pytest

from edgeseg.datasets import open_dataset
from edgeseg.datasets.files import read_rgb
from edgeseg.datasets.labels import class_ids
from edgeseg.errors import UsageError

cv2 = pytest.importorskip("cv2", reason="datasets are read with OpenCV")


def write(path, pixels):
    os.makedirs(os.path.dirname(str(path)), exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


@pytest.fixture
def camvid(tmp_path):
    """Folder with two training pairs and one validation pair of 8x6 pixels."""
    for split, name in (("train", "b"), ("train", "a"), ("val", "c")):
        image = np.zeros((6, 8, 3), np.uint8)
        image[:, :4] = (10, 20, 30)  # blue, green, red
        label = np.full((6, 8), 3, np.uint8)
        label[0] = 11
        write(tmp_path / split / (name + ".png"), image)
        write(tmp_path / (split + "annot") / (name + ".png"), label)
    return tmp_path


def fault(call, *args):
    with pytest.raises(UsageError) as caught:
        call(*args)
    assert caught.value.fix
    return str(caught.value)


def test_splits_classes_and_pixels(camvid):
    dataset = open_dataset(str(camvid))
    assert [c.name for c in dataset.classes][:4] == ["Sky", "Building", "Pole", "Road"]
    assert {split: [p.name for p in pairs] for split, pairs in dataset.splits.items()} == {
        "train": ["a", "b"],
        "val": ["c"],
    }
    image, label = dataset.read(dataset.pairs("train")[0])
    assert image.dtype == label.dtype == np.uint8
    assert image[2, 2].tolist() == [30, 20, 10]  # RGB
    assert label[0].tolist() == [255] * 8  # void
    assert np.all(label[1:] == 3)


def test_other_files_are_no_images(camvid):
    for name in ("._a.png", "notes.txt", "Thumbs.db"):
        (camvid / "train" / name).write_bytes(b"x")
    assert len(open_dataset(str(camvid)).pairs("train")) == 2


def test_missing_folder(tmp_path):
    assert "nowhere does not exist" in fault(open_dataset, str(tmp_path / "nowhere"))


def test_folder_of_another_layout(tmp_path):
    (tmp_path / "images").mkdir()
    message = fault(open_dataset, str(tmp_path))
    assert "holds: images" in message
    assert "trainannot" in message  # the layouts that are known


def test_unknown_split_names_those_that_exist(camvid):
    message = fault(open_dataset(str(camvid)).pairs, "test")
    assert "'test'" in message
    assert "train, val" in message


def test_image_without_label(camvid):
    write(camvid / "train" / "lonely.png", np.zeros((6, 8, 3), np.uint8))
    assert "1 of 3 image(s) have no label: {}".format(camvid / "train" / "lonely.png") in fault(
        open_dataset, str(camvid)
    )


def test_label_without_image(camvid):
    os.unlink(str(camvid / "val" / "c.png"))
    assert "1 of 1 label(s) have no image: {}".format(camvid / "valannot" / "c.png") in fault(open_dataset, str(camvid))


def test_two_images_of_one_name(camvid):
    write(camvid / "train" / "a.jpg", np.zeros((6, 8, 3), np.uint8))
    assert "same base name" in fault(open_dataset, str(camvid))


def test_image_and_label_of_different_size(camvid):
    write(camvid / "valannot" / "c.png", np.zeros((6, 7), np.uint8))
    dataset = open_dataset(str(camvid))
    message = fault(dataset.read, dataset.pairs("val")[0])
    assert "8x6" in message
    assert "7x6" in message


def test_label_value_outside_the_classes(camvid):
    label = np.zeros((6, 8), np.uint8)
    label[1, :3] = 12
    label[2, 0] = 200
    write(camvid / "valannot" / "c.png", label)
    dataset = open_dataset(str(camvid))
    message = fault(dataset.read, dataset.pairs("val")[0])
    assert "value(s) 12, 200" in message
    assert "(4 pixels)" in message


def test_label_that_is_no_index_image(tmp_path):
    write(tmp_path / "label.png", np.full((6, 8, 3), (0, 0, 128), np.uint8))
    assert "label.png is in colours" in fault(class_ids(11, [11]), str(tmp_path / "label.png"))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_image(tmp_path, capfd, suffix, share):
    path = tmp_path / ("image" + suffix)
    write(path, np.random.RandomState(0).randint(0, 255, (60, 80, 3)).astype(np.uint8))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "cannot be read as an image" in fault(read_rgb, str(path))


def test_file_that_is_no_image_or_absent(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no image at all")
    assert "cannot be read as an image" in fault(read_rgb, str(tmp_path / "x.png"))
    assert "No such file" in fault(read_rgb, str(tmp_path / "absent.png"))


def test_the_real_camvid(shared_data):
    dataset = open_dataset(str(shared_data("camvid")))
    assert {split: len(pairs) for split, pairs in dataset.splits.items()} == {"train": 367, "val": 101}
    image, label = dataset.read(dataset.pairs("val")[0])
    assert image.shape == (360, 480, 3)
    assert set(np.unique(label)) <= set(range(11)) | {255}
    road = image[label == 3].mean(axis=0)
    sky = image[label == 0].mean(axis=0)
    assert np.all(sky > road)


def test_missing_split_tells_the_folders_of_one(camvid):
    shutil.rmtree(str(camvid / "trainannot"))
    message = fault(open_dataset(str(camvid)).pairs, "train")
    assert "splits here: val; " in message
    assert "trainannot/" in message


def test_file_instead_of_a_folder(camvid):
    path = camvid / "notes.txt"
    path.write_bytes(b"")
    assert "notes.txt is a file" in fault(open_dataset, str(path))
