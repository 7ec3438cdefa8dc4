"""The rooflines of boards: their constants against data sheets, their estimates against published measurements."""

import keras
import pytest

from edgeseg.export.roofline import basis, bound_ms, chip_of, estimate_ms
from edgeseg.export.targets import TARGETS, find_target
from edgeseg.models.cost import Operation, operations

BOARDS = [name for name, target in TARGETS.items() if target.board]


@pytest.mark.parametrize(
    "name, tflops", [("nano", 0.472), ("tx1", 1.0), ("tx2", 1.33), ("xavier", 11.0), ("orin", 42.5)]
)
def test_peak_is_that_of_the_data_sheet(name, tflops):
    chip = chip_of(find_target(name))
    assert chip and abs(chip.dense / (tflops * 1e12) - 1) < 0.03


def test_an_operation_is_bound_by_arithmetic_or_by_memory():
    chip = chip_of(find_target("xavier"))
    assert chip
    image = Operation("image", (), 0, 10**9)
    dense = Operation("conv", ("image",), 1000, 1000, 1000, macs=10**9)
    assert bound_ms([image, dense], chip) == pytest.approx(1e3 * 2e9 / chip.dense)
    assert bound_ms([image, dense._replace(depthwise=True)], chip) == pytest.approx(1e3 * 2e9 / chip.depthwise)
    copy = Operation("up", ("conv",), 10**7, 10**7)
    assert bound_ms([copy], chip) == pytest.approx(1e3 * 2 * 2e7 / 136.5e9)
    assert bound_ms([image, dense, copy], chip) == pytest.approx(bound_ms([dense], chip) + bound_ms([copy], chip))


def test_a_cpu_has_no_roofline():
    assert chip_of(find_target("cpu")) is None


@pytest.mark.parametrize(
    "network, side, target, ms",
    [
        ("MobileNetV2", 300, "nano", 1000 / 64),
        ("MobileNetV2", 224, "nano", 17.65),
        ("MobileNet", 224, "tx2", 12.9),
        ("MobileNetV2", 224, "xavier", 1000 / 723),
        ("MobileNetV2", 224, "coral", 2.6),
    ],
)
def test_published_latencies_lie_where_the_estimate_says(network, side, target, ms):
    """Sources: the list at the top of edgeseg/export/roofline.py."""
    with keras.StatelessScope(initialize_variables=False):
        steps = operations(getattr(keras.applications, network)(input_shape=(side, side, 3), weights=None))
    chip = chip_of(find_target(target))
    assert chip
    ratio = ms / bound_ms(steps, chip)
    assert 0.98 * min(chip.measured) <= ratio <= 1.02 * max(chip.measured)
    assert min(abs(ratio / known - 1) for known in chip.measured) < 0.02
    assert 0.4 < estimate_ms(steps, chip) / ms < 2.1


@pytest.mark.parametrize("name", [*BOARDS, "coral"])
def test_what_is_said_of_an_estimate(name):
    target = find_target(name)
    chip = chip_of(target)
    assert chip and min(chip.measured) < chip.slowdown < max(chip.measured)
    text = basis(target, chip)
    assert "estimated" in text and "not measured" in text and target.precisions[0] in text
    assert ("none being known of Orin" in text) == name.startswith("orin")
