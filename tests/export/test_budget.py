"""The choice for a budget: what fits is taken, the best of it, and nothing is said to be measured that is not."""

import math

import pytest

from edgeseg.errors import UsageError
from edgeseg.export import budget
from edgeseg.export.budget import NETWORKS, WIDTHS, Counted, Estimated, Fixed, Graphs, Measured, candidates, choose
from edgeseg.export.roofline import chip_of
from edgeseg.export.targets import find_target
from edgeseg.models.cost import cost_of, outline
from edgeseg.models.spec import ARCHITECTURES, NetworkSpec

CAMVID = (360, 480)


@pytest.fixture(scope="module")
def graphs():
    return Graphs()


def of_fcn8(**fixed):
    return candidates(CAMVID, 11, Fixed(network="fcn8", **fixed), WIDTHS)


def test_every_network_may_be_chosen():
    assert sorted(NETWORKS) == sorted(ARCHITECTURES)
    assert [ARCHITECTURES[name].stride for name in NETWORKS] == sorted(a.stride for a in ARCHITECTURES.values())


def test_candidates_are_of_the_data_s_shape_and_none_is_larger():
    specs = [c.spec for c in candidates(CAMVID, 11, Fixed(), WIDTHS)]
    sizes = {spec.imgsz for spec in specs}
    assert max(sizes) == (352, 480) and (224, 320) in sizes
    assert all(abs(h / w / (3 / 4) - 1) < 0.13 and min(h / 360, w / 480) >= 0.25 for h, w in sizes)
    assert specs[0] == NetworkSpec("spp", 1.4, (352, 480), 11)
    assert [spec.architecture for spec in specs] == sorted((s.architecture for s in specs), key=NETWORKS.index)
    (only,) = candidates((20, 20), 3, Fixed("spp"), [1.0])
    assert only.spec.imgsz == (64, 64)


def test_width_and_resolution_are_turned_down_together(graphs):
    """A quarter of the computation is found neither by width nor by resolution alone."""
    full = graphs.macs(NetworkSpec("fcn8", 1.4, (352, 480), 11))
    spec = choose(of_fcn8(), full / 4, Counted(graphs)).spec
    assert spec.width < 1.4 and spec.imgsz < (352, 480)


@pytest.mark.parametrize("limit", [0.15e9, 5e9])
def test_the_best_that_fits_is_taken(graphs, limit):
    found = of_fcn8()
    choice = choose(found, limit, Counted(graphs))
    assert choice.figure == cost_of(outline(choice.spec)).macs <= limit
    better = found[: [c.spec for c in found].index(choice.spec)]
    assert [c.spec for c in better] == [spec for spec, _, _ in choice.rejected]
    assert all(figure > limit for _, figure, _ in choice.rejected)


def test_what_is_given_is_kept(graphs):
    found = candidates(CAMVID, 11, Fixed("fcn16", (224, 320)), [0.5, 0.35])
    assert {(c.spec.architecture, c.spec.imgsz) for c in found} == {("fcn16", (224, 320))}
    assert choose(found, 1e9, Counted(graphs)).spec.width == 0.5


@pytest.mark.parametrize(
    "fixed, widths, words",
    [
        (Fixed("unet"), [1.0], "there is no network 'unet'"),
        (Fixed("fcn8"), [9.0], "width multiplier 9.0"),
        (Fixed("fcn8", (100, 100)), [1.0], "--imgsz 100 100"),
        (Fixed("spp", (32, 64)), [1.0], "at least 64"),
    ],
)
def test_what_cannot_be_built_is_refused(fixed, widths, words):
    with pytest.raises(UsageError, match=words):
        candidates(CAMVID, 11, fixed, widths)


