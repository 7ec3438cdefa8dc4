"""How a network gets into the zoo, and what is in it: files, figures and cards that belong together."""

import json
import shlex
from pathlib import Path

import pytest

from edgeseg import zoo
from edgeseg.bundle import read_bundle
from edgeseg.cli.train import configure
from edgeseg.errors import UsageError
from edgeseg.export import zoo as entry
from edgeseg.export.compress.measure import Row
from edgeseg.export.model_card import NOTES, model_card, notes_of, train_command
from edgeseg.export.source import file_sha256
from edgeseg.export.zoo_matrix import kinds, matrix
from edgeseg.models.file import read_card
from edgeseg.models.recipe import Recipe

LIMIT = 40e6  # bytes in the repository

# `small_network` has no epochs and the default input size; the zoo's recipes have all arguments.
RECIPE = Recipe("data", "fcn8", 0.35, (64, 96), (64, 96), "none")._asdict()


@pytest.fixture(scope="module")
def made(workshop, tmp_path_factory):
    """Folder of a zoo with the small network, and what `put` told of it."""
    from edgeseg.models.file import load_network, save_network

    folder = tmp_path_factory.mktemp("zoo")
    network, card = load_network(workshop.network)
    save_network(folder / "run" / "network.keras", network, card._replace(recipe=RECIPE))
    (folder / "fcn8-0.35-camvid.md").write_text("outdated" + NOTES + "\n## Speed\n\nBy hand.\n")
    return folder, entry.put(str(folder / "run"), str(workshop.data), folder)


def test_files_belong_together(made):
    folder, told = made
    files = [f"{told.name}{suffix}" for suffix in (".edgeseg", ".keras", ".md")]
    assert sorted(path.name for path in folder.iterdir()) == [*files, "run"]
    assert told.name == "fcn8-0.35-camvid" and told == zoo.describe(folder / "fcn8-0.35-camvid.keras")
    manifest = read_bundle(str(folder / "fcn8-0.35-camvid.edgeseg")).manifest
    assert manifest.provenance["network_sha256"] == file_sha256(folder / "fcn8-0.35-camvid.keras")
    assert manifest.parity and manifest.parity["miou_float"] == pytest.approx(told.accuracy["miou"])
    assert (told.parameters, told.macs) == (manifest.network.parameters, manifest.network.macs)
    assert told.accuracy["images"] == 6 and 0 < told.accuracy["boundary_miou"] < told.accuracy["miou"]
    assert told.int8 and told.int8["boundary_miou"] == pytest.approx(told.accuracy["boundary_miou"], abs=0.03)


def test_model_card(made):
    folder, told = made
    text = (folder / "fcn8-0.35-camvid.md").read_text()
    assert notes_of(text) == "\n## Speed\n\nBy hand.\n" and "outdated" not in text
    for figure in (told.parameters, *told.files.values()):
        assert f"{figure:,}" in text
    for share in (told.accuracy["miou"], told.accuracy["boundary_miou"], told.int8["miou"], told.int8["agreement"]):
        assert f"{100 * share:.2f}" in text
    assert "edgeseg train --data data --network fcn8 --width 0.35 --imgsz 64 96 --init none --epochs 45 -o" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith(("edgeseg ", "|"))) <= 120


def test_put_again_without_a_bundle(made, workshop):
    folder, told = made
    kept, network = ((folder / f"{told.name}{suffix}").read_bytes() for suffix in (".edgeseg", ".keras"))
    again = entry.put(str(folder / f"{told.name}.keras"), str(workshop.data), folder, keep_bundle=False)
    assert again.int8 is None and list(again.files) == [f"{told.name}.keras"]
    assert (folder / f"{told.name}.keras").read_bytes() == network and again.accuracy == told.accuracy
    assert not (folder / f"{told.name}.edgeseg").exists()
    assert "int8 bundle" not in (folder / f"{told.name}.md").read_text()
    (folder / f"{told.name}.edgeseg").write_bytes(kept)


