"""Initial weights: which file, which padding geometry it was trained in, and how it is loaded."""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeseg.errors import UsageError
from edgeseg.models.checkpoint import UNREADABLE
from edgeseg.models.spec import Geometry

if TYPE_CHECKING:
    import keras

# Files whose geometry is known, by SHA-256. A file outside this list must say its geometry itself:
# an array "geometry" holding "symmetric" or "same".
KNOWN_GEOMETRY: dict[str, Geometry] = {
    # ImageNet 1.0, float32, from PyTorch (padding of 1 on every side)
    "5c4705a160e70700e5f6fa7d154471718f54dbbfbfb6f3c75e4ca15abca3c358": "symmetric",
    # ImageNet 1.0, dequantised from a TensorFlow int8 model
    "eb7909d71fa3946d2ae3d055bfe4393a8b4674cda48180bcc094e6e83abf4839": "same",
    # ImageNet 0.35, float32, keras.applications
    "09aff15516d1b5386262f9bc3761787ad71a32cc34f9eec94b740fabab77136b": "same",
    # COCO and VOC 1.0, dequantised from Coral's DeepLabV3
    "aea2f5de476fdd45f889e7918e75309e0a36a9006e1b3466fa487a4904dee151": "same",
}

BACKBONE_PREFIXES = ("Conv1", "bn_Conv1", "expanded_conv", "block_", "Conv_1")

KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"


class InitialWeights(NamedTuple):
    """Arrays named `layer/weight` and the geometry that they belong to."""

    source: str  # file name
    sha256: str
    geometry: Geometry
    arrays: dict[str, np.ndarray]


def read_weights(init: str, width: float, weights_dir: Path | None = None) -> InitialWeights | None:
    """Resolve `--init`: "none", "imagenet" or a file (.npz, or the .h5 of keras.applications).

    "imagenet" looks in `weights_dir`, $EDGESEG_WEIGHTS and Keras' own cache; nothing is downloaded.
    Raises UsageError where there is no such file, or its geometry is unknown.
    """
    path = find_weights(init, width, weights_dir)
    if path is None:
        return None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if path.suffix == ".h5":
        return InitialWeights(path.name, digest, "same", _read_h5(path, width))
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
    except UNREADABLE as error:
        raise UsageError(f"{path} cannot be read as .npz weights: {error}", "is the file complete?") from error
    geometry = str(arrays.pop("geometry", KNOWN_GEOMETRY.get(digest, "")))
    if geometry not in ("symmetric", "same"):
        raise UsageError(
            f"{path.name} does not say in which padding geometry it was trained",
            'add an array "geometry" to the .npz: "symmetric" (PyTorch) or "same" (TensorFlow, Keras)',
        )
    return InitialWeights(path.name, digest, "symmetric" if geometry == "symmetric" else "same", arrays)


def find_weights(init: str, width: float, weights_dir: Path | None = None) -> Path | None:
    """The file that `--init` stands for, None for "none". Raises UsageError where there is none."""
    if init == "none":
        return None
    path = _imagenet_file(width, weights_dir) if init == "imagenet" else Path(init).expanduser()
    if not path.is_file():
        raise UsageError(f"initial weights {path} do not exist", "--init takes a .npz or .h5 file, imagenet, or none")
    return path


def load_into(network: "keras.Model", initial: InitialWeights) -> int:
    """Set the backbone's weights by layer name; returns how many arrays were set.

    Raises UsageError where a layer of the backbone has no array or one of another shape (the head's
    layers are not expected in the file). Layers of the head keep their random start.
    """
    backbone = [layer for layer in network.layers if layer.name.startswith(BACKBONE_PREFIXES)]
    wanted = [(layer, w, f"{layer.name}/{w.name}") for layer in backbone for w in layer.weights]
    arrays = dict(initial.arrays)
    for key in [k for k in arrays if k.endswith("/depthwise_kernel")]:
        arrays[key.replace("/depthwise_kernel", "/kernel")] = arrays.pop(key)
    missing = [key for _, _, key in wanted if key not in arrays]
    if missing:
        raise UsageError(
            f"{initial.source} lacks {len(missing)} arrays of the backbone, first {missing[0]}",
            "give the weights of a MobileNetV2 with the layer names of keras.applications",
        )
    for _, weight, key in wanted:
        if tuple(weight.shape) != arrays[key].shape:
            raise UsageError(
                f"{initial.source}: {key} has shape {arrays[key].shape}, this network needs {tuple(weight.shape)}",
                "the file was made for another --width",
            )
        weight.assign(arrays[key])
    return len(wanted)


def _imagenet_file(width: float, weights_dir: Path | None) -> Path:
    """The ImageNet weights of this width on this machine."""
    stem = f"mobilenet_v2_{width:.2f}".rstrip("0") if width != round(width) else f"mobilenet_v2_{width:.1f}"
    keras_name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{width:.3g}_224_no_top.h5"
    if width == round(width):
        keras_name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{width:.1f}_224_no_top.h5"
    folders = [weights_dir, os.environ.get("EDGESEG_WEIGHTS"), Path("~/.keras/models").expanduser()]
    for folder in [Path(f) for f in folders if f]:
        # float weights first, then what was recovered from quantised ones
        for pattern in (f"{stem}_imagenet_torch_tfrange.npz", f"{stem}_imagenet*.npz", keras_name):
            for path in sorted(folder.glob(pattern)):
                return path
    raise UsageError(
        f"no ImageNet weights for width {width} on this machine",
        f"put {KERAS_URL}{keras_name} into ~/.keras/models, or set EDGESEG_WEIGHTS to a folder with "
        f"{stem}_imagenet.npz, or use --init FILE.npz, or --init none",
    )


def _read_h5(path: Path, width: float) -> dict[str, np.ndarray]:
    """Weights of keras.applications.MobileNetV2, read by Keras itself."""
    import keras

    try:
        model = keras.applications.MobileNetV2(
            input_shape=(224, 224, 3), alpha=width, include_top=False, weights=str(path)
        )
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as MobileNetV2 weights: {error}", "is the width right?") from error
    return {f"{layer.name}/{w.name}": keras.ops.convert_to_numpy(w) for layer in model.layers for w in layer.weights}