def test_nothing_fits(graphs):
    smallest = NetworkSpec("fcn8", 0.35, (96, 128), 11)
    macs = graphs.macs(smallest)
    with pytest.raises(UsageError, match=r"fcn8 0\.35 at 96x128") as error:
        choose(of_fcn8(), macs - 1, Counted(graphs))
    assert f"{macs / 1e6:.3g} M MACs" in error.value.message and "counted" in error.value.message
    assert choose(of_fcn8(), macs, Counted(graphs)).spec == smallest


def test_time_on_a_board_is_estimated(graphs):
    chip = chip_of(find_target("xavier"))
    assert chip
    meter = Estimated(graphs, chip)
    choice = choose(of_fcn8(), 4.0, meter)
    assert choice.figure == meter.confirm(choice.spec) <= 4.0 and meter.how == "estimated"
    slower = chip_of(find_target("nano"))
    assert slower and Estimated(graphs, slower).predict(choice.spec) > 4.0


class Cpu:
    """Stands in for LiteRT: milliseconds that do not follow the MACs, and what was measured."""

    def __init__(self, monkeypatch, ms):
        self.measured: list[NetworkSpec] = []
        self._ms = ms
        monkeypatch.setattr(budget, "random_int8", lambda spec: spec)
        monkeypatch.setattr(budget, "measure_ms", self._measure)

    def _measure(self, files, threads):
        assert threads == 3
        self.measured += files
        return [self._ms(spec) for spec in files]


def test_time_on_the_cpu_is_measured_near_the_limit_only(graphs, monkeypatch):
    """Narrow networks are slow for their MACs: what was predicted does not hold, and is corrected by measuring."""
    cpu = Cpu(monkeypatch, lambda spec: 2 + graphs.macs(spec) / 50e6)
    said: list[str] = []
    choice = choose(of_fcn8(), 12.0, Measured(graphs, 3, said.append))
    assert choice.spec in cpu.measured and choice.figure == 2 + graphs.macs(choice.spec) / 50e6 <= 12
    assert len(cpu.measured) == len(set(cpu.measured)) <= budget.MOST_CONFIRMED
    assert said == [f"measuring {budget.title(spec)}" for spec in cpu.measured]
    confirmed = {spec for spec, _, is_confirmed in choice.rejected if is_confirmed}
    assert confirmed < set(cpu.measured)
    affordable = [c.spec for c in of_fcn8() if 2 + graphs.macs(c.spec) / 50e6 <= 12]
    assert choice.spec in affordable[:3]


def test_measuring_ends(graphs, monkeypatch):
    """On a machine whose figures make no sense, the best that was measured to fit is taken, or the cheapest named."""
    cpu = Cpu(monkeypatch, lambda spec: 50.0 if spec.width > 0.5 else 1.0)
    assert choose(of_fcn8(), 3.0, Measured(graphs, 3, print)).spec.width <= 0.5
    assert len(cpu.measured) <= budget.MOST_CONFIRMED + 1
    cpu = Cpu(monkeypatch, lambda spec: 50.0)
    with pytest.raises(UsageError, match=r"takes 50 ms \(measured\)"):
        choose(of_fcn8(), 3.0, Measured(graphs, 3, print))
    assert len(cpu.measured) <= budget.MOST_CONFIRMED + 1


def test_loss_is_that_of_its_sources():
    """Points below width 1.0 and full resolution: MobileNetV2's on ImageNet, fcn8-camvid's on CamVid val."""

    def loss(width, scale):
        one, other = (
            budget.Candidate(NetworkSpec("fcn8", w, (352, 480), 11), s).preference[1]
            for w, s in ((width, scale), (1, 1))
        )
        return one - other

    for width, top1 in ((0.75, 69.8), (0.5, 65.4), (0.35, 60.3)):
        assert abs(loss(width, 1) - (71.8 - top1)) < 0.5
    for size, miou in (((256, 352), 69.8), ((224, 320), 68.1), ((192, 256), 64.9), ((160, 224), 60.9)):
        assert abs(loss(1, math.sqrt(math.prod(size) / (352 * 480))) - (73.5 - miou)) < 1.0