def test_a_compressed_network_has_its_report(made, workshop):
    """A folder of steps: the last row of the card is measured in the bundle beside it."""
    folder, _ = made
    steps = folder / "run"
    row = Row("int8", 0, 1, 2, 4, 5, 6, 7.0, 8, 9, 10, 1.5, 11, 12, 0.1, 0.2, 0.3, (), {"cpu": "changes speed"}, 9.87)
    original = {"network": str(workshop.network), "sha256": "", "parameters": 1000, "float32_bytes": 400_000}
    record = {"original": original, "command": "edgeseg export fcn8 --share 16", "machine": {}, "shared": False}
    record |= {"pattern": None, "steps": [row._asdict(), row._replace(step="share:16", epochs=3)._asdict()]}
    (steps / "compression.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match="was compressed") as caught:
        entry.put(str(steps), str(workshop.data), folder)
    assert "--name" in caught.value.fix
    small = entry.put(str(steps), str(workshop.data), folder, name="small")
    (steps / "compression.json").unlink()
    manifest = read_bundle(str(folder / "small.edgeseg")).manifest
    assert manifest.compression and manifest.accuracy
    first, last = manifest.compression["steps"]
    assert first == json.loads(json.dumps(row._asdict())) and (last["step"], last["epochs"]) == ("share:16", 3)
    assert last["bundle_bytes"] == small.files["small.edgeseg"] and last["latency_ms"] == 9.87
    assert last["miou"] == pytest.approx(manifest.accuracy["miou"]) and last["weights"] > 1000
    card = (folder / "small.md").read_text()
    assert (
        "edgeseg export fcn8 --share 16" in card and f"{last['bundle_bytes']:,}" in card and "| share:16 | 3 |" in card
    )
    for suffix in (".keras", ".edgeseg", ".md"):
        (folder / ("small" + suffix)).unlink()


def test_data_of_another_kind_changes_nothing(made, workshop, monkeypatch):
    folder, _ = made
    before = {p: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    monkeypatch.setattr(entry, "DATA", {})
    with pytest.raises(UsageError, match="was trained on CamVid"):
        entry.put(str(folder / "run"), str(workshop.data), folder)
    assert {p: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before


def test_the_command_gives_the_recipe_again():
    import argparse

    recipe = Recipe(
        "my data", "spp", 0.5, (224, 320), (160, 224), lr=0.002, rare_crop=0.0, holdout="a_", seed=3, int8=True
    )
    told = shlex.split(train_command(recipe._asdict(), "runs/x"))
    parser = argparse.ArgumentParser()
    configure(parser)
    args = vars(parser.parse_args(told[2:]))
    for name, value in recipe._asdict().items():
        wanted = list(value) if isinstance(value, tuple) else value
        if args[name] is None:
            assert value == Recipe._field_defaults[name], name
        else:
            assert args[name] in (wanted, [wanted]), name
    assert args["out"] == "runs/x"
    assert "--crop" not in train_command(recipe._replace(crop=(224, 320))._asdict(), "x")
    assert "--batch" not in told
    after = train_command(
        recipe._replace(init="wide/network.keras", teacher=("a/network.keras", "b.keras"))._asdict(), "x"
    )
    assert "--init runs/wide/network.keras" in after and "--teacher runs/a/network.keras b.keras" in after


@pytest.mark.parametrize("network", zoo.zoo_networks(), ids=lambda network: network.name)
def test_cards_in_the_box_tell_what_is_in_the_files(network):
    path = zoo.zoo_network(network.name)
    text, card = path.with_suffix(".md").read_text(), read_card(path)
    if card.spec.channels:  # a compressed one has a name of its own
        assert network.name.startswith(entry.zoo_name(card) + "-")
    else:
        assert network.name == entry.zoo_name(card)
    if network.int8:
        manifest = read_bundle(str(zoo.zoo_bundle(network.name))).manifest
        assert manifest.provenance["network_sha256"] == file_sha256(path)
        assert manifest.accuracy and manifest.accuracy["images"] == network.accuracy["images"]
        assert text == model_card(network, card, manifest, notes_of(text))
    else:
        assert f"| {100 * network.accuracy['miou']:.2f}" in text.replace("*", "")


def test_the_zoo_stays_small():
    assert sum(path.stat().st_size for path in Path(zoo.FOLDER).iterdir()) < LIMIT


def test_kinds_are_all_targets_and_precisions():
    from edgeseg.export.targets import TARGETS

    told = [(name, kind.precision) for kind in kinds() for name in kind.targets]
    assert sorted(told) == sorted((t.name, p) for t in TARGETS.values() for p in t.precisions)
    assert [k.targets for k in kinds() if k.precision == "int8"][2:] == [
        ("xavier-nx", "xavier"),
        ("orin-nano", "orin-nx", "orin"),
    ]


def test_matrix(made, workshop, monkeypatch):
    folder, told = made
    monkeypatch.setattr(zoo, "FOLDER", folder)
    chosen = [kind for kind in kinds() if kind.precision == "int8" and kind.targets[0] in ("coral", "xavier-nx")]
    monkeypatch.setattr("edgeseg.export.zoo_matrix.kinds", lambda: chosen)
    rows = list(matrix([told], {"CamVid": str(workshop.data)}, 3))
    assert [row.bundle is not None for row in rows] == [True] * 2
    found = {row.kind.targets[0]: row.checks for row in rows}
    assert "(100%), in one subgraph" in found["coral"]
    assert "from 8.5 on: 0 broken" in found["xavier-nx"] and "Q/DQ nodes" in found["xavier-nx"]
    assert f"| {told.name} | coral | int8 | 3 | " in str(rows[0])
