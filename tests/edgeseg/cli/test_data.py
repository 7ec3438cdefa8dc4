"""`edgeseg data`: its report, its contact sheet, and the dataset that it writes to practise with."""

import errno
import json
import os
import pathlib
import shutil

import numpy as np
import pytest

from edgeseg.cli import main
from edgeseg.datasets import open_dataset, practice
from edgeseg.datasets.survey import survey
from edgeseg.palette import CAMVID

cv2 = pytest.importorskip("cv2", reason="datasets are read with OpenCV")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folder with a dataset of 12 images of generated streets; a test that changes it takes a copy."""
    path = str(tmp_path_factory.mktemp("data") / "mine")
    assert main(["data", "pattern:96x64?frames=12&seed=3", "-o", path]) == 0
    return path


@pytest.fixture
def data(made, tmp_path):
    return shutil.copytree(made, str(tmp_path / "mine"))


def files_below(path):
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(str(path)) for name in names)


def test_practice_is_a_dataset_without_flaws(made, capsys):
    dataset = open_dataset(made)
    assert {split: len(pairs) for split, pairs in dataset.splits.items()} == {"train": 10, "val": 2}
    assert dataset.classes == CAMVID
    image, label = dataset.read(dataset.pairs("val")[0])
    assert image.shape == (64, 96, 3) and len(np.unique(label)) > 6
    found = survey(dataset, ["train", "val"])
    assert found.scenes == {"train": 10, "val": 2}
    assert not (found.faults or found.copies or found.leaks or found.shared)
    assert main(["data", made]) == 0
    report = capsys.readouterr().out
    assert report.endswith("next: edgeseg train --data {} --imgsz 64 96 -o runs/mine\n".format(made))
    assert ["96x64", "10", "2"] in [line.split() for line in report.splitlines()]
    assert "notes" not in report and "faults" not in report


def test_practice_is_the_same_again_and_another_with_another_seed(made, tmp_path):
    for name, seed in (("again", 3), ("other", 9)):
        assert main(["data", "pattern:96x64?frames=12&seed={}".format(seed), "-o", str(tmp_path / name)]) == 0
    roots = (made, tmp_path / "again", tmp_path / "other")
    first, again, other = ([pathlib.Path(path).read_bytes() for path in files_below(root)] for root in roots)
    assert first == again
    assert len(set(first) & set(other)) == 1  # classes.txt


def test_practice_overwrites_nothing(data, capsys):
    before = {path: os.stat(path).st_mtime_ns for path in files_below(data)}
    assert main(["data", "pattern:96x64?frames=4", "-o", data]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert {path: os.stat(path).st_mtime_ns for path in files_below(data)} == before


def test_practice_into_an_empty_folder(tmp_path):
    (tmp_path / "new").mkdir()
    assert main(["data", "pattern:64x48?frames=2", "-o", str(tmp_path / "new")]) == 0
    assert len(files_below(tmp_path / "new")) == 5


def test_practice_on_a_full_disk_leaves_nothing(tmp_path, monkeypatch, capsys):
    left = [5]

    def encode(*args):
        left[0] -= 1
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return b"x"

    monkeypatch.setattr(practice, "encode_palette_png", encode)
    assert main(["data", "pattern:64x48?frames=9", "-o", str(tmp_path / "new")]) == 3
    assert "disk full" in capsys.readouterr().err
    assert os.listdir(str(tmp_path)) == []


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere"], "nowhere does not exist"),
        (["empty"], "it holds: nothing"),
        (["mine", "-o", "out"], "-o is for generated streets"),
        (["mine", "--split", "test"], "no split 'test'"),
        (["mine", "--sheet", "sheet.jpg"], "no PNG file"),
        (["mine", "--sheet", "nowhere/sheet.png"], "does not exist"),
        (["mine", "--sheet", "mine/images/val/street5_0.png"], "would replace the input"),
        (["pattern:96x64"], "-o DIR"),
        (["pattern:96x64?frames=1", "-o", "out"], "give frames=2 or more"),
        (["pattern:96x64@30", "-o", "out"], "leave @FPS out"),
        (["pattern:9x64", "-o", "out"], "sides are 32 to"),
        (["pattern:96x64", "-o", "nowhere/out"], "mkdir -p"),
        (["pattern:96x64", "-o", "mine/classes.txt"], "is there already"),
    ],
)
def test_what_cannot_be_done(data, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    before = files_below(tmp_path)
    assert main(["data"] + arguments) == 2
    error = capsys.readouterr().err
    assert message in error and "fix:" in error
    assert files_below(tmp_path) == before


def test_faults_make_the_exit_code(data, capsys):
    pairs = open_dataset(data).pairs("train")
    label = open_dataset(data).labels(pairs[1].label)
    label[0, 0] = 60
    assert cv2.imwrite(pairs[1].label, label)
    with open(pairs[4].image, "wb") as file:
        file.write(b"no image")
    assert main(["data", data]) == 1
    out, err = capsys.readouterr()
    assert "value(s) 60" in out and pairs[1].label in out
    assert pairs[4].image + " cannot be read" in out
    assert "2 fault(s)" in err
    assert "  train     10       8       8" in out and "next:" not in out


def test_json(data, capsys):
    for path in open_dataset(data).pairs("train")[2]:
        shutil.copy(path, os.path.join(os.path.dirname(path), os.pardir, "val", "copy.png"))
    assert main(["data", data, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    val = report["splits"]["val"]
    assert (val["pairs"], val["usable"], val["sizes"]) == (3, 3, {"96x64": 3})
    assert sum(val["pixels"].values()) + val["unlabelled_pixels"] == 3 * 96 * 64
    assert list(report["splits"]["train"]["images"]) == sorted(report["classes"])
    assert report["faults"] == []
    (leak,), (copies,) = report["leaks"], report["copies"]
    assert leak["bits"] == 0 and leak["split"] == "val" and leak["image"].endswith("copy.png")
    assert sorted(copies["images"]) == sorted([leak["image"], leak["train_image"]]) and copies["same_labels"]
    assert len(report["notes"]) == 2 and all(note["fix"] for note in report["notes"])


def test_one_split(made, capsys):
    assert main(["data", made, "--split", "val", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["splits"]) == ["val"]


def test_sheet(data, tmp_path):
    dataset = open_dataset(data)
    pair = dataset.pairs("val")[0]
    image, label = dataset.read(pair)
    for path, pixels in ((pair.image, image), (pair.label, label)):
        assert cv2.imwrite(path, np.concatenate([pixels] * 6))  # a tall one among the others
    sheet = tmp_path / "sheet.png"
    sheet.write_bytes(b"an older one")
    assert main(["data", data, "--sheet", str(sheet)]) == 0
    drawn = cv2.imread(str(sheet))
    assert drawn.shape[0] > 3 * 180 and drawn.shape[1] > 3 * 480  # two rows of train, one of val
    legend = drawn[-60:].reshape(-1, 3)
    for c in CAMVID:
        assert (legend == c.color[::-1]).all(axis=1).sum() > 50, c.name
    image = cv2.resize(cv2.imread(open_dataset(data).pairs("train")[0].image), (240, 160), interpolation=cv2.INTER_AREA)
    assert np.abs(drawn[28 : 28 + 160, 8 : 8 + 240].astype(int) - image).max() <= 2
    assert not [name for name in os.listdir(str(tmp_path)) if ".tmp" in name]
