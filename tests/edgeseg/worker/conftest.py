"""Workers whose children are those of children.py."""

import importlib
import os

import numpy as np
import pytest

FOLDER = os.path.dirname(os.path.abspath(__file__))


@pytest.fixture
def open_adder(monkeypatch):
    """The function of children.py."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("children").open_adder


@pytest.fixture
def open_worker(open_adder, tmp_path):
    """Function (faults={}, **limits) -> a Worker that adds 1; closed after the test."""
    workers = []

    def make(faults=None, **limits):
        workers.append(open_adder(tmp_path, faults, **limits))
        return workers[-1]

    yield make
    for worker in workers:
        worker.close()


@pytest.fixture
def count(tmp_path):
    """Function (name) -> how often children "opened", "called" or "closed"."""

    def of(name):
        path = tmp_path / name
        return path.stat().st_size if path.exists() else 0

    return of


@pytest.fixture
def run():
    """Function (worker, numbers) -> runs a frame filled with each number and checks that its result is its own."""

    def frames(worker, numbers):
        for number in numbers:
            worker.input[...] = number
            assert np.array_equal(worker.infer(), np.full((2, 3), number + 1)), number

    return frames
