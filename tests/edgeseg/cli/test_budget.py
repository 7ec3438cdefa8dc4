"""Arguments of `edgeseg train --budget-...` and `edgeseg inspect --networks`: what goes together, and units."""

import argparse
import sys

import pytest

from edgeseg.cli import budget, inspect, main, train
from edgeseg.errors import UsageError

needs_pc = pytest.mark.skipif(sys.version_info < (3, 10), reason="training needs Python 3.10 or later")


def parsed(command, *arguments):
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return parser.parse_args([str(a) for a in arguments])


@pytest.mark.parametrize(
    "text, value",
    [("600M", 600e6), ("1.2G", 1.2e9), ("1.2g", 1.2e9), ("350000000", 3.5e8), ("5e8", 5e8), ("0.5T", 5e11)],
)
def test_units(text, value):
    args = parsed(train, "-o", "run", "--budget-macs", text)
    assert args.budget_macs == pytest.approx(value) and budget.is_given(args)


@pytest.mark.parametrize("option", ["--budget-macs", "--budget-ms"])
@pytest.mark.parametrize("text", ["0", "-3", "nan", "inf", "G", "", "8 ms", "1.2GM", "fast"])
def test_no_budget(option, text, capsys):
    with pytest.raises(SystemExit) as stop:
        parsed(train, "-o", "run", option + "=" + text)
    assert stop.value.code == 2
    assert "such as" in capsys.readouterr().err


def test_one_budget(capsys):
    with pytest.raises(SystemExit):
        parsed(train, "-o", "run", "--budget-ms", 8, "--budget-macs", "1G")
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--budget-ms", 8, "--resume"], "has its own"),
        (["--target", "xavier"], "--target xavier is for --budget-ms"),
        (["--target", "xavier", "--budget-macs", "1G"], "--target xavier is for --budget-ms"),
    ],
)
def test_what_does_not_go_together(arguments, words):
    with pytest.raises(UsageError, match=words) as error:
        budget.is_given(parsed(train, "-o", "run", *arguments))
    assert error.value.fix


def test_without_a_budget():
    assert not budget.is_given(parsed(train, "-o", "run"))


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "nothing to inspect"),
        (["net.keras", "--measure"], "--measure goes with --networks"),
        (["net.keras", "--imgsz", 64, 96], "--imgsz goes with --networks"),
        (["net.keras", "--classes", 3], "--classes goes with --networks"),
        (["net.keras", "--threads", 3], "--threads goes with --networks"),
        (["net.keras", "--networks"], "net.keras and --networks"),
        (["--networks", "--threads", 2], "--threads is for --measure"),
        (["--networks", "--measure", "--target", "nano"], "times the CPU of this machine, not nano"),
    ],
)
def test_inspect_networks_or_a_file(arguments, words, capsys):
    assert main(["inspect"] + [str(a) for a in arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and "fix:" in error


@pytest.mark.skipif(sys.version_info >= (3, 10), reason="this Python can build networks")
def test_old_python_is_told(capsys):
    assert main(["inspect", "--networks"]) == 3
    assert "needs Python 3.10" in capsys.readouterr().err


def test_help_of_inspect_names_the_table():
    parser = argparse.ArgumentParser()
    inspect.configure(parser)
    assert "--networks" in parser.format_help()
