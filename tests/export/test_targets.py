"""What each board has, and that asking for what it has not says what to ask for instead."""

import pytest

from edgeseg.errors import UsageError
from edgeseg.export.targets import TARGETS, check_dla, choose_precision, find_target

JETSONS = ["tx1", "nano", "tx2", "xavier-nx", "xavier", "orin-nano", "orin-nx", "orin"]


def test_the_boards():
    assert list(TARGETS) == ["cpu", "coral", *JETSONS]
    boards = {name: board for name in JETSONS if (board := TARGETS[name].board)}
    assert {name: board.sm for name, board in boards.items()} == dict(
        zip(JETSONS, (53, 53, 62, 72, 72, 87, 87, 87), strict=True)
    )
    assert [name for name, board in boards.items() if board.dla_cores] == ["xavier-nx", "xavier", "orin-nx", "orin"]
    for name, board in boards.items():
        generation = {5: "3.6", 6: "3.6", 7: "3.8", 8: "3.10, 3.12"}[board.sm // 10]
        assert board.python == generation and board.bandwidth_gbps > 20, name
        assert board.tensorrt.startswith("{}.{}".format(*board.oldest_tensorrt))


def test_unknown_target_names_those_that_exist():
    with pytest.raises(UsageError, match="xavier9") as error:
        find_target("xavier9")
    assert all(name in error.value.fix for name in TARGETS)


@pytest.mark.parametrize("name", ["tx1", "nano", "tx2"])
def test_no_int8_where_the_gpu_has_none(name):
    target = find_target(name)
    assert choose_precision(target, None) == "fp16"
    with pytest.raises(UsageError, match="no int8 arithmetic") as error:
        choose_precision(target, "int8")
    assert error.value.fix == "use --precision fp16"


def test_precisions_elsewhere():
    assert [choose_precision(find_target("xavier"), p) for p in (None, "int8", "fp32")] == ["fp16", "int8", "fp32"]
    assert choose_precision(find_target("cpu"), None) == "int8"
    with pytest.raises(UsageError, match="bf16"):
        choose_precision(find_target("orin"), "bf16")
    with pytest.raises(UsageError, match="fp16") as error:
        choose_precision(find_target("cpu"), "fp16")
    assert "int8 or fp32" in error.value.fix


def test_dla_cores():
    check_dla(find_target("xavier"), "fp16", 1)
    check_dla(find_target("tx2"), "fp16", None)
    for name, core in (("xavier", 2), ("xavier", -1), ("tx2", 0), ("orin-nano", 0), ("cpu", 0)):
        with pytest.raises(UsageError, match=f"no DLA core {core}") as error:
            check_dla(find_target(name), "fp16", core)
        assert "xavier, orin-nx, orin" in error.value.fix
    with pytest.raises(UsageError, match="fp16 and int8 only"):
        check_dla(find_target("xavier"), "fp32", 0)
