"""Which steps can be asked for, in which order, for which target: what makes no sense is refused with what does."""

import subprocess
import sys

import pytest

from edgeseg.errors import UsageError
from edgeseg.export.compress.plan import (
    ACCURACY,
    NOTHING,
    SIZE,
    SPEED,
    Step,
    check_order,
    check_target,
    effects,
    hold_after,
    parse_prune,
    parse_share,
    simulates_int8,
)
from edgeseg.export.targets import find_target

CHANNELS, WEIGHTS, SHARE = Step("channels", 0.4), Step("weights", 0.7), Step("share", 16)


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("channels:0.4", Step("channels", 0.4)),
        ("channels:.4", Step("channels", 0.4)),
        ("channels:0.4:params", Step("channels", 0.4, params=True)),
        ("channels:600M", Step("channels", macs=6e8)),
        ("channels:1.2G", Step("channels", macs=1.2e9)),
        ("channels:4.5ms", Step("channels", ms=4.5)),
        ("channels:1.8x", Step("channels", speedup=1.8)),
        ("weights:0.7", Step("weights", 0.7)),
        ("weights:0.7:lottery", Step("weights", 0.7, lottery=True)),
        ("2:4", Step("2:4")),
    ],
)
def test_prune(text, step):
    assert parse_prune(text) == step
    assert parse_prune(step.text) == step, "what the report calls a step can be asked for again"
    assert "/" not in step.folder and ":" not in step.folder


@pytest.mark.parametrize(
    "text",
    [
        "",
        "channels",
        "channels:",
        "channels:0",
        "channels:1",
        "channels:1.0",
        "channels:-0.4",
        "channels:40%",
        "weights:2",
    ]
    + [
        "channels:0x",
        "channels:0.9x",
        "channels:0ms",
        "channels:0.4:lottery",
        "channels:600M:params",
        "weights:600M",
        "weights:0.5:later",
        "1:4",
    ],
)
def test_prune_that_is_none(text):
    with pytest.raises(UsageError, match="no step of pruning") as caught:
        parse_prune(text)
    assert "channels:SHARE" in caught.value.fix


def test_share():
    assert parse_share("16") == SHARE
    for text in ("3", "257", "16.5", "-4", "many", ""):
        with pytest.raises(UsageError, match="no number of clusters") as caught:
            parse_share(text)
        assert "4 to 256" in caught.value.fix


def test_sensible_orders():
    check_order([CHANNELS, Step("channels", 0.3), WEIGHTS, Step("weights", 0.8), Step("qat"), SHARE])
    check_order([Step("2:4"), SHARE])
    check_order([SHARE])
    check_order([SHARE, Step("qat")])


@pytest.mark.parametrize(
    ("steps", "fix"),
    [
        ([SHARE, CHANNELS], "--prune channels first"),
        ([WEIGHTS, CHANNELS], "--prune channels first"),
        ([SHARE, WEIGHTS], "--prune channels first"),
        ([SHARE, Step("share", 8)], "once"),
        ([Step("qat"), CHANNELS], "--qat once, after channels"),
        ([Step("qat"), WEIGHTS, Step("qat")], "once"),
        ([WEIGHTS, Step("2:4")], "one of the two"),
        ([Step("2:4"), WEIGHTS], "one of the two"),
    ],
)
def test_wrong_orders_say_the_right_one(steps, fix):
    with pytest.raises(UsageError, match="undo it or do it twice") as caught:
        check_order(steps)
    assert fix in caught.value.fix


def test_two_of_four_is_for_orin():
    assert check_target([Step("2:4")], find_target("orin"), "int8") == []
    for name in ("tx2", "xavier", "cpu", "coral"):
        with pytest.raises(UsageError, match="2:4 would cost accuracy for nothing") as caught:
            check_target([Step("2:4")], find_target(name), "fp16")
        assert "--prune channels:0.4" in caught.value.fix


def test_qat_needs_int8():
    assert check_target([Step("qat")], find_target("xavier"), "int8") == []
    with pytest.raises(UsageError, match="trains for int8") as caught:
        check_target([Step("qat")], find_target("xavier"), "fp16")
    assert "--precision int8" in caught.value.fix
    with pytest.raises(UsageError, match="trains for int8") as caught:
        check_target([Step("qat")], find_target("tx2"), "fp16")
    assert "no int8 arithmetic" in caught.value.fix


def test_milliseconds_are_those_of_this_machine():
    for text in ("channels:4ms", "channels:1.8x"):
        assert check_target([parse_prune(text)], find_target("cpu"), "int8") == []
        with pytest.raises(UsageError, match="measured on this machine") as caught:
            check_target([parse_prune(text)], find_target("tx2"), "fp16")
        assert "channels:600M" in caught.value.fix
        with pytest.raises(UsageError, match="measured on the int8 file, and this export is fp32"):
            check_target([parse_prune(text)], find_target("cpu"), "fp32")


def test_what_only_makes_files_smaller_is_said():
    told = check_target([CHANNELS, WEIGHTS, SHARE], find_target("xavier"), "int8")
    assert [text.split()[0] for text in told] == ["weights:0.7", "share:16"]
    assert all(SIZE in text and "xavier computes as fast as before" in text for text in told)


def test_shared_weights_are_for_int8():
    with pytest.raises(UsageError, match="grid of int8") as caught:
        check_target([SHARE], find_target("tx2"), "fp16")
    assert "--prune weights:0.7" in caught.value.fix


@pytest.mark.parametrize(
    "words",
    [
        ["--target", "tx2", "--prune", "2:4"],
        ["--target", "tx2", "--precision", "int8"],
        ["--target", "nowhere"],
        ["--target", "cpu", "--share", "16", "--prune", "channels:0.4"],
    ],
)
def test_what_cannot_be_is_told_without_waiting_for_tensorflow(words, tmp_path):
    code = "import sys; from edgeseg.cli import main; print(main(sys.argv[1:]), 'tensorflow' in sys.modules)"
    command = [sys.executable, "-c", code, "export", "fcn8-camvid", "-o", str(tmp_path / "a.edgeseg"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"] and "fix:" in done.stderr


def test_effects():
    assert set(effects("channels").values()) == {SPEED}
    assert set(effects("weights").values()) == set(effects("share").values()) == {SIZE}
    assert {name for name, what in effects("2:4").items() if what == SPEED} == {"orin", "orin-nx", "orin-nano"}
    int8, qat = effects("int8"), effects("qat")
    assert int8["tx2"] == qat["tx2"] == NOTHING and int8["coral"] == SPEED and qat["coral"] == ACCURACY


def test_when_fine_tuning_rounds_to_int8():
    assert simulates_int8([CHANNELS, Step("qat")]) and simulates_int8([Step("qat"), SHARE])
    assert not simulates_int8([CHANNELS, SHARE]) and simulates_int8([WEIGHTS, SHARE], was_trained=True)
    assert not simulates_int8([CHANNELS, SHARE], was_trained=True), "BatchNorm has to recover first"


def test_what_fine_tuning_holds():
    assert hold_after([CHANNELS]) == hold_after([Step("qat")]) == ""
    assert hold_after([CHANNELS, WEIGHTS, Step("qat")]) == hold_after([Step("2:4")]) == "zeros"
    assert hold_after([WEIGHTS, SHARE, Step("qat")]) == "values"
