"""The networks in the box by name: listed with their figures, run, measured and read without the PC side."""

import json
import os
import shutil
import zipfile

import numpy as np
import pytest

from edgeseg import zoo
from edgeseg.bundle import read_bundle, write_bundle
from edgeseg.cli import main
from edgeseg.errors import UsageError

FIGURES = {"miou": 0.5, "boundary_miou": 0.25, "pixel_accuracy": 0.75, "iou": {}, "boundary_iou": {}}


@pytest.fixture
def box(bundles, tmp_path, monkeypatch):
    """An installation with the network `small` and its bundle, and the network `bare`, which has none."""
    bundle = read_bundle(os.path.join(bundles, "int8.edgeseg"))
    accuracy = dict(FIGURES, dataset="CamVid", split="val", images=101, miou=0.4)
    manifest = bundle.manifest._replace(accuracy=accuracy, parity={"agreement": 0.98})
    write_bundle(str(tmp_path / "small.edgeseg"), manifest, bundle.payloads)
    for name, macs in (("small", 2 * 10**9), ("bare", 10**9)):
        card = {
            "spec": {"architecture": "fcn8", "width": 0.5, "imgsz": [64, 96]},
            "classes": [c._asdict() for c in manifest.classes],
            "dataset": "CamVid",
            "recipe": {"epochs": 1},
            "init": "random",
            "figures": dict({"val_" + key: value for key, value in FIGURES.items()}, parameters=10**6, macs=macs),
        }
        with zipfile.ZipFile(str(tmp_path / (name + ".keras")), "w") as archive:
            archive.writestr(zoo.CARD, json.dumps(card))
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    return tmp_path


def listed(capsys, *arguments):
    assert main(["zoo"] + list(arguments)) == 0
    return capsys.readouterr().out


def test_table(box, capsys):
    lines = listed(capsys).splitlines()
    size = sum(os.path.getsize(str(box / ("small" + suffix))) for suffix in (".keras", ".edgeseg"))
    cells = "small fcn8 0.5 64x96 11 1.00 M 2.00 G 50.00 25.00 40.00 25.00 .keras .edgeseg {:.1f}".format(size / 1e6)
    assert lines[1].split() == cells.split()  # the larger one first
    assert lines[2].split()[:1] + lines[2].split()[8:-1] == ["bare", "G", "50.00", "25.00", "-", "-", ".keras"]


def test_json(box, capsys):
    small, bare = json.loads(listed(capsys, "--json"))
    assert (small["name"], small["imgsz"], small["parameters"]) == ("small", [64, 96], 10**6)
    assert small["accuracy"] == FIGURES
    assert small["int8"]["miou"] == 0.4 and small["int8"]["images"] == 101 and small["int8"]["agreement"] == 0.98
    assert bare["int8"] is None and bare["files"] == {"bare.keras": (box / "bare.keras").stat().st_size}


def test_a_name_is_taken_where_a_bundle_is(box, tmp_path, capsys):
    pytest.importorskip("cv2")
    source = ["--device", "fake", "--camera", "pattern:96x64?frames=12", "--frames", "12"]
    assert main(["run", "small", "--json", str(tmp_path / "out.jsonl")] + source) == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 12
    assert main(["bench", "small", "--json", "-"] + source) == 0
    assert json.loads(capsys.readouterr().out)["bundle"] == str(box / "small.edgeseg")
    assert main(["inspect", "small", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["manifest"]["parity"] == {"agreement": 0.98}
    assert main(["inspect", "bare", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["network"]["dataset"] == "CamVid"


def test_segmenter_takes_a_name(box):
    from edgeseg.segmenter import Segmenter

    pytest.importorskip("cv2")
    with Segmenter("small", "fake") as segmenter:
        assert segmenter(np.zeros((64, 96, 3), np.uint8)).mask.shape == (64, 96)


def test_names_that_cannot_be_run(box, capsys):
    assert main(["run", "bare", "--camera", "pattern:"]) == 2
    text = capsys.readouterr().err
    assert "edgeseg export bare --target cpu" in text and "bundles of small" in text
    assert main(["run", "fcn99", "--camera", "pattern:"]) == 2
    text = capsys.readouterr().err
    assert "fcn99 does not exist" in text and "small" in text.split("fix:")[1]


def test_a_file_that_is_damaged_or_absent(box):
    with pytest.raises(UsageError, match="not part of this installation"):
        zoo.open_bundle()
    (box / "bare.keras").write_bytes(b"PK")
    with pytest.raises(UsageError, match="is damaged"):
        zoo.zoo_networks()


def test_a_float_network_is_known_by_its_hash(box):
    import hashlib

    digest = hashlib.sha256((box / "bare.keras").read_bytes()).hexdigest()
    assert zoo.find_network(digest) == "bare"
    assert zoo.find_network("0" * 64) is None and zoo.find_network(None) is None
    shutil.copy(str(box / "bare.keras"), str(box / "copy.keras"))
    os.unlink(str(box / "bare.keras"))
    assert zoo.find_network(digest) == "copy"
