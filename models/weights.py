"""Initial weights: which file, which padding geometry it was trained in, and how it is loaded."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeseg.errors import UsageError
from edgeseg.models.checkpoint import UNREADABLE
from edgeseg.models.slicing import SCORE, Arrays
from edgeseg.models.spec import Geometry
from edgeseg.models.transfer import ABSENT, Transfer, arrays_of, copy_weights
from edgeseg.zoo import NETWORK_FILE, locate_network, zoo_names

if TYPE_CHECKING:
    import keras

    from edgeseg.models.file import NetworkCard

IMAGENET = 1_281_167  # training images of ILSVRC 2012 (Russakovsky et al. 2015, arXiv 1409.0575, table 2)
VOC_AUGMENTED = 10_582  # training images of DeepLab: VOC 2012 and Hariharan et al. 2011


class Known(NamedTuple):
    """What a file does not say itself."""

    geometry: Geometry
    images: int  # that the weights were trained on


# By SHA-256. A file outside this list must say its geometry itself, in an array "geometry" holding "symmetric" or
# "same", and may say in another, "images", how many images it was trained on.
KNOWN = {
    # ImageNet 1.0, float32, from PyTorch (padding of 1 on every side)
    "5c4705a160e70700e5f6fa7d154471718f54dbbfbfb6f3c75e4ca15abca3c358": Known("symmetric", IMAGENET),
    # ImageNet 1.0, dequantised from a TensorFlow int8 model
    "eb7909d71fa3946d2ae3d055bfe4393a8b4674cda48180bcc094e6e83abf4839": Known("same", IMAGENET),
    # ImageNet 0.35, float32, keras.applications
    "09aff15516d1b5386262f9bc3761787ad71a32cc34f9eec94b740fabab77136b": Known("same", IMAGENET),
    # ImageNet, COCO (whose images are not counted) and VOC 1.0, dequantised from Coral's DeepLabV3
    "aea2f5de476fdd45f889e7918e75309e0a36a9006e1b3466fa487a4904dee151": Known("same", IMAGENET + VOC_AUGMENTED),
}

TRUNK_PREFIXES = ("Conv1", "bn_Conv1", "expanded_conv", "block_")
BACKBONE_PREFIXES = (*TRUNK_PREFIXES, "Conv_1")

KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"


class InitialWeights(NamedTuple):
    """Arrays named `layer/weight` and the geometry that they belong to."""

    source: str  # file name, after its folder where that is the name of a run
    sha256: str
    geometry: Geometry
    arrays: Arrays
    images: int | None  # that they were trained on; None: not known
    card: "NetworkCard | None" = None  # of a whole network, of which any part may fit; None: a backbone, which has to


def read_weights(init: str, width: float, weights_dir: Path | None = None) -> InitialWeights | None:
    """Resolve `--init`: "none", "imagenet", a network of the zoo or a file.

    A file is a .npz, the .h5 of keras.applications, or the .keras of a network that edgeseg trained.
    "imagenet" looks in `weights_dir`, $EDGESEG_WEIGHTS and Keras' own cache; nothing is downloaded.
    Raises UsageError where there is no such file, or its geometry is unknown.
    """
    path = find_weights(init, width, weights_dir)
    if path is None:
        return None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if path.suffix == ".keras":
        return _of_network(path, digest, width)
    if path.suffix == ".h5":
        return InitialWeights(name_of(path), digest, "same", _read_h5(path, width), IMAGENET)
    return _of_npz(path, digest)


def find_weights(init: str, width: float, weights_dir: Path | None = None) -> Path | None:
    """The file that `--init` stands for, None for "none". Raises UsageError where there is none."""
    if init == "none":
        return None
    if init == "imagenet":
        return _imagenet_file(width, weights_dir)
    path = locate_network(init)
    if not path.is_file():
        raise UsageError(
            f"initial weights {path} do not exist",
            f"--init takes a .npz, .h5 or .keras file, imagenet, none, or one of: {', '.join(zoo_names())}",
        )
    return path


def images_seen(initial: InitialWeights | None, images: int) -> int | None:
    """How many images a network has seen that is trained on `images` from `initial`; None where that is not known."""
    if initial is None:
        return images
    return None if initial.images is None else initial.images + images


def name_of(source: str | Path) -> str:
    """What to call initial weights on other machines: the name of the file; every run has a network.keras."""
    path = Path(source)
    return f"{path.parent.name}/{path.name}" if path.name == NETWORK_FILE else path.name


def load_into(network: "keras.Model", initial: InitialWeights, classes: Sequence[str] | None = None) -> Transfer:
    """Copy what `initial` has for `network`, by layer name, cut to its width where that is narrower.

    From another network every layer is copied that fits, the scores only if its classes have these names (None: any).
    A file of a backbone must have all of its blocks (DeepLab has no Conv_1). Raises UsageError where it does not fit.
    """
    if initial.card:
        are_other = classes is not None and list(classes) != [c.name for c in initial.card.classes]
        return copy_weights(network, initial.arrays, {SCORE: "other classes"} if are_other else {})
    keys = [f"{layer.name}/{w.name}" for layer in network.layers for w in layer.weights]
    missing = [key for key in keys if key.startswith(TRUNK_PREFIXES) and key not in initial.arrays]
    if missing:
        raise UsageError(
            f"{initial.source} lacks {len(missing)} arrays of the backbone, first {missing[0]}",
            "give the weights of a MobileNetV2 with the layer names of keras.applications",
        )
    head = [layer.name for layer in network.layers if not layer.name.startswith(BACKBONE_PREFIXES)]
    transfer = copy_weights(network, initial.arrays, dict.fromkeys(head, ABSENT))
    for name, why in transfer.fresh.items():
        if name not in head and why != ABSENT:
            raise UsageError(f"{initial.source}: {name} has {why}", "the file was made for another --width")
    return transfer


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
        f"{stem}_imagenet.npz, or cut wider weights with --init FILE.npz, or use --init none",
    )


def _of_npz(path: Path, digest: str) -> InitialWeights:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key.replace("/depthwise_kernel", "/kernel"): array for key, array in archive.items()}
        known = KNOWN.get(digest)
        geometry = str(arrays.pop("geometry", known.geometry if known else ""))
        images = int(arrays.pop("images", known.images if known else 0)) or None
    except UNREADABLE as error:
        raise UsageError(f"{path} cannot be read as .npz weights: {error}", "is the file complete?") from error
    if geometry not in ("symmetric", "same"):
        raise UsageError(
            f"{path.name} does not say in which padding geometry it was trained",
            'add an array "geometry" to the .npz: "symmetric" (PyTorch) or "same" (TensorFlow, Keras)',
        )
    return InitialWeights(name_of(path), digest, "symmetric" if geometry == "symmetric" else "same", arrays, images)


def _read_h5(path: Path, width: float) -> Arrays:
    """Weights of keras.applications.MobileNetV2, read by Keras itself."""
    import keras

    try:
        model = keras.applications.MobileNetV2(
            input_shape=(224, 224, 3), alpha=width, include_top=False, weights=str(path)
        )
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as MobileNetV2 weights: {error}", "is the width right?") from error
    return arrays_of(model)


def _of_network(path: Path, digest: str, width: float) -> InitialWeights:
    """The weights of a network that edgeseg trained. Raises UsageError for another file, or another width."""
    from edgeseg.models.file import load_network

    network, card = load_network(path)
    if card.spec.width < width:
        raise UsageError(
            f"{name_of(path)} has width {card.spec.width}, this network {width}: channels can be left out, not added",
            f"add --width {card.spec.width}, or give a network of width {width} or more",
        )
    return InitialWeights(name_of(path), digest, card.spec.geometry, arrays_of(network), card.images, card)
