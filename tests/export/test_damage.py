"""The ranking of layers by what int8 costs finds the one that was spoiled."""

import argparse
import json

import numpy as np
import pytest

from edgeseg.cli.inspect_damage import configure, damage_report, is_given
from edgeseg.datasets import open_dataset
from edgeseg.errors import UsageError
from edgeseg.export.damage import damage
from edgeseg.models.activations import observe
from edgeseg.models.fake_quant import Range, int8_operations
from edgeseg.models.file import load_network, save_network


def arguments(*given):
    parser = argparse.ArgumentParser()
    parser.add_argument("file", nargs="?")
    configure(parser)
    return parser.parse_args([str(one) for one in given])


def test_the_spoiled_layer_is_the_worst(workshop, tmp_path):
    """Its weights on a feature that is always zero do nothing but make the steps of the others coarse."""
    network, card = load_network(workshop.network)
    norm, spoiled = network.get_layer("depthwise4_BN"), network.get_layer("conv5")
    for weight in (norm.gamma, norm.beta):
        weight.assign(np.where(np.arange(64) == 0, 0, np.array(weight)))
    kernel = np.array(spoiled.kernel)
    kernel[:, :, 0] = 500 * np.abs(kernel).max()
    spoiled.kernel.assign(kernel)
    path = tmp_path / "network.keras"
    save_network(path, network, card)
    args = arguments(path, "--damage", "--data", workshop.data, "--images", 3)
    assert is_given(args)
    report = damage_report(args)
    rows = json.loads(json.dumps(report))["layers"]
    assert {row["layer"] for row in rows} == {operation[0] for operation in int8_operations(network)}
    assert rows[0]["layer"] == "conv5" and rows[0]["agreement"] < 0.9 * rows[1]["agreement"]
    assert [row["agreement"] for row in rows] == sorted(row["agreement"] for row in rows)
    assert min(row["agreement"] for row in rows[1:]) > 0.9, "another layer's rounding was left on"
    text = "\n".join(report["text"])
    assert "on 3 images of CamVid val" in text and "conv5" in report["text"][2]


def test_a_range_that_cuts_too_much_costs_its_layer_alone(workshop):
    network, _ = load_network(workshop.network)
    dataset = open_dataset(str(workshop.data))
    images = [dataset.read(pair)[0] for pair in dataset.pairs("val")]
    seen = observe(network, images)
    (conv3,) = (operation for operation in int8_operations(network) if operation[0] == "conv3")
    said: list[str] = []
    rows = damage(network, seen, seen.ranges("percentile") | {conv3[-1]: Range(0, 0.05)}, images[:2], said.append)
    assert rows[0].layer == "conv3" and rows[0].agreement < 0.5
    assert rows[1].agreement > 0.9
    assert said[-1] == f"layer {len(rows)} of {len(rows)}"


def test_arguments_that_do_not_go_together():
    assert not is_given(arguments("a.keras"))
    for given, missing in (
        (("a.keras", "--damage"), "--data DIR"),
        (("--damage", "--data", "d"), ".keras file"),
        (("a.keras", "--data", "d"), "add --damage"),
        (("a.keras", "--images", "3"), "add --damage"),
    ):
        with pytest.raises(UsageError) as caught:
            is_given(arguments(*given))
        assert missing in caught.value.fix
