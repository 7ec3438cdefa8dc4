"""Class files in the forms that people and tools write."""

import codecs

import pytest

from edgeseg.datasets.plain.class_file import class_files, read_legend

ROAD, CAR = (128, 64, 128), (64, 0, 128)


@pytest.fixture
def legend(tmp_path):
    """Function (name, text, name, text, ...) -> what the class files of these texts say."""

    def read(*files):
        for i in range(0, len(files), 2):
            name, text = files[i : i + 2]
            (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
        paths = class_files(str(tmp_path))
        assert len(paths) == len(files) // 2
        return read_legend(paths)

    return read


def names(legend):
    return [c.name for c in legend.classes]


@pytest.mark.parametrize(
    "text",
    [
        b"road\ncar\n",
        b"road\r\ncar\r\n\r\n",
        b"\n  road\n\ncar  ",
        b"# my classes\nroad\ncar",
        codecs.BOM_UTF8 + b"road\ncar\n",
        "road\r\ncar\r\n".encode("utf-16"),
        b"0 road\n1 car\n",
        b"0: road\n1: car\n",
        b"1,car\n0,road\n",
        b"Pixel Value, Class\n0, road\n1, car\n",
    ],
)
def test_names_only(legend, text):
    read = legend("classes.txt", text)
    assert names(read) == ["road", "car"]
    assert read.ids == {0: 0, 1: 1}
    assert not read.colours
    assert len({c.color for c in read.classes} | {(0, 0, 0)}) == 3


def test_black_is_for_the_background(legend):
    assert legend("classes.txt", "_background_\nroad\n").classes[0].color == (0, 0, 0)


@pytest.mark.parametrize(
    "name, text",
    [
        ("label_colors.txt", "128 64 128\tmain road\n64 0 128\t\tcar\n"),  # CamVid
        ("class_dict.csv", "name,r,g,b\nmain road,128,64,128\ncar,64,0,128\n"),
        ("class_dict.csv", "main road, 128, 64, 128\ncar, 64, 0, 128\n"),
        ("class-palette.csv", "id;name;red;green;blue\n0;main road;128;64;128\n1;car;64;0;128\n"),
        ("colormap.txt", "main road 128 64 128\ncar 64 0 128"),
        ("colormap.txt", "0 128 64 128 main road\n1 64 0 128 car"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nmain road:128,64,128::\ncar:64,0,128::\n"),  # CVAT
        ("colormap.json", '{"main road": [128, 64, 128], "car": "#400080"}'),
        (
            "classes.json",
            '{"classes": [{"title": "main road", "color": "#804080"}, {"title": "car", "color": "#400080"}]}',
        ),
        (
            "labels.json",
            '[{"name": "car", "rgb": [64, 0, 128], "id": 1}, {"name": "main road", "rgb": [128, 64, 128], "id": 0}]',
        ),
        (
            "dataset_meta.json",
            '{"label_map": {"0": "main road", "1": "car"}, "segmentation_colors": [[128, 64, 128], [64, 0, 128]]}',
        ),
    ],
)
def test_names_and_colours(legend, name, text):
    read = legend(name, text)
    assert [(c.id, c.name, c.color) for c in read.classes] == [(0, "main road", ROAD), (1, "car", CAR)]
    assert read.ids == {0: 0, 1: 1}
    assert read.colours == {ROAD: 0, CAR: 1}


@pytest.mark.parametrize("void", ["void", "Unlabelled", "unlabeled", "IGNORE", "don't care", "__ignore"])
def test_a_void_class_is_unlabelled(legend, void):
    read = legend("colormap.txt", "1 2 3 road\n0 0 0 {}\n4 5 6 car".format(void))
    assert names(read) == ["road", "car"]
    assert (read.ids, read.void) == ({0: 0, 2: 1}, [1])
    assert (read.colours, read.void_colours) == ({(1, 2, 3): 0, (4, 5, 6): 1}, [(0, 0, 0)])


def test_labelme_counts_ignore_as_minus_one(legend):
    read = legend("labels.txt", "__ignore__\n_background_\ncar\n")
    assert names(read) == ["_background_", "car"]
    assert read.ids == {0: 0, 1: 1}


def test_names_in_one_file_and_colours_in_another(legend):
    read = legend(
        "classes.txt", "car\nroad\nvoid", "colormap.csv", "name,r,g,b\nroad,128,64,128\nsky,1,1,1\ncar,64,0,128"
    )
    assert names(read) == ["car", "road"]
    assert read.colours == {CAR: 0, ROAD: 1}
    assert read.void_colours == [(1, 1, 1)]  # not among the names


def test_colours_without_names(legend, tmp_path):
    """As NVIDIA DIGITS takes them, with the names in another file or in none."""
    text = "128 64 128\n64 0 128\n0 0 0\n"
    assert names(legend("colormap.txt", text)) == ["class0", "class1", "class2"]
    read = legend("colormap.txt", text, "classes.txt", "road\ncar\n")
    assert (names(read), read.colours, read.void_colours) == (["road", "car"], {ROAD: 0, CAR: 1}, [(0, 0, 0)])


@pytest.mark.parametrize(
    "files, problem",
    [
        (("classes.txt", "road\ncar\nroad"), "has the name road twice"),
        (("colormap.txt", "1 2 3 road\n1 2 3 car"), "has the colour (1, 2, 3) twice"),
        (("classes.txt", "0 road\n0 car"), "has the value 0 twice"),
        (("colormap.txt", "1 2 3 road\n4 5 car\n6 7 8 sky"), "line 2: '4 5 car' is not like the other lines"),
        (("colormap.txt", "1 2 300 road\n4 5 6 car"), "(1, 2, 300) of 'road' is outside 0..255"),
        (("classes.txt", "\n\n"), "lists no class"),
        (("classes.txt", "void\n"), "lists no class"),
        (
            ("classes.txt", "\n".join("class {}".format(n) for n in range(256))),
            "has 256 classes; masks hold 255 at most",
        ),
        (("classes.txt", "0 road\n255 car"), "'car' the value 255"),
        (("classes.txt", b"\x89PNG\r\n\xff\xfe"), "not a text file"),
        (("classes.json", '{"road": [1, 2'), "is no JSON list of classes"),
        (("classes.json", '{"road": "blue"}'), "'blue' is no colour"),
        (("classes.txt", "road", "labels.txt", "car"), "both list the classes"),
        (("classes.txt", "road\ncar", "colormap.txt", "1 2 3 road"), "colormap.txt has no colour for car"),
    ],
)
def test_faulty_files(legend, fault, files, problem):
    assert problem in fault(legend, *files)


def test_which_files_are_class_files(tmp_path):
    for name in ("classes.txt", "Label-Colors.TXT", "train.txt", "readme.txt", "class_dict.csv", "classes.png"):
        (tmp_path / name).write_text("x")
    found = [path[len(str(tmp_path)) + 1 :] for path in class_files(str(tmp_path))]
    assert found == ["Label-Colors.TXT", "class_dict.csv", "classes.txt"]
