"""Put a trained network into the zoo: `scripts/zoo RUN --data DIR`.

Makes NAME.keras, whose weights have half the precision, measured anew; NAME.edgeseg, the int8 bundle for a CPU; and the
model card NAME.md, whose figures are those of the two files.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgeseg import zoo
from edgeseg.bundle import SUFFIX, read_bundle
from edgeseg.datasets import Dataset
from edgeseg.errors import EdgesegError, UsageError
from edgeseg.export.compress.bundle import REPORT, with_report
from edgeseg.export.compress.measure import Measure
from edgeseg.export.model_card import DATA, model_card, notes_of
from edgeseg.export.pipeline import ExportRequest, export_bundle
from edgeseg.export.product import Images, Int8File
from edgeseg.export.source import FloatNetwork, open_network
from edgeseg.frames import dataset_frames, open_matching
from edgeseg.manifest import Manifest
from edgeseg.models.compact import round_weights, save_compact
from edgeseg.models.cost import cost_of
from edgeseg.models.evaluate import scores_on
from edgeseg.models.file import NetworkCard


def put(run: str, data: str, folder: Path, keep_bundle: bool = True, name: str = "") -> zoo.ZooNetwork:
    """Write the files of the network in `run`, a folder of `edgeseg train`, into `folder`; all of them or none.

    `run` may be a folder of the steps of `edgeseg export --prune ...`; then the bundle has its report. `data` is the
    dataset it was trained on; `name` that of a network that is not the only one of its kind.
    Raises UsageError for another dataset, one that no model card speaks of, or a folder without a network; CheckFailed
    where int8 differs too much from float.
    """
    source = open_network(run)
    dataset = open_matching(data, source.card.classes)
    if dataset.name != source.card.dataset or dataset.name not in DATA:
        raise UsageError(
            f"{run} was trained on {source.card.dataset}; {data} is {dataset.name}",
            f"give the data it was trained on; there are texts for model cards of {', '.join(DATA)}",
        )
    report = Path(run) / REPORT
    if (report.is_file() or source.card.spec.channels) and not name:
        raise UsageError(f"{run} has a network that was compressed", "give it a --name, as fcn8-camvid-small")
    name = name or zoo_name(source.card)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        network, bundle, text = (Path(made) / (name + suffix) for suffix in (zoo.NETWORK_SUFFIX, SUFFIX, ".md"))
        own = folder / network.name
        if own.is_file() and source.path.samefile(own):  # made here before: others know it by its hash
            card = source.card
            shutil.copyfile(own, network)
        else:
            card = _measured(source, dataset)
            save_compact(network, source.network, card)
        images = len(dataset.pairs("val"))
        manifest = export_bundle(ExportRequest(str(network), bundle, data=data, images=images), _log)
        if report.is_file():
            manifest = _with_report(json.loads(report.read_text()), bundle, network, dataset)
        if not keep_bundle:
            bundle.unlink()
        old = folder / text.name
        notes = notes_of(old.read_text()) if old.is_file() else ""
        entry = zoo.describe(network)
        text.write_text(model_card(entry, card, manifest, notes))
        (folder / bundle.name).unlink(missing_ok=True)
        for path in (network, bundle, text):
            if path.exists():
                os.replace(path, folder / path.name)
    return entry


def _with_report(record: dict[str, Any], bundle: Path, network: Path, dataset: Dataset) -> Manifest:
    """Write the report of compression into the bundle; its last row is measured anew, as the weights were rounded."""
    made, source = read_bundle(str(bundle)), open_network(str(network))
    original = open_network(record["original"]["network"])
    images = Images(dataset, None, Int8File(made.payloads["tflite"], made.manifest.calibration or {}))
    frames = dataset_frames(dataset, "val", len(dataset.pairs("val")))
    *rows, last = record["steps"]
    again = Measure(original, made.manifest.target, images, frames, _log)
    row = again.row(source, last["step"], last["effects"], last["epochs"], bundle)
    row = row._replace(latency_ms=last["latency_ms"])
    return with_report(made, bundle, record | {"steps": [*rows, row._asdict()]})


def zoo_name(card: NetworkCard) -> str:
    """Architecture, width where it is not 1, and dataset: fcn8-camvid, spp-0.5-camvid."""
    width = "" if card.spec.width == 1 else f"-{card.spec.width:g}"
    return f"{card.spec.architecture}{width}-{card.dataset.lower()}"


def _measured(source: FloatNetwork, dataset: Dataset) -> NetworkCard:
    """Round the weights; the card with figures of the network that this makes."""
    round_weights(source.network)
    pairs = dataset.pairs("val")
    _log(f"measuring the float network on {len(pairs)} images ({dataset.name} val)")
    scores = scores_on(source.network, dataset, pairs)._asdict()
    figures = {"val_images": len(pairs)} | {f"val_{name}": value for name, value in scores.items()}
    cost = cost_of(source.network)
    return source.card._replace(figures={"parameters": cost.parameters, "macs": cost.macs} | figures)


def _log(text: str) -> None:
    print("zoo: " + text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/zoo", description="put a trained network into the zoo")
    parser.add_argument(
        "run", help="folder of `edgeseg train` or of steps of compression, a .keras file, or a name of `edgeseg zoo`"
    )
    parser.add_argument("--data", required=True, metavar="DIR", help="the dataset that it was trained on")
    parser.add_argument("--name", default="", help="of a network that is not the only one of its kind")
    parser.add_argument("--no-bundle", dest="bundle", action="store_false", help="keep no int8 bundle: for space")
    args = parser.parse_args()
    try:
        entry = put(args.run, args.data, zoo.FOLDER, args.bundle, args.name)
    except EdgesegError as error:
        sys.exit(f"scripts/zoo: error: {error}")
    for name, size in entry.files.items():
        print(f"{name}: {size:,} bytes")
    print(f"{entry.name}: val mIoU {entry.accuracy['miou']:.2%}, at borders {entry.accuracy['boundary_miou']:.2%}")


if __name__ == "__main__":
    main()
