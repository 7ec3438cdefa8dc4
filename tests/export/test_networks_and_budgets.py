"""`edgeseg inspect --networks` and `edgeseg train --budget-...`, from the command line to what is run."""

import argparse
import json

import pytest

from edgeseg.cli import main, train
from edgeseg.errors import UsageError
from edgeseg.models.cost import cost_of, outline
from edgeseg.models.spec import NetworkSpec

KEYS = {"network", "width", "imgsz", "classes", "parameters", "macs", "peak_activation_bytes", "latency_ms"}


@pytest.fixture
def two_widths(monkeypatch):
    monkeypatch.setattr("edgeseg.export.budget.WIDTHS", (1.4, 0.35))


def inspect(capsys, *arguments):
    assert main(["inspect", "--networks", *arguments]) == 0
    return capsys.readouterr().out


def test_table(capsys, two_widths):
    text = inspect(capsys, "fcn32", "--imgsz", "64", "96", "--classes", "5")
    cost = cost_of(outline(NetworkSpec("fcn32", 0.35, (64, 96), 5)))
    (row,) = [line.split() for line in text.splitlines() if line.split()[:2] == ["fcn32", "0.35"]]
    assert row[2:] == [f"{cost.parameters / 1e6:.2f}", "M", f"{cost.macs / 1e9:.3f}", "G"] + [
        f"{cost.peak_activations / 1e6:.2f}",
        "MB",
        "-",
    ]
    assert "5 classes at 64x96" in text and "add --measure" in text and "most bytes in int8" in text


def test_json_with_an_estimate(capsys, two_widths):
    found = json.loads(inspect(capsys, "fcn32", "--imgsz", "64", "96", "--target", "tx2", "--json"))
    assert found["latency"] == "estimated" and "not measured" in found["note"] and found["target"] == "tx2"
    rows = found["networks"]
    assert [row["width"] for row in rows] == [0.35, 1.4] and set(rows[0]) == KEYS
    assert rows[0]["imgsz"] == [64, 96] and rows[0]["classes"] == 11
    assert 0 < rows[0]["latency_ms"] < rows[1]["latency_ms"] and rows[0]["macs"] < rows[1]["macs"]


def test_measured(capsys, monkeypatch, two_widths):
    """The figures of each network reach its row, and are called measured."""
    asked = []
    monkeypatch.setattr("edgeseg.export.measure.random_int8", lambda spec: b"%d" % (100 * spec.width))

    def measure_ms(files, threads, report):
        asked.append(threads)
        return [float(data) / 10 for data in files]

    monkeypatch.setattr("edgeseg.export.measure.measure_ms", measure_ms)
    arguments = ["fcn32", "--imgsz", "64", "96", "--measure", "--threads", "2", "--json"]
    found = json.loads(inspect(capsys, *arguments))
    assert (found["latency"], found["threads"], asked) == ("measured", 2, [2])
    assert {row["width"]: row["latency_ms"] for row in found["networks"]}[1.4] == 14.0
    assert "on this machine" in found["note"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["unet"], "no network 'unet'"),
        (["--target", "tx9"], "no target 'tx9'"),
        (["--imgsz", "50", "64"], "--imgsz 50 64"),
        (["--classes", "1"], "1 class(es)"),
    ],
)
def test_what_does_not_exist(arguments, words, capsys):
    assert main(["inspect", "--networks", *arguments]) == 2
    assert words in capsys.readouterr().err


def decided(workshop, out, *arguments):
    """The recipe that a training with these arguments runs, without the training."""
    parser = argparse.ArgumentParser()
    train.configure(parser)
    args = parser.parse_args(["--data", str(workshop.data), "-o", str(out), *arguments])
    recipes = []

    def run(recipe, *rest):
        recipes.append(recipe)
        return {"val_miou": None, "val_boundary_miou": None, "val_pixel_accuracy": None, "val_iou": {"Sky": None}}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgeseg.models.train.train", run)
        assert train.run(args) == 0
    return recipes[0]


def test_training_for_a_budget(workshop, tmp_path, capsys):
    """What is chosen is what is trained; what was given stays; what was rejected is shown with its cost."""
    recipe = decided(workshop, tmp_path / "run", "--init", "none", "--budget-macs", "30M", "--network", "fcn16")
    spec = NetworkSpec(recipe.network, recipe.width, recipe.imgsz, 11)
    assert recipe.network == "fcn16" and recipe.crop == recipe.imgsz
    assert 15e6 < cost_of(outline(spec)).macs <= 30e6
    said = capsys.readouterr().err.splitlines()
    (taken,) = [line for line in said if line.endswith("taken")]
    assert f"{recipe.width:g}  {recipe.imgsz[0]}x{recipe.imgsz[1]}" in taken and "counted" in taken
    rejected = [line for line in said if "rejected: beyond" in line]
    assert rejected and all(float(line.split(" G ")[0].split()[-1]) > 0.030 for line in rejected)
    assert any("MACs do not tell the time" in line for line in said)


def test_training_for_a_board(workshop, tmp_path, capsys):
    arguments = ["--budget-ms", "0.9", "--target", "xavier", "--width", "0.5", "--init", "none"]
    recipe = decided(workshop, tmp_path / "run", *arguments)
    assert recipe.width == 0.5
    said = capsys.readouterr().err
    assert "estimated" in said and "not measured" in said and "fp16 roofline" in said


def test_widths_without_initial_weights_are_left_out(workshop, tmp_path, capsys, monkeypatch):
    """Weights of ImageNet are worth more than a better fit to the budget."""
    monkeypatch.setenv("EDGESEG_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError, match="no ImageNet weights"):
        decided(workshop, tmp_path / "run", "--budget-macs", "1G")
    (tmp_path / "mobilenet_v2_0.35_imagenet.npz").write_bytes(b"")
    assert decided(workshop, tmp_path / "run", "--budget-macs", "1G").width == 0.35
    assert "width 1.4 was left out: no ImageNet weights" in capsys.readouterr().err


def test_used_folder_is_refused_before_anything_is_measured(workshop, tmp_path):
    (tmp_path / "network.keras").write_bytes(b"x")
    with pytest.raises(UsageError, match="already holds a run"):
        decided(workshop, tmp_path, "--budget-ms", "5", "--init", "none")
