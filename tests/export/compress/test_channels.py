"""Channel pruning: what is dropped, what stays, and that the graph that is left computes the same."""

import keras
import numpy as np
import pytest

from edgeseg.errors import UsageError
from edgeseg.export.compress.channels import (
    CRITERIA,
    choose,
    importance,
    layout_of,
    narrowed,
    prunable,
    taylor_scores,
    to_share,
)
from edgeseg.models.cost import cost_of
from edgeseg.models.file import NetworkCard, load_network, save_network
from edgeseg.models.network import build
from edgeseg.models.spec import NetworkSpec
from edgeseg.palette import SegClass

SPEC = NetworkSpec("spp", 0.35, (64, 96), 3)


@pytest.fixture(scope="module")
def network():
    """SPP of which every weight and statistic is its own."""
    network = build(SPEC)
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            spans = ((0.5, 1.5), (-0.5, 0.5), (-0.5, 0.5), (0.5, 2.0))
            layer.set_weights([rng.uniform(low, high, shape) for low, high in spans])
    return network


@pytest.fixture(scope="module")
def layout(network):
    return layout_of(network, SPEC)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).uniform(-1, 1, (2, 64, 96, 3)).astype(np.float32)


def logits(network, image):
    return keras.ops.convert_to_numpy(network(image))


def silence(network, layout, dropped):
    """Scale and shift of these channels become zero, so that every ReLU gives zero for them."""
    silent = keras.models.clone_model(network)
    silent.set_weights(network.get_weights())
    for axis in layout.axes:
        name, weight = axis.key.split("/")
        if axis.groups[0] in dropped and weight in ("gamma", "beta"):
            variable = getattr(silent.get_layer(name), weight)
            values = keras.ops.convert_to_numpy(variable).copy()
            values[dropped[axis.groups[0]]] = 0
            variable.assign(values)
    return silent


def test_what_may_be_pruned(layout):
    groups = prunable(layout)
    assert {"block_1_expand", "block_16_expand", "Conv_1", "fc6_pointwise", "pyramid", "reduce4"} <= set(groups)
    assert not {"score", "block_1_project", "expanded_conv_project"} & set(groups)


@pytest.mark.parametrize("criterion", ["l1", "bn"])
def test_the_rest_computes_what_it_did(network, layout, image, criterion):
    """A third is gone; the same as the whole with those channels silent."""
    worth = importance(network, layout, criterion, None)
    kept = choose(layout, worth, to_share(layout, 2 / 3))
    smaller, spec = narrowed(network, SPEC, layout, kept)
    assert 0.62 < cost_of(smaller).macs / cost_of(network).macs <= 2 / 3
    dropped = {g: np.setdiff1d(np.arange(layout.sizes[g]), stay) for g, stay in kept.items()}
    expected = logits(silence(network, layout, dropped), image)
    np.testing.assert_allclose(logits(smaller, image), expected, atol=1e-4 * np.abs(expected).max())
    assert not np.allclose(expected, logits(network, image), atol=1e-2)
    assert all(layer.filters % 8 == 0 or layer.name == "score" for layer in smaller.layers if hasattr(layer, "filters"))
    assert cost_of(build(spec)) == cost_of(smaller)


def test_the_costs_that_the_choice_sees_are_those_of_the_graph(network, layout):
    sizes = dict(layout.sizes) | {"block_6_expand": 16, "fc6_pointwise": 40, "Conv_1": 8}
    kept = {group: np.arange(size) for group, size in sizes.items() if size != layout.sizes[group]}
    assert cost_of(narrowed(network, SPEC, layout, kept)[0]).macs == pytest.approx(layout.cost_at(sizes))


def test_the_least_worth_for_its_cost_goes_first(layout):
    """Of two groups of the same cost the one with the poorer channels; of equal worth the dearer one."""
    worth = {group: np.ones(layout.sizes[group]) for group in ("block_4_expand", "block_5_expand", "block_14_expand")}
    worth["block_5_expand"][[3, 5, 7, 9, 11, 13, 15, 17]] = 0.1
    fits = iter([False, True])
    assert choose(layout, worth, lambda sizes: next(fits)).keys() == {"block_5_expand"}
    fits = iter([False, True])
    (stay,) = choose(layout, worth, lambda sizes: next(fits)).values()
    assert not {3, 5, 7, 9, 11, 13, 15, 17} & set(stay.tolist()) and len(stay) == layout.sizes["block_5_expand"] - 8


def test_a_budget_out_of_reach(layout, network):
    with pytest.raises(UsageError, match="25% of the channels in every layer"):
        choose(layout, importance(network, layout, "l1", None), to_share(layout, 0.01))


def test_a_second_pruning_does_not_go_below_the_quarter_either(network, layout):
    worth = importance(network, layout, "l1", None)
    smaller, spec = narrowed(network, SPEC, layout, choose(layout, worth, to_share(layout, 0.4)))
    again = layout_of(smaller, spec)
    assert again.sizes != layout.sizes and again.fewest == layout.fewest
    with pytest.raises(UsageError, match="25% of the channels in every layer"):
        choose(again, importance(smaller, again, "l1", None), to_share(again, 0.4))


def test_taylor_is_the_change_of_the_loss(network, layout, image):
    """By differences: with gamma and beta of a channel scaled by 1 - e the loss changes by e (g gamma + b beta)."""
    labels = np.random.default_rng(2).normal(size=logits(network, image).shape).astype(np.float32)

    def loss(wanted, found):
        return keras.ops.mean(keras.ops.square(found - wanted))

    name, channel, e = "block_12_expand_BN", 5, 1e-3
    scores = taylor_scores(network, [(image, labels)], loss)
    assert set(scores) == {layer.name for layer in network.layers if layer.name.endswith("BN")} | {
        "bn_Conv1",
        "Conv_1_bn",
    }
    norm = network.get_layer(name)
    before = norm.get_weights()
    values = []
    for sign in (1, -1):
        changed = [weight.copy() for weight in before]
        for weight in changed[:2]:
            weight[channel] *= 1 + sign * e
        norm.set_weights(changed)
        values.append(float(loss(labels, logits(network, image))))
    norm.set_weights(before)
    assert scores[name][channel] == pytest.approx(((values[0] - values[1]) / (2 * e)) ** 2, rel=0.05)
    worth = importance(network, layout, "taylor", scores)
    expected = scores[name] + scores["block_12_depthwise_BN"]
    np.testing.assert_allclose(worth["block_12_expand"], expected)


def test_a_pruned_network_is_saved_and_built_again(network, layout, tmp_path):
    kept = choose(layout, importance(network, layout, "bn", None), to_share(layout, 0.8))
    smaller, spec = narrowed(network, SPEC, layout, kept)
    classes = tuple(SegClass(i, name, (i, i, i)) for i, name in enumerate("abc"))
    save_network(tmp_path / "network.keras", smaller, NetworkCard(spec, classes, "x", {}, "random", {}))
    loaded, card = load_network(tmp_path / "network.keras")
    assert card.spec == spec and spec.channels
    at_other_size = build(spec._replace(imgsz=(64, 64)))
    at_other_size.set_weights(loaded.get_weights())


def test_every_criterion_is_documented():
    from edgeseg.export.compress import channels

    assert all(f'"{name}"' in (channels.__doc__ or "") for name in CRITERIA)
