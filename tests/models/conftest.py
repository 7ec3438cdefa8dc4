"""A miniature dataset in CamVid's layout; Keras runs on $KERAS_BACKEND, else on the first backend there is."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

BACKENDS = [name for name in ("tensorflow", "torch", "jax") if importlib.util.find_spec(name)]
if not BACKENDS or not all(importlib.util.find_spec(name) for name in ("keras", "cv2", "matplotlib")):
    collect_ignore_glob = ["test_*.py"]  # a board, where nothing is trained
else:
    os.environ.setdefault("KERAS_BACKEND", BACKENDS[0])  # before any test imports Keras
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def pytest_configure(config: pytest.Config) -> None:
    # Keras' variables do not know NumPy 2's keyword; Keras itself converts them this way when it saves.
    text = "__array__ implementation doesn't accept a copy keyword"
    config.addinivalue_line("filterwarnings", f"ignore:{text}:DeprecationWarning")


HEIGHT, WIDTH = 64, 96
VOID = 11


def street(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A street of flat colours: RGB image (64, 96, 3) and label (64, 96), all 11 classes, a void margin."""
    from edgeseg.palette import CAMVID

    label = np.zeros((HEIGHT, WIDTH), np.uint8)  # sky
    horizon = int(rng.integers(26, 36))
    label[horizon - 18 : horizon, : WIDTH // 2] = 1  # building
    label[horizon - 14 : horizon, WIDTH // 2 :] = 5  # tree
    label[horizon - 4 : horizon, WIDTH // 2 :] = 7  # fence
    label[horizon:] = 3  # road
    label[horizon : horizon + 8, : WIDTH // 4] = 4  # pavement
    for cls, height, width in ((8, 12, 20), (10, 10, 8), (9, 12, 5), (2, 22, 3), (6, 6, 6)):
        x = int(rng.integers(4, WIDTH - width - 4))
        top = horizon + 6 - height
        label[top : top + height, x : x + width] = cls
    colors = np.array([c.color for c in CAMVID] + [(0, 0, 0)])
    label[:, :2] = VOID
    image = colors[label] + rng.normal(0, 8, (HEIGHT, WIDTH, 3))
    return np.clip(image, 0, 255).astype(np.uint8), label


def write_pair(root: Path, split: str, name: str, image: np.ndarray, label: np.ndarray) -> None:
    import cv2

    for folder, pixels in ((split, image[..., ::-1]), (split + "annot", label)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(root / folder / f"{name}.png"), pixels)


@pytest.fixture(scope="session")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 12 training images of two drives, `a_` and `b_`, and 4 validation images."""
    root = tmp_path_factory.mktemp("streets")
    rng = np.random.default_rng(1)
    for index in range(12):
        write_pair(root, "train", f"{'ab'[index % 2]}_{index:02}", *street(rng))
    for index in range(4):
        write_pair(root, "val", f"c_{index:02}", *street(rng))
    return root
