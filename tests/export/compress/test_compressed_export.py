"""`edgeseg export` with steps of compression, on a small FCN-8s: what is in the bundle is what was asked for."""

import json
from contextlib import contextmanager

import numpy as np
import pytest

from edgeseg.bundle import read_bundle
from edgeseg.cli import main
from edgeseg.coral.preflight import preflight
from edgeseg.export.quiet import import_tensorflow
from edgeseg.kernels import kernels_of
from edgeseg.tflite.model import read_tflite
from edgeseg.trt.recipe import read_recipe

import_tensorflow()

from edgeseg.export.compress.apply import SMALL  # noqa: E402
from edgeseg.export.parity import REQUIRED_AGREEMENT  # noqa: E402
from edgeseg.export.source import at_size, open_network  # noqa: E402
from edgeseg.models.cost import cost_of  # noqa: E402
from edgeseg.models.file import load_network, save_network  # noqa: E402

STEPS = ["--prune", "channels:0.3", "--prune", "weights:0.5", "--qat", "--share", "16"]
FOLDERS = ["1-channels-0.3", "2-weights-0.5", "3-qat", "4-share-16"]
EPOCHS = ["--epochs", "0", "0", "1", "0"]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """network.keras: FCN-8s of the box, for small images."""
    path = tmp_path_factory.mktemp("original") / "network.keras"
    small = at_size(open_network("fcn8-0.35-camvid"), (64, 96))
    save_network(path, small.network, small.card)
    return path


def arguments(original, workshop, out, *more):
    return ["export", str(original), "--target", "cpu", "--data", str(workshop.data), "-o", str(out), *more]


