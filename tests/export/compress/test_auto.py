"""The search: how bold it becomes, from where each step goes on, and what it keeps. The steps themselves are fakes."""

from pathlib import Path
from typing import Any

import pytest

from edgeseg.errors import CheckFailed
from edgeseg.export.compress.auto import CHANNELS, Aim, Search
from edgeseg.export.compress.channels import OutOfReachError
from edgeseg.export.compress.measure import Row
from edgeseg.export.compress.run import Compressor, Done

BLANK = Row("", 0, 0, 10**9, 0, 0, 0, 0.0, 1, 1, 1, 0.0, 0, 0, 0.70, 0.70, 1.0, (), {})

ANY_NETWORK: Any = None


class FakeCompressor(Compressor):
    """Steps that cost accuracy as a table says, with float mIoU `float_gain` above the file's."""

    def __init__(self, lost, float_gain=0.0, failing="", unreachable=()):
        self.lost, self.float_gain, self.failing, self.unreachable = lost, float_gain, failing, unreachable
        self.tried: list[list[str]] = []

    def start(self):
        return Done((), ANY_NETWORK, (), Path(), ())

    def go_on(self, done, step):
        if step.kind in self.unreachable:
            raise OutOfReachError("too far", "")
        before = done.rows[-1].miou if done.rows else 0.70
        miou = before - self.lost.get(step.kind, 0.0)
        steps = (*done.steps, step)
        self.tried.append([step.text for step in steps])
        failures = ["80 % agree"] * (step.kind == self.failing)
        row = BLANK._replace(step=step.text, miou=miou, miou_float=miou + self.float_gain, failures=failures)
        return Done(steps, ANY_NETWORK, (*done.rows, row), Path(), (*done.bundles, Path()))


def found(compressor, max_drop=1.0, fastest=False, precision="int8"):
    lines: list[str] = []
    done = Search(compressor, Aim(max_drop, fastest), [BLANK, BLANK], lines.append).run(precision)
    return [step.text for step in done.steps], lines


def test_each_kind_becomes_bolder_within_its_part_of_the_drop():
    steps, lines = found(FakeCompressor({"channels": 0.002, "weights": 0.001, "share": 0.0005}))
    kinds = [text.split(":")[0] for text in steps]
    assert kinds == ["channels"] * 2 + ["weights"] * 3 + ["share"], "0.5, 0.75 and 1.0 of a point"
    assert steps[2:] == ["weights:0.5", "weights:0.65", "weights:0.75", "share:8"]
    assert all(text.endswith(":params") for text in steps[:2])
    assert any("not kept" in line for line in lines) and any("kept" in line and "not" not in line for line in lines)


def test_channels_go_on_from_each_other_and_end_at_the_share_of_the_original():
    steps, _ = found(FakeCompressor({}), fastest=True)
    left = 1.0
    for text, gone in zip(steps, CHANNELS, strict=True):
        left *= 1 - float(text.split(":")[1])
        assert left == pytest.approx(1 - gone, abs=0.005)


def test_the_fastest_has_no_steps_that_only_make_files_smaller():
    steps, _ = found(FakeCompressor({"channels": 0.004}), fastest=True)
    assert len(steps) == 2 and all(text.startswith("channels:") for text in steps)


def test_codebooks_are_tried_from_the_same_network():
    compressor = FakeCompressor({"channels": 1.0, "weights": 1.0, "share": 0.004})
    steps, _ = found(compressor)
    assert steps == ["share:8"]
    assert [steps for steps in compressor.tried if steps[-1].startswith("share")][:2] == [["share:64"], ["share:32"]]


def test_int8_training_only_where_int8_loses_half_a_point():
    assert "qat" in found(FakeCompressor({"channels": 1.0}, float_gain=0.006))[0]
    assert "qat" not in found(FakeCompressor({"channels": 1.0}, float_gain=0.004))[0]


def test_a_float_export_gets_no_codebook():
    steps, _ = found(FakeCompressor({}), precision="fp16")
    assert not any(text.startswith("share") for text in steps)


def test_nothing_within_the_drop():
    with pytest.raises(CheckFailed, match=r"keeps within 0\.1 points") as caught:
        found(FakeCompressor({"channels": 0.01, "weights": 0.01, "share": 0.01}), max_drop=0.1)
    assert "--max-drop" in caught.value.fix


def test_a_file_that_is_not_as_good_as_its_network_is_not_kept():
    assert not any(text.startswith("weights") for text in found(FakeCompressor({}, failing="weights"))[0])


def test_a_budget_out_of_reach_ends_that_kind_only():
    steps, lines = found(FakeCompressor({}, unreachable=("channels",)))
    assert steps[0].startswith("weights") and any("too far" in line for line in lines)


def test_int8_that_loses_from_the_start_is_trained():
    """No step of pruning was kept: the int8 file of the original counts."""
    lost = {"channels": 1.0, "weights": 1.0}
    search = Search(FakeCompressor(lost), Aim(1.0), [BLANK, BLANK._replace(miou=0.69)], lambda text: None)
    assert "qat" in [step.text for step in search.run("int8").steps]
