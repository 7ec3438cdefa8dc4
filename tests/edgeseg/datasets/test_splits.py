"""Which images are for training and which for validation, in datasets that do not say it in the usual way."""

import pytest

from edgeseg.datasets.files import Pair
from edgeseg.datasets.splits import block_splits, listed_pairs

FILES = {
    name: "/data/images/{}.jpg".format(name) for name in ("a", "b 1", "drive1/frame.2", "drive2/frame.2", "drive2/x")
}
LABELS = {name: path.replace("images", "labels") for name, path in FILES.items()}


def listed(tmp_path, text):
    (tmp_path / "train.txt").write_text(text)
    return listed_pairs(str(tmp_path / "train.txt"), FILES, LABELS)


@pytest.mark.parametrize(
    "line, name",
    [
        ("a", "a"),
        ("a.jpg", "a"),
        ("/JPEGImages/a.jpg /SegmentationClassAug/a.png", "a"),
        ("./images/a.jpg", "a"),
        ("b 1", "b 1"),
        ("b 1.jpg", "b 1"),
        ("drive1/frame.2", "drive1/frame.2"),
        ("images\\drive2\\frame.2.jpg", "drive2/frame.2"),
        ("x", "drive2/x"),
    ],
)
def test_ways_to_name_an_image(tmp_path, line, name):
    assert listed(tmp_path, line + "\n\n") == [Pair(FILES[name], LABELS[name])]


def test_order_is_that_of_the_list_and_each_image_comes_once(tmp_path):
    assert [pair.name for pair in listed(tmp_path, "b 1\r\na\r\na.jpg\r\n")] == ["b 1", "a"]


def test_names_that_are_absent_or_ambiguous(tmp_path, fault):
    message = fault(listed, tmp_path, "a\nz\nframe.2\n")
    assert "train.txt lists 2 name(s) without image: z, frame.2" in message
    assert "is empty" in fault(listed, tmp_path, "\n")


@pytest.mark.parametrize("count", [1, 2, 4, 20, 24, 25, 26, 99, 1000])
def test_blocks(count):
    splits = block_splits(range(count))
    train, val = splits["train"], splits.get("val", [])
    assert sorted(train + val) == list(range(count))
    assert len(val) == pytest.approx(count / 5, abs=4) and (val or count == 1)
    borders = sum(1 for n in train if n + 1 in set(val)) + sum(1 for n in val if n + 1 in set(train))
    assert borders <= 9  # neighbours stay together