@contextmanager
def wavering():
    """Hardly trained, on strange images, a network wavers; how near int8 has to be is for test_parity.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REQUIRED_AGREEMENT, ("tflite", "int8"), 0.5)
        patch.setattr("edgeseg.export.parity.ALLOWED_MIOU_DROP", 0.5)
        yield


@pytest.fixture(scope="module")
def made(original, workshop, tmp_path_factory):
    """The bundle after all kinds of steps; the folder of the steps is beside it."""
    out = tmp_path_factory.mktemp("made") / "small.edgeseg"
    with wavering():
        assert main(arguments(original, workshop, out, *STEPS, *EPOCHS, "--calibration", "4")) == 0
    return out


def report(bundle):
    record = read_bundle(str(bundle)).manifest.compression
    assert record is not None
    return record


def different(kernels):
    """Most different values in one of these int8 kernels."""
    return max(len(k.values or ()) for k in kernels)


def dense(kernels):
    """Kernels of 1x1 convolutions, but for that of the classes."""
    return [k for k in kernels if k.array.shape[1:3] == (1, 1)][:-1]


def test_the_file_has_what_was_asked_for(made, original):
    """Counted in the int8 file itself: zeros, different values, channels."""
    bundle = read_bundle(str(made))
    kernels = kernels_of(bundle.payloads)
    assert {k.dtype for k in kernels} == {"int8"}
    pruned = dense(kernels)
    assert sum(k.zeros for k in pruned) >= 0.48 * sum(k.weights for k in pruned)
    large = [kernel for kernel in pruned if kernel.weights >= SMALL]
    assert large and different(large) <= 16 < different(kernels) <= 64
    assert all({0, 127} <= {abs(value) for value in k.values or ()} for k in pruned)
    macs = bundle.manifest.network.macs
    assert macs and macs <= 0.7 * cost_of(load_network(original)[0]).macs
    assert all(k.array.shape[0] % 8 == 0 for k in pruned), "channels in multiples of eight"


def test_the_report_tells_of_each_step(made, original):
    record = report(made)
    rows = {row["step"]: row for row in record["steps"]}
    assert list(rows) == ["original", "int8", "channels:0.3", "weights:0.5", "qat", "share:16"]
    assert [row["epochs"] for row in rows.values()] == [0, 0, 0, 0, 1, 0]
    macs = [row["macs"] for row in rows.values()]
    assert macs[0] == macs[1] and macs[2] <= 0.7 * macs[1] and len(set(macs[2:])) == 1
    sizes = [row["bundle_bytes"] for row in rows.values()]
    assert sizes[0] > 3 * sizes[1] > 3 * sizes[2] > 3 * sizes[3] and sizes[4] > sizes[5]
    last = rows["share:16"]
    assert last["bundle_bytes"] == made.stat().st_size
    assert last["ratio"] == pytest.approx(record["original"]["float32_bytes"] / made.stat().st_size, abs=0.06)
    assert record["original"]["float32_bytes"] == 4 * load_network(original)[0].count_params()
    assert rows["weights:0.5"]["nonzeros"] < 0.6 * rows["weights:0.5"]["weights"]
    assert last["nonzeros"] < 1.01 * rows["weights:0.5"]["nonzeros"], "zeros stay, though some weights round to zero"
    assert last["unique"] <= 64 < rows["qat"]["unique"]
    assert last["shannon_bytes"] <= last["huffman_bytes"] < last["payload_bytes"]
    assert all(row["latency_ms"] > 0 and 0 <= row["agreement"] <= 1 for row in rows.values())
    assert last["effects"]["cpu"] == "changes size only" and rows["channels:0.3"]["effects"]["tx2"] == "changes speed"
    assert "--prune channels:0.3 --prune weights:0.5 --qat --share 16 --epochs 0 0 1 0" in record["command"]


def test_what_lies_beside_the_bundle(made):
    work = made.with_suffix(".steps")
    folders = [work.joinpath(*FOLDERS[: n + 1]) for n in range(len(FOLDERS))]
    assert json.loads((work / "compression.json").read_text()) == report(made)
    assert (work / "compression.png").read_bytes().startswith(b"\x89PNG")
    assert (work / "network.keras").read_bytes() == (folders[-1] / "network.keras").read_bytes()
    for folder in folders:
        assert read_bundle(str(folder / "step.edgeseg")).manifest.parity
    assert sorted(path.name for path in made.parent.iterdir()) == [made.name, work.name]


def test_inspect_shows_the_steps(made, capsys):
    assert main(["inspect", str(made)]) == 0
    shown = capsys.readouterr().out
    assert "channels:0.3" in shown and "changes size only" in shown


def test_two_of_four_for_an_orin(original, workshop, tmp_path):
    """The pattern is in the ONNX file that the tensor cores get, where input channels are the second axis."""
    out = tmp_path / "orin.edgeseg"
    words = arguments(original, workshop, out, "--prune", "2:4", "--epochs", "0")
    words[words.index("cpu")] = "orin"
    with wavering():
        assert main(words) == 0
    bundle = read_bundle(str(out))
    pruned = [k for k in kernels_of(bundle.payloads)[:-1] if k.two_of_four is not None]
    assert pruned and all(k.two_of_four for k in pruned)
    fours = pruned[0].array.reshape(len(pruned[0].array), -1, 4)
    assert set(np.count_nonzero(fours, axis=2).ravel()) == {2}
    assert report(out)["pattern"] == "2:4" and report(out)["steps"][-1]["effects"]["orin"] == "changes speed"
    assert not any(np.signbit(kernel.array[kernel.array == 0]).any() for kernel in pruned), "one zero, not two"
    # TensorRT is told of it in later exports of the network too, which know of no compression.
    again = tmp_path / "again.edgeseg"
    assert (
        main(["export", str(out.with_suffix(".steps") / "network.keras"), "--target", "orin-nano", "-o", str(again)])
        == 0
    )
    for path in (out, again):
        assert read_recipe(read_bundle(str(path))).sparse


def test_channels_for_coral(original, workshop, tmp_path, edgetpu_compiler):
    """What is left is still all for the Edge TPU, in one piece; the report counts the file before the compiler's."""
    out = tmp_path / "coral.edgeseg"
    words = arguments(original, workshop, out, "--prune", "channels:0.3", "--epochs", "0")
    words[words.index("cpu")] = "coral"
    with wavering():
        assert main([*words, "--calibration", "4"]) == 0
    bundle = read_bundle(str(out))
    macs = cost_of(load_network(original)[0]).macs
    assert bundle.manifest.network.macs is not None and bundle.manifest.network.macs <= 0.7 * macs
    assert preflight(read_tflite(bundle.payloads["tflite"])).whole and len(bundle.payloads["edgetpu"]) > 0
    before, last = report(out)["steps"][-2:]
    assert last["payload_bytes"] == len(bundle.payloads["tflite"]) < before["payload_bytes"]
    assert last["bundle_bytes"] < min(before["bundle_bytes"], out.stat().st_size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--share", "16", "--prune", "channels:0.4"], "--prune channels first"),
        (["--prune", "2:4"], "2:4 would cost accuracy for nothing"),
        (["--prune", "weights:7"], "no step of pruning"),
        (["--share", "2"], "4 to 256"),
        (["--compress", "auto", "--share", "16"], "leave out --prune"),
        (["--share", "16", "--max-drop", "1"], "--compress auto"),
        (["--max-drop", "1"], "no step is given"),
        (["--compress", "auto", "--max-drop", "-1"], "more than 0"),
        (["--share", "16", "--epochs", "-1"], "below 0"),
        (["--prune", "channels:0.99"], "beyond the budget"),
        (["--prune", "channels:9G"], "within that budget already"),
        (["--qat", "--epochs", "0"], "nothing but fine-tuning"),
        (["--prune", "weights:0.5:lottery", "--epochs", "2"], "no rounds to rewind"),
        (["--share", "16", "--rewind", "fcn8-camvid"], "for a lottery"),
        (["--share", "16", "--criterion", "l1"], "for channels"),
        (["--share", "16", "--precision", "fp32"], "grid of int8"),
        (["--share", "16", "--crop", "100", "100"], "--crop 100 100"),
        (["--share", "16", "--lr", "100"], "--lr 100"),
        (["--share", "16", "--imgsz", "32", "32"], "do not go together"),
        (["--share", "16", "--teacher", "nowhere.keras"], "nowhere.keras"),
    ],
)
def test_what_makes_no_sense(options, message, original, workshop, tmp_path, capsys):
    out = tmp_path / "no.edgeseg"
    assert main(arguments(original, workshop, out, *options)) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said and not out.exists()


def test_without_data(original, tmp_path, capsys):
    assert main(["export", str(original), "--target", "cpu", "-o", str(tmp_path / "x.edgeseg"), "--share", "16"]) == 2
    assert "add --data DIR" in capsys.readouterr().err


def test_int8_of_a_tx2(original, workshop, tmp_path, capsys):
    words = arguments(original, workshop, tmp_path / "x.edgeseg", "--share", "16", "--precision", "int8")
    words[words.index("cpu")] = "tx2"
    assert main(words) == 2
    assert "no int8" in capsys.readouterr().err
