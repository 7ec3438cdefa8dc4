"""edgeseg inspect of a compressed bundle: the steps, what they change where, and what the file itself holds."""

import json
import os
import zipfile

import pytest

from edgeseg.bundle import read_bundle, write_bundle
from edgeseg.cli import main
from edgeseg.kernels import kernels_of

SPEED, SIZE = "changes speed", "changes size only"
INT8 = {
    "step": "int8",
    "epochs": 0,
    "parameters": 2930000,
    "macs": 1234000000,
    "float32_bytes": 11720000,
    "payload_bytes": 3082408,
    "bundle_bytes": 2512345,
    "ratio": 4.66,
    "weights": 2500000,
    "nonzeros": 2475000,
    "unique": 255,
    "bits_per_weight": 8.04,
    "shannon_bytes": 2301000,
    "huffman_bytes": 2312000,
    "latency_ms": 123.456,
    "miou": 0.7123,
    "agreement": 0.9911,
    "effects": {"cpu": SPEED, "coral": SPEED, "orin": SPEED},
}
STEPS = [
    {"step": "original", "parameters": 2930000, "effects": {}},
    INT8,
    dict(INT8, step="2:4", latency_ms=None, miou=None, effects={"cpu": SIZE, "orin": SPEED, "coral": SIZE}),
    dict(INT8, step="channels:600M", macs=600000000, bundle_bytes=300000, ratio=39.07, nonzeros=1250000, unique=16),
]
ORIGINAL = {"network": "fcn8-camvid", "sha256": "0" * 64, "parameters": 2930000, "float32_bytes": 11720000}


@pytest.fixture
def compressed(bundles, tmp_path):
    """Path of a bundle with one kernel of 33 weights, 6 of them zero, and 6 different values."""
    bundle = read_bundle(os.path.join(bundles, "int8.edgeseg"))
    (kernel,) = kernels_of(bundle.payloads)
    record = {kernel.name: {"weights": 33, "zeros": 6, "codebook": [0, 23, 34, 64, 85, 127]}}
    compression = {"original": ORIGINAL, "steps": STEPS, "kernels": record, "pattern": None}
    path = str(tmp_path / "small.edgeseg")
    write_bundle(path, bundle.manifest._replace(compression=compression), bundle.payloads)
    return path


def inspect(capsys, *arguments):
    assert main(["inspect"] + list(arguments)) == 0
    return capsys.readouterr().out


def test_every_step_is_a_row(compressed, capsys):
    lines = inspect(capsys, compressed).splitlines()
    start = lines.index("compression")
    section = lines[start + 1 : lines.index("provenance")]
    assert section[0] == "  from fcn8-camvid: 2.93 M parameters, 11.72 MB in float32"
    head, *rows = [line.split() for line in section[1:6]]
    assert {len(row) for row in rows} == {len(head)}
    cells = {row[0]: {name: row[i] for i, name in enumerate(head)} for row in rows}
    assert list(cells) == [row["step"] for row in STEPS]
    assert cells["int8"] == {
        "step": "int8",
        "payload": "3082",
        "bundle": "2512",
        "ratio": "4.7",
        "params": "2.93",
        "nonzero": "99.0%",
        "unique": "255",
        "bits": "8.04",
        "Shannon": "2301",
        "Huffman": "2312",
        "MACs": "1234",
        "ms": "123.46",
        "mIoU": "71.23",
        "agree": "99.11",
    }
    assert (cells["2:4"]["ms"], cells["2:4"]["mIoU"], cells["original"]["nonzero"]) == ("-", "-", "-")
    smaller = cells["channels:600M"]
    assert (smaller["bundle"], smaller["ratio"], smaller["MACs"]) == ("300", "39.1", "600")
    assert (smaller["nonzero"], smaller["unique"]) == ("50.0%", "16")
    assert max(map(len, section)) <= 120


def test_what_a_step_changes_on_which_target(compressed, capsys):
    text = inspect(capsys, compressed)
    assert "\n  int8 changes speed: coral, cpu, orin\n" in text
    assert "\n  2:4 changes size only: coral, cpu\n  2:4 changes speed: orin\n" in text


def test_what_the_file_holds(compressed, bundles, capsys):
    holds = "  in the file: 1 kernels, 33 weights, 6 of them zero (18.2%)"
    assert holds + ", at most 6 different values in one\n" in inspect(capsys, compressed)
    for name, rest in (("int8", ", at most 6 different values in one\n"), ("fp32", "\n"), ("onnx", "\n")):
        text = inspect(capsys, os.path.join(bundles, name + ".edgeseg"))
        assert "\ncompression\n  none\n" + holds + rest in text, name


def test_json(compressed, capsys):
    found = json.loads(inspect(capsys, compressed, "--json"))
    assert found["manifest"]["compression"]["steps"] == STEPS
    (kernel,) = found["kernels"]
    assert (kernel["weights"], kernel["zeros"], kernel["values"], kernel["dtype"]) == (33, 6, 6, "int8")


def test_a_report_that_the_file_belies_is_refused(compressed, capsys):
    with zipfile.ZipFile(compressed) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert members["manifest.json"].count(b'"zeros":6') == 1
    members["manifest.json"] = members["manifest.json"].replace(b'"zeros":6', b'"zeros":7')
    with zipfile.ZipFile(compressed, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    assert main(["inspect", compressed]) == 4
    error = capsys.readouterr().err
    assert "small.edgeseg: its compression names 7 zeros" in error and "export the network again" in error
