"""Label files as people have them."""

import pytest

from edgeseg.errors import UsageError
from edgeseg.importing.labels import parse_labels, read_labels
from edgeseg.palette import voc_color


def names(data):
    return [label.name for label in parse_labels(data, "labels.txt")]


@pytest.mark.parametrize(
    "data",
    [
        b"sky\nroad\ntraffic light\n",
        b"sky\r\nroad\r\ntraffic light",
        b"\xef\xbb\xbfsky\n road \n\ttraffic light\n\n\n",
        b"0 sky\n1 road\n2 traffic light\n",
        b"0: sky\n1:road\n2   traffic light\n",
        b"2 traffic light\n0 sky\n1 road\n",
        b"sky 1 2 3\nroad\ntraffic light 255 0 0\n",
        b"0 sky 1 2 3\n1 road\n2 traffic light 255 0 0\n",
        b"sky\nroad\ntraffic light\n\nand 255 is the ignore label\n",
    ],
)
def test_forms(data):
    assert names(data) == ["sky", "road", "traffic light"]


def test_colours():
    labels = parse_labels(b"sky 1 2 3\nroad\n3 wheeler\n", "labels.txt")
    assert [label.color for label in labels] == [(1, 2, 3), (128, 0, 0), (0, 128, 0)]
    assert [label.id for label in labels] == [0, 1, 2]
    assert labels[2].name == "3 wheeler"  # a digit is an id only if every line has one


def test_the_colours_of_pascal_voc():
    """Those of the label images: VOC2012, SegmentationClass."""
    assert [voc_color(id) for id in (0, 1, 8, 15, 20)] == [
        (0, 0, 0), (128, 0, 0), (64, 0, 0), (192, 128, 128), (0, 64, 128)
    ]  # fmt: skip
    assert voc_color(255) == (224, 224, 192)
    assert len({voc_color(id) for id in range(256)}) == 256


def test_googles_labels(shared_data):
    labels = read_labels(shared_data("coral", "pascal_voc_segmentation_labels.txt"))
    assert len(labels) == 21 and (labels[0].name, labels[3].name, labels[20].name) == (
        "background",
        "bird",
        "tvmonitor",
    )


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"\xff\xfe\x00a", "is not a text file"),
        (b"TFL3\0\0", "is not a text file"),
        (b"0 a\n2 c\n", "names class 2, but not 1"),
        (b"0 a\n0 b\n", "names class 0 twice"),
        (b"1 a\n2 b\n", "names class 2, but not 0"),
        (b"0 a\n255 void\n", "has a class 255"),
        (b"\n".join(b"c%d" % i for i in range(256)), "has a class 255"),
        (b"a 1 2 300\n", "is outside 0..255"),
        (b"a\nb\na\n", "calls both class 0 and class 2 'a'"),
        (b"99999999999999999999 a\n", "has a class 99999999999999999999"),
    ],
)
def test_what_is_wrong(data, words):
    with pytest.raises(UsageError) as caught:
        parse_labels(data, "labels.txt")
    assert words in caught.value.message and "labels.txt" in caught.value.message and caught.value.fix


def test_absent_and_unreadable(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read_labels(str(tmp_path / "no.txt"))
    with pytest.raises(UsageError, match="is a folder"):
        read_labels(str(tmp_path))
