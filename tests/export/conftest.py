"""A small network that segments generated streets, its dataset on disk, and what is exported from it."""

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from edgeseg.palette import CAMVID

if not importlib.util.find_spec("tensorflow"):
    pytest.skip("export needs TensorFlow", allow_module_level=True)
os.environ["KERAS_BACKEND"] = "tensorflow"  # before any test imports Keras

HEIGHT, WIDTH = 64, 96
VOID = 11


class Workshop(NamedTuple):
    """Folder with network.keras (FCN-8s, width 0.35, 64x96) and a dataset in CamVid's layout."""

    network: Path
    data: Path


def street(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """RGB image (64, 96, 3) and labels (64, 96): regions of the classes' colours, with noise; a void margin."""
    label = np.zeros((HEIGHT, WIDTH), np.uint8)
    horizon = int(rng.integers(24, 40))
    label[horizon:] = 3
    for _ in range(8):
        height, width = rng.integers(10, 30, 2)
        y, x = rng.integers(0, HEIGHT - height), rng.integers(0, WIDTH - width)
        label[y : y + height, x : x + width] = rng.integers(0, len(CAMVID))
    colors = np.array([c.color for c in CAMVID])
    image = np.clip(colors[label] + rng.normal(0, 6, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
    label[:, :2] = VOID
    return image, label


def write_dataset(root: Path, train: int = 16, val: int = 6) -> None:
    import cv2

    rng = np.random.default_rng(1)
    for split, count in (("train", train), ("val", val)):
        for index in range(count):
            image, label = street(rng)
            for folder, pixels in ((split, image[..., ::-1]), (split + "annot", label)):
                (root / folder).mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(root / folder / f"{split}_{index:02}.png"), pixels)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A few layers of each kind that the real networks have. All but the last keep their random weights:
    BatchNorm and the last layer are fitted in closed form, in a second.
    """
    folder = tmp_path_factory.mktemp("workshop")
    data = folder / "data"
    write_dataset(data)
    return Workshop(_fitted(small_network, "fcn8", folder, data), data)


@pytest.fixture(scope="session")
def spp(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """network.keras of the whole head of SPP on a few layers, trained for a few seconds."""
    return _fitted(trained_spp, "spp", tmp_path_factory.mktemp("spp"), workshop.data)


def _fitted(build: Callable[[], Any], architecture: str, folder: Path, data: Path) -> Path:
    from edgeseg.export.quiet import import_tensorflow

    import_tensorflow()
    import keras

    from edgeseg.models.average import restore_batch_norm
    from edgeseg.models.file import NetworkCard, save_network
    from edgeseg.models.network import NetworkSpec

    keras.utils.set_random_seed(3)
    network = build()
    batch, labels = _examples(HEIGHT // network.output_shape[1])
    restore_batch_norm(network, [batch], 1)
    _fit_last_layer(network, batch, labels)
    spec = NetworkSpec(architecture, 0.35, (HEIGHT, WIDTH), len(CAMVID))
    card = NetworkCard(spec, CAMVID, "CamVid", {"epochs": 0, "data": str(data)}, "random", {"val_miou": 0.5})
    save_network(folder / "network.keras", network, card)
    return folder / "network.keras"


def _examples(stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Float images (64, 64, 96, 3) in -1..1 and the labels of their cells (64, 64 / stride, 96 / stride)."""
    rng = np.random.default_rng(2)
    images, labels = (np.stack(group) for group in zip(*(street(rng) for _ in range(64)), strict=True))
    return images.astype(np.float32) / 127.5 - 1, labels[:, stride // 2 :: stride, stride // 2 :: stride]


def small_network(imgsz=(HEIGHT, WIDTH)):
    """Stride 8, with padding, depthwise layers, a x2 upsampling and a sum, as in FCN-8s."""
    import keras
    from keras import layers

    image, x = _stem(imgsz)
    skip = _norm(x, layers.DepthwiseConv2D(3, 2, padding="same", use_bias=False, name="depthwise4"))
    x = _norm(skip, layers.Conv2D(64, 3, 2, padding="same", use_bias=False, name="conv5"))
    x = layers.Add()([layers.UpSampling2D(2, interpolation="bilinear")(x), skip])
    return keras.Model(image, layers.Conv2D(len(CAMVID), 1, name="score")(x))


def trained_spp():
    """The whole head of SPP, on taps of stride 4 to 32. Through so many random layers a fit is not enough."""
    import keras
    from keras import layers

    from edgeseg.models.backbone import Features
    from edgeseg.models.spp import spp_logits

    image, x = _stem((HEIGHT, WIDTH))
    taps = [x]
    for scale in (8, 16, 32):
        x = _norm(x, layers.Conv2D(64, 3, 2, padding="same", use_bias=False, name=f"conv{scale}"))
        taps.append(x)
    network = keras.Model(image, spp_logits(Features(*taps), len(CAMVID), "bilinear"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=VOID)
    network.compile(keras.optimizers.Adam(3e-3), loss)
    network.fit(*_examples(4), batch_size=16, epochs=15, verbose=0)
    return network


def _stem(imgsz):
    """The image, and features of stride 4."""
    import keras
    from keras import layers

    image = keras.Input((*imgsz, 3), name="image")
    x = _norm(layers.ZeroPadding2D(1)(image), layers.Conv2D(32, 3, 2, use_bias=False, name="conv1"))
    x = _norm(layers.ZeroPadding2D(1)(x), layers.DepthwiseConv2D(3, 2, use_bias=False, name="depthwise2"))
    return image, _norm(x, layers.Conv2D(64, 1, use_bias=False, name="conv3"))


def _norm(x, layer):
    from keras import layers

    return layers.ReLU(6.0)(layers.BatchNormalization(name=layer.name + "_BN")(layer(x)))


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the network of the workshop be built for any size, though it is none of those of edgeseg."""
    monkeypatch.setattr("edgeseg.export.source.build", lambda spec: small_network(spec.imgsz))


def _fit_last_layer(network, batch: np.ndarray, labels: np.ndarray) -> None:
    """Ridge regression from the features of the head to the classes, scaled to the size of usual logits."""
    import keras

    score = network.get_layer("score")
    features = keras.Model(network.input, score.input).predict(batch, verbose=0).reshape(-1, score.input.shape[-1])
    known = labels.ravel() < len(CAMVID)
    x = np.concatenate([features, np.ones((len(features), 1))], axis=1)[known].astype(np.float64)
    y = np.eye(len(CAMVID))[labels.ravel()[known]]
    weights = 10 * np.linalg.solve(x.T @ x + 0.1 * np.eye(x.shape[1]), x.T @ y)
    score.set_weights([weights[:-1][None, None].astype(np.float32), weights[-1].astype(np.float32)])


def pytest_configure(config: pytest.Config) -> None:
    """Keras 3.15 on TensorFlow hands NumPy 2 arrays without a `copy` keyword; that is theirs to mend."""
    config.addinivalue_line("filterwarnings", "ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="session")
def int8_bundle(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network exported for cpu with the defaults."""
    return _exported(workshop, tmp_path_factory.mktemp("int8") / "small.edgeseg", "int8")


@pytest.fixture(scope="session")
def fp32_bundle(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _exported(workshop, tmp_path_factory.mktemp("fp32") / "small.edgeseg", "fp32")


def _exported(workshop: Workshop, out: Path, precision: str) -> Path:
    from edgeseg.export.pipeline import ExportRequest, export_bundle

    export_bundle(ExportRequest(str(workshop.network), out, "cpu", precision, str(workshop.data)), lambda text: None)
    return out


@pytest.fixture
def box(workshop: Workshop, int8_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation whose zoo holds the small network."""
    from edgeseg import zoo

    folder = tmp_path / "zoo"
    folder.mkdir()
    shutil.copy(workshop.network, folder / "fcn8-camvid.keras")
    shutil.copy(int8_bundle, folder / "fcn8-camvid.edgeseg")
    monkeypatch.setattr(zoo, "FOLDER", folder)
    return folder
