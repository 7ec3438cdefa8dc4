"""Latency on this machine: a real conversion and real inferences. How long they take is not asserted."""

import keras
import pytest
from keras import layers

from edgeseg.export import measure
from edgeseg.models.network import NetworkSpec
from edgeseg.tflite.checks import check_full_integer
from edgeseg.tflite.model import read_tflite

SPEC = NetworkSpec("fcn8", 0.35, (64, 96), 11)


def small_network(spec):
    image = keras.Input((*spec.imgsz, 3), name="image")
    return keras.Model(image, layers.Conv2D(spec.classes, 3, 2, padding="same")(image))


@pytest.fixture(scope="module")
def small_file():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "build", small_network)
        return measure.random_int8(SPEC)


def test_the_file_is_what_an_export_would_be(small_file):
    model = read_tflite(small_file)
    assert check_full_integer(model) == []
    assert tuple(model.tensors[model.inputs[0]].shape) == (1, 64, 96, 3)


def test_each_file_is_timed_in_turn(small_file):
    said: list[str] = []
    times = measure.measure_ms([small_file, small_file], threads=1, rounds=4, report=said.append)
    assert len(times) == 2 and min(times) > 0
    assert len(said) >= 4 and said[-1].endswith(f"of {len(said)}")


def test_a_busy_machine_is_named(monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 9.0, 9.0))
    assert measure.busy_note() == ""
    monkeypatch.setattr("os.getloadavg", lambda: (50.0, 0.0, 0.0))
    assert "busy (load 50.0" in measure.busy_note()
