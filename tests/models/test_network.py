"""The network contract: names, sizes, widths, strides, and a file that plain Keras can read."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from edgeseg.errors import UsageError
from edgeseg.models.file import NetworkCard, load_network, save_network
from edgeseg.models.network import ARCHITECTURES, NetworkSpec, build, check
from edgeseg.models.spec import Upsampling
from edgeseg.palette import CAMVID

SPEC = NetworkSpec("fcn8", 0.35, (64, 96), 11)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(("width", "imgsz"), [(0.35, (64, 64)), (1.0, (96, 64))])
def test_logits_at_the_output_stride(name: str, width: float, imgsz: tuple[int, int]) -> None:
    network = build(NetworkSpec(name, width, imgsz, 7))
    stride = ARCHITECTURES[name].stride
    assert network.input_shape == (None, *imgsz, 3)
    assert network.output_shape == (None, imgsz[0] // stride, imgsz[1] // stride, 7)
    logits = keras.ops.convert_to_numpy(network(np.zeros((1, *imgsz, 3), np.float32)))
    assert logits.shape == (1, imgsz[0] // stride, imgsz[1] // stride, 7)
    assert network.layers[-1].activation is keras.activations.linear, "no softmax in the network"


# Parameters of the backbone without its classifier, as keras.applications documents and builds them.
@pytest.mark.parametrize(
    ("width", "parameters"), [(0.35, 410_208), (0.5, 706_224), (0.75, 1_382_064), (1.0, 2_257_984), (1.4, 4_363_712)]
)
def test_width_multiplier_gives_the_reference_backbone(width: float, parameters: int) -> None:
    network = build(NetworkSpec("fcn32", width, (32, 32), 2))
    cut = keras.Model(network.input, network.get_layer("out_relu").output)
    assert cut.count_params() == parameters


def test_any_size_divisible_by_32() -> None:
    for imgsz in ((32, 32), (352, 480), (480, 640), (1024, 2048)):
        check(SPEC._replace(imgsz=imgsz))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_smallest_size(name: str) -> None:
    smallest = ARCHITECTURES[name].smallest
    spec = SPEC._replace(architecture=name, imgsz=(smallest, smallest))
    assert build(spec).output_shape[1:3] == (smallest // spec.stride, smallest // spec.stride)
    with pytest.raises(UsageError, match=f"use --imgsz {smallest} {smallest}$"):
        build(spec._replace(imgsz=(smallest - 32, smallest)))


def test_wrong_size_lists_sizes_that_do() -> None:
    with pytest.raises(UsageError) as caught:
        build(SPEC._replace(imgsz=(360, 480)))
    assert "360 480" in caught.value.message
    assert "--imgsz 352 480 or --imgsz 384 480" in caught.value.fix
    with pytest.raises(UsageError, match="--imgsz 32 32"):
        build(SPEC._replace(imgsz=(1, 0)))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"architecture": "unet"}, "fcn32, fcn16, fcn8, spp"), ({"width": 0.0}, "width"), ({"classes": 1}, "class")],
)
def test_what_cannot_be_built(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(SPEC._replace(**change))  # type: ignore[arg-type]


def test_learned_upsampling_starts_as_the_bilinear_resize() -> None:
    learned = build(SPEC._replace(upsampling="learned"))
    for name in ("up16", "up8"):
        layer = learned.get_layer(name)
        features = np.random.default_rng(0).normal(size=(1, 6, 7, 128)).astype(np.float32)
        expected = keras.layers.UpSampling2D(2, interpolation="bilinear")(features)
        got, expected = (keras.ops.convert_to_numpy(x)[:, 2:-2, 2:-2] for x in (layer(features), expected))
        assert np.allclose(got, expected, atol=1e-5)
        assert layer.trainable_weights, "it must be learned"


LOAD_PLAIN = """
import sys, numpy as np, keras
network = keras.saving.load_model(sys.argv[1], compile=False, safe_mode=True)
assert not any(name.startswith("edgeseg") for name in sys.modules)
np.save(sys.argv[2], keras.ops.convert_to_numpy(network(np.load(sys.argv[3]))))
"""


def card(spec: NetworkSpec) -> NetworkCard:
    return NetworkCard(spec, CAMVID, "CamVid", {"epochs": 3}, "random", {"val_miou": 0.5, "val_iou": {"Sky": None}})


@pytest.mark.parametrize(("name", "upsampling"), [("fcn8", "bilinear"), ("fcn8", "learned"), ("spp", "bilinear")])
def test_file_round_trip(tmp_path: Path, name: str, upsampling: Upsampling) -> None:
    spec = SPEC._replace(architecture=name, upsampling=upsampling, geometry="same")
    network = build(spec)
    path = tmp_path / "network.keras"
    save_network(path, network, card(spec))
    assert [p.name for p in tmp_path.iterdir()] == ["network.keras"]
    loaded, loaded_card = load_network(path)
    assert loaded_card == card(spec)
    image = np.random.default_rng(0).uniform(-1, 1, (1, 64, 96, 3)).astype(np.float32)
    expected = keras.ops.convert_to_numpy(network(image))
    assert np.allclose(keras.ops.convert_to_numpy(loaded(image)), expected, atol=1e-5)


def test_plain_keras_reads_the_file_in_a_fresh_process(tmp_path: Path) -> None:
    network = build(SPEC._replace(architecture="spp", upsampling="learned"))
    save_network(tmp_path / "network.keras", network, card(SPEC))
    image = np.random.default_rng(0).uniform(-1, 1, (1, 64, 96, 3)).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    files = [str(tmp_path / name) for name in ("network.keras", "logits.npy", "image.npy")]
    subprocess.run([sys.executable, "-c", LOAD_PLAIN, *files], check=True, cwd=tmp_path)
    expected = keras.ops.convert_to_numpy(network(image))
    assert np.allclose(np.load(tmp_path / "logits.npy"), expected, atol=1e-5)


def test_files_that_are_no_network_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "network.keras"
    with pytest.raises(UsageError, match="not a network trained by edgeseg"):
        load_network(path)
    path.write_bytes(b"something else")
    with pytest.raises(UsageError, match="not a network trained by edgeseg"):
        load_network(path)
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(path)
    with pytest.raises(UsageError, match=r"network\.keras of `edgeseg train`"):
        load_network(path)
    save_network(path, build(SPEC), card(SPEC))
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(UsageError, match="not a network trained by edgeseg"):
        load_network(path)
