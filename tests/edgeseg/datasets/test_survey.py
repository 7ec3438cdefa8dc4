"""What `edgeseg data` finds in a dataset: counts, faults, images that are there twice, recordings that splits share."""

import os

import numpy as np
import pytest

from edgeseg.datasets import open_dataset
from edgeseg.datasets.files import Pair
from edgeseg.datasets.survey import Copies, survey
from edgeseg.datasets.survey.advice import next_command, notes
from edgeseg.datasets.survey.recordings import by_recording, holdout_prefix

cv2 = pytest.importorskip("cv2", reason="datasets are read with OpenCV")

HEIGHT, WIDTH = 36, 48


def view(seed, height=HEIGHT, width=WIDTH):
    """An image (height, width, 3) of smooth random shapes, as unlike that of another seed as two photos."""
    coarse = np.random.RandomState(seed).randint(0, 256, (12, 16, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def put(root, split, name, image, label=None):
    """Write a pair in the layout of CamVid; without a label all is road."""
    label = np.full(image.shape[:2], 3, np.uint8) if label is None else label
    for folder, pixels in ((split, image), (split + "annot", label)):
        path = os.path.join(str(root), folder, name + ".png")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        assert cv2.imwrite(path, pixels)


def look(root):
    dataset = open_dataset(str(root))
    return survey(dataset, list(dataset.splits))


def texts(found):
    return "\n".join("{}\n{}".format(*note) for note in notes(found))


def test_counts(tmp_path):
    label = np.full((HEIGHT, WIDTH), 11, np.uint8)  # void
    label[:10] = 0
    label[10:12, :5] = 8
    put(tmp_path, "train", "a", view(1), label)
    put(tmp_path, "train", "b", view(2))
    put(tmp_path, "train", "c", view(3, 24, 32), np.full((24, 32), 11, np.uint8))
    put(tmp_path, "val", "d", view(4), np.full((HEIGHT, WIDTH), 9, np.uint8))
    found = look(tmp_path)
    train, val = found.splits
    assert (train.name, train.total, len(train.pairs), dict(train.sizes)) == ("train", 3, 3, {(48, 36): 2, (32, 24): 1})
    expected = np.zeros(11, int)
    expected[[0, 3, 8]] = 480, HEIGHT * WIDTH, 10
    assert train.pixels.tolist() == expected.tolist()
    assert train.images.tolist() == (expected > 0).tolist()
    assert train.unlabelled == HEIGHT * WIDTH - 490 + 24 * 32
    assert (train.blank, val.blank) == (1, 0)
    assert found.scenes == {"train": 3, "val": 1}
    assert not (found.faults or found.copies or found.leaks or found.shared)
    told = texts(found)
    assert "in val but never in train: Pedestrian" in told
    assert "in train but never in val: Sky, Road, Car" in told
    assert "never seen in train or val: Building, Pole, Pavement, Tree, SignSymbol, Fence, Bicyclist" in told
    assert "1 of the 3 images of train is without any labelled pixel" in told


def test_every_fault_is_found_and_the_rest_counted(tmp_path):
    for name in "abcdef":
        put(tmp_path, "train", name, view(ord(name)))
    wrong = np.full((HEIGHT, WIDTH), 3, np.uint8)
    wrong[0, :4] = 77
    put(tmp_path, "train", "b", view(0), wrong)
    put(tmp_path, "train", "c", view(0), np.full((HEIGHT, WIDTH - 1), 3, np.uint8))
    (tmp_path / "train" / "e.png").write_bytes(b"")
    (tmp_path / "trainannot" / "f.png").write_bytes((tmp_path / "trainannot" / "f.png").read_bytes()[:50])
    put(tmp_path, "train", "both", view(0), wrong)
    (tmp_path / "train" / "both.png").write_bytes(b"no image")
    found = look(tmp_path)
    messages = [error.message for error in found.faults]
    for wanted in (
        "annot/b.png|77|4 pixels",
        "train/both.png|cannot be read",
        "annot/both.png|77",
        "train/c.png|48x36|47x36",
        "train/e.png|cannot be read",
        "annot/f.png|cannot be read",
    ):
        assert any(all(part in message for part in wanted.split("|")) for message in messages), (wanted, messages)
    assert len(messages) == 6 and all(error.fix for error in found.faults)
    assert [pair.name for pair in found.splits[0].pairs] == ["a", "d"]
    assert found.splits[0].total == 7


def test_no_file_can_be_used(tmp_path):
    for split in ("train", "val"):
        put(tmp_path, split, "a", view(1))
        (tmp_path / split / "a.png").write_bytes(b"no image")
    found = look(tmp_path)
    assert len(found.faults) == 2 and found.scenes == {"train": 0, "val": 0}
    assert not notes(found) and not next_command(found)


def test_labels_without_any_class_are_a_fault(tmp_path):
    put(tmp_path, "train", "a", view(1), np.full((HEIGHT, WIDTH), 255, np.uint8))
    (fault,) = look(tmp_path).faults
    assert "none of the 1 labels of train" in fault.message


def test_copies(tmp_path):
    put(tmp_path, "train", "a", view(1))
    put(tmp_path, "train", "b", view(2))
    put(tmp_path, "train", "b_copy", view(2))
    put(tmp_path, "val", "a_again", view(1), np.full((HEIGHT, WIDTH), 1, np.uint8))
    found = look(tmp_path)
    paths = {p.name: p.image for split in found.splits for p in split.pairs}
    assert sorted(found.copies) == sorted(
        [Copies([paths["a"], paths["a_again"]], False), Copies([paths["b"], paths["b_copy"]], True)]
    )
    assert "contradict" in texts(found)


def test_near_duplicates_across_splits(tmp_path):
    for seed in range(8):
        put(tmp_path, "train", "t{}x".format(seed), view(seed, 120, 160))
    darker = (0.7 * cv2.resize(view(5, 120, 160), (80, 60), interpolation=cv2.INTER_AREA)).astype(np.uint8)
    put(tmp_path, "val", "dark", cv2.imdecode(cv2.imencode(".jpg", darker, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 1))
    put(tmp_path, "val", "other", view(99, 120, 160))
    found = look(tmp_path)
    (leak,) = found.leaks
    assert os.path.basename(leak.image) == "dark.png" and os.path.basename(leak.train_image) == "t5x.png"
    assert leak.split == "val" and leak.bits <= 30
    assert "1 of the 2 images of val is near-duplicates of training images" in texts(found)


def drive(root, split, name, seed, numbers):
    """Frames of a camera that moves along a wall: 32 frames on, it sees another part."""
    wall = np.hstack([view(1000 * seed + part, 120, 160) for part in range(4)])
    for number in numbers:
        put(root, split, "{}_{:04}".format(name, number), np.ascontiguousarray(wall[:, 5 * number : 5 * number + 160]))


def test_frames_of_a_drive_in_both_splits(tmp_path):
    drive(tmp_path, "train", "monday", 1, range(12))
    drive(tmp_path, "train", "tuesday", 2, range(4))
    drive(tmp_path, "val", "monday", 1, range(30, 40))
    found = look(tmp_path)
    (shared,) = found.shared
    assert shared == ("monday_", "val", 10, 12)
    told = texts(found)
    assert "all 10 images of val are of recordings that train has too (monday_: 12 images)" in told
    assert "--holdout tuesday_" in told and "--holdout tuesday_" in next_command(found)


def test_numbered_photos_are_no_recording(tmp_path):
    for number in range(24):
        put(tmp_path, "val" if number % 3 == 0 else "train", "photo_{:03}".format(number), view(number))
    found = look(tmp_path)
    assert not (found.shared or found.leaks)
    assert "--holdout" not in next_command(found)


def test_recordings_by_name():
    paths = "val/night/f8_image.png", "train/night/f9_image.png", "day/f10_image.png", "day/a_000001_19_leftImg8bit.png"
    pairs = [Pair(os.path.join("root", path), "") for path in (*paths, "day/portrait.png")]
    assert by_recording("root", pairs) == {"night/f": [0, 1], "day/f": [2], "day/a_000001_": [3]}


@pytest.mark.parametrize(
    "counts, prefix",
    [
        ({"a_": 50, "b_": 22, "c_": 28}, "b_"),
        ({"a_": 20, "a_b_": 30, "c_": 50}, "a_b_"),  # --holdout a_ would take those of a_b_ along
        ({"a_": 96, "b_": 4}, "a_"),  # four images tell nothing
        ({"a_": 100}, ""),
    ],
)
def test_recording_to_hold_out(counts, prefix):
    names = [recording + str(number) for recording, count in counts.items() for number in range(count)]
    assert holdout_prefix("root", [Pair("root/train/{}.png".format(name), "") for name in names]) == prefix


def test_frames_that_hardly_differ_are_one_scene(tmp_path):
    wall = np.hstack([view(part, 120, 160) for part in range(2)])
    for number in range(10):
        put(tmp_path, "val", "f{}".format(number), np.ascontiguousarray(wall[:, 2 * number : 2 * number + 160]))
    put(tmp_path, "val", "other", view(50, 120, 160))
    found = look(tmp_path)
    assert found.scenes == {"val": 2}
    assert "the 11 images of val are 2 scenes" in texts(found)
    assert "no split 'train'" in texts(found)
    assert next_command(found) == ""


def test_the_command_that_comes_next(tmp_path):
    for seed in range(3):
        put(tmp_path / "my data", "train", "a{}".format(seed), view(seed, 100, 200))
    put(tmp_path / "my data", "val", "b", view(9, 100, 200))
    root = str(tmp_path / "my data")
    assert next_command(look(root)) == "edgeseg train --data '{}' --imgsz 96 192 -o runs/mine".format(root)


def test_the_real_camvid(shared_data):
    """Its val is one clip of a drive of which train has the rest: 1.3 s lie between them."""
    found = look(shared_data("camvid"))
    assert not (found.faults or found.copies or found.leaks)
    assert found.shared == [("0016E5_", "val", 101, 204)]
    assert found.scenes["val"] == 1 and 300 < found.scenes["train"] < 340
    assert [int(n) for n in found.splits[0].images] == [366, 365, 366, 367, 349, 319, 351, 173, 360, 317, 201]
    assert next_command(found).endswith("--imgsz 352 480 --holdout 0001TP_ -o runs/mine")


def test_a_single_class_is_a_fault(tmp_path):
    put(tmp_path, "train", "a", view(1), np.zeros((HEIGHT, WIDTH), np.uint8))
    dataset = open_dataset(str(tmp_path))
    found = survey(dataset._replace(classes=dataset.classes[:1]), ["train"])
    assert ["one class only (Sky)" in error.message for error in found.faults] == [True]
