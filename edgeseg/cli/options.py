"""Arguments that several commands share."""

import argparse

from edgeseg.backends import device_names


def add_runtime_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help=device_names())
    parser.add_argument("--threads", type=cores, default=0, metavar="N", help="inference threads (default: all cores)")


def positive(text: str) -> int:
    """An integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("{} is not at least 1".format(text))
    return value


def cores(text: str) -> int:
    """An integer of at least 0; 0 means all cores."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("{} is below 0".format(text))
    return value


def fraction(text: str) -> float:
    """A number from 0 up to, not including, 1."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError("{} is not in 0..1".format(text))
    return value
