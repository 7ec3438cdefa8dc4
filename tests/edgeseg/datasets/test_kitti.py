"""KITTI semantic is read as data_semantics.zip unpacks, with Cityscapes' classes."""

from edgeseg.datasets import open_dataset
from edgeseg.datasets.layouts.cityscapes import CLASSES


def write(put, count):
    for number in range(count):
        put("training/image_2/{:06d}_10.png".format(number), (10, 20, 30))
        put("training/semantic/{:06d}_10.png".format(number), 26)
        put("training/semantic_rgb/{:06d}_10.png".format(number), (0, 0, 142))
        put("testing/image_2/{:06d}_10.png".format(number), (1, 2, 3))


def test_classes_and_splits(put, tmp_path):
    write(put, 5)
    put("training/image_2/000000_11.png", (1, 2, 3))  # the next frame, from the archive of another task
    dataset = open_dataset(str(tmp_path))
    assert (dataset.name, dataset.classes) == ("KITTI", CLASSES)
    assert {split: [pair.name for pair in pairs] for split, pairs in dataset.splits.items()} == {
        "train": ["000000_10", "000001_10", "000002_10", "000003_10"],
        "val": ["000004_10"],
    }
    assert dataset.classes[dataset.read(dataset.pairs("val")[0])[1][0, 0]].name == "car"


def test_another_task(put, tmp_path, fault):
    put("training/image_2/000000.png", (1, 2, 3))
    put("training/label_2/000000.txt")
    message = fault(open_dataset, str(tmp_path))
    assert "no training/semantic/" in message
    assert "unpack data_semantics.zip" in message
    put("training/semantic/README.txt")
    assert "hold no image files" in fault(open_dataset, str(tmp_path))


def test_faults(put, tmp_path, fault):
    write(put, 2)
    path = put("training/semantic/000001_10.png", 40)
    dataset = open_dataset(str(tmp_path))
    message = fault(dataset.read, dataset.pairs("val")[0])
    assert path in message
    assert "value(s) 40" in message
    lonely = put("training/image_2/000002_10.png", (1, 2, 3))
    assert "1 of 3 image(s) have no label: " + lonely in fault(open_dataset, str(tmp_path))
    assert "give --data {}".format(tmp_path) in fault(open_dataset, str(tmp_path / "training"))
