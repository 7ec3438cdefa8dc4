"""Weights of one network in another: what fits is copied, the rest is named."""

import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from edgeseg.cli import main
from edgeseg.errors import UsageError
from edgeseg.models.file import NetworkCard, save_network
from edgeseg.models.network import NetworkSpec, build
from edgeseg.models.transfer import arrays_of, transfer_text
from edgeseg.models.weights import InitialWeights, find_weights, images_seen, load_into, read_weights
from edgeseg.palette import SegClass
from edgeseg.zoo import zoo_network

SPEC = NetworkSpec("fcn8", 0.5, (64, 64), 3, "same")
CLASSES = ["road", "tree", "sky"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of a run, every weight and statistic of which is its own."""
    network = build(SPEC)
    rng = np.random.default_rng(0)
    network.set_weights([rng.uniform(0.1, 1, w.shape) for w in network.get_weights()])
    path = tmp_path_factory.mktemp("runs") / "street" / "network.keras"
    classes = tuple(SegClass(number, name, (number, 0, 0)) for number, name in enumerate(CLASSES))
    save_network(path, network, NetworkCard(SPEC, classes, "streets", {}, "random", {}, images=40))
    return path


@pytest.fixture(scope="module")
def initial(trained: Path) -> InitialWeights:
    weights = read_weights(str(trained.parent), 0.35)  # the folder of the run stands for its network
    assert weights is not None
    return weights


def test_same_network_at_another_size(trained: Path, initial: InitialWeights) -> None:
    network = build(SPEC._replace(imgsz=(64, 96)))
    transfer = load_into(network, initial, CLASSES)
    assert not transfer.fresh
    assert not transfer.sliced
    theirs = arrays_of(keras.saving.load_model(trained, compile=False))
    for name, array in arrays_of(network).items():
        assert np.array_equal(array, theirs[name]), name


def test_another_architecture_and_other_classes(initial: InitialWeights) -> None:
    assert initial.geometry == "same", "the padding geometry follows the source"
    assert (initial.images, images_seen(initial, 10)) == (40, 50)
    network = build(SPEC._replace(architecture="spp", upsampling="learned"))
    before = arrays_of(network)
    transfer = load_into(network, initial, ["road", "tree", "snow"])
    mixed = ["pyramid", "skip32", "reduce4", "skip4", "refine4_depthwise", "refine4_pointwise"]
    new = [*mixed, *(name + "_BN" for name in mixed), "up16", "up8", "up4"]
    assert transfer.fresh == dict.fromkeys(new, "absent") | {"score": "other classes"}
    for name, array in arrays_of(network).items():
        layer = name.split("/")[0]
        assert np.array_equal(array, (before if layer in transfer.fresh else initial.arrays)[name]), name
    text = transfer_text(initial.source, transfer)
    total = len(transfer.copied) + len(new) + 1
    assert f"street/network.keras: {len(transfer.copied)} of {total} layers copied\n" in text
    assert "new start (absent): pyramid, skip32, up16, up8, reduce4, skip4, up4, refine4_depthwise, " in text
    assert "new start (other classes): score" in text


def test_another_number_of_classes_needs_no_names(initial: InitialWeights) -> None:
    transfer = load_into(build(SPEC._replace(classes=5)), initial)
    assert transfer.fresh == {"score": "other shape: 1x1x128x3, not 1x1x128x5"}


def test_narrower_network_is_cut_out(initial: InitialWeights) -> None:
    transfer = load_into(build(SPEC._replace(width=0.35)), initial, CLASSES)
    assert not transfer.fresh
    assert "block_16_project" in transfer.sliced
    assert "fc6_depthwise" not in transfer.sliced
    assert f"{len(transfer.sliced)} of them cut to this width" in transfer_text("a", transfer)


def test_what_is_no_source(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"street/network.keras has width 0\.5, this network 0\.75") as caught:
        read_weights(str(trained), 0.75)
    assert "--width 0.5" in caught.value.fix
    path = tmp_path / "other.keras"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path)
    with pytest.raises(UsageError, match="not a network trained by edgeseg"):
        read_weights(str(path), 0.5)
    path.write_bytes(trained.read_bytes()[:5000])
    with pytest.raises(UsageError, match="not a network trained by edgeseg"):
        read_weights(str(path), 0.5)
    with zipfile.ZipFile(trained) as whole, zipfile.ZipFile(path, "w") as damaged:
        for name in whole.namelist():
            damaged.writestr(name, whole.read(name)[: 100 if name.endswith(".h5") else None])
    with pytest.raises(UsageError, match="not a network trained by edgeseg"):
        read_weights(str(path), 0.5)


def test_command_line_refuses_what_is_not_there(
    streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["train", "--data", str(streets), "-o", "run", "--imgsz", "64", "96"]
    assert main([*arguments, "--init", "none", "mine.keras"]) == 2
    message = capsys.readouterr().err
    assert "initial weights mine.keras do not exist" in message
    assert "fcn8-camvid" in message
    assert main([*arguments, "--init", "none", "--freeze", "backbone"]) == 2
    assert "--init none has none" in capsys.readouterr().err
    assert main([*arguments, "--freeze", "18"]) == 2
    assert "backbone, or how many of its blocks" in capsys.readouterr().err


def test_network_of_the_zoo() -> None:
    assert find_weights("fcn8-camvid", 1.0) == zoo_network("fcn8-camvid")
