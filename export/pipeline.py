"""Export: float network -> file for the target -> parity -> bundle. A step that fails leaves no file."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from edgeseg.bundle import SUFFIX, write_bundle
from edgeseg.datasets import Dataset
from edgeseg.errors import EnvironmentFault, UsageError
from edgeseg.export import calibrate
from edgeseg.export.describe import manifest_of
from edgeseg.export.frames import Frames, dataset_frames, open_matching, pattern_frames
from edgeseg.export.parity import MAX_IMAGES, PATTERN_FRAMES, Comparison, compare
from edgeseg.export.shipped import reused, shipped_bundle
from edgeseg.export.source import FloatNetwork, open_network
from edgeseg.export.targets import choose_precision, find_target
from edgeseg.export.tflite import to_float_tflite, to_int8_tflite
from edgeseg.manifest import Manifest, TargetInfo

Log = Callable[[str], None]


class ExportRequest(NamedTuple):
    """What to export; the defaults are those of `edgeseg export`."""

    network: str  # zoo name or path
    out: Path
    target: str = "cpu"
    precision: str | None = None  # None: the target's default
    data: str | None = None  # folder of a labelled dataset
    calibration: str | None = None  # number of images, or "random"


def export_bundle(request: ExportRequest, log: Log) -> Manifest:
    """Export a network and write the bundle; `log` is told what happens.

    Raises UsageError for a wrong request, CheckFailed if the result is not full-integer or differs
    from the float network (then there is no file), EnvironmentFault if it cannot be written.
    """
    target = find_target(request.target)
    precision = choose_precision(target, request.precision)
    count = calibrate.parse_calibration(request.calibration or str(calibrate.DEFAULT_COUNT))
    _check_out(request.out)
    source = open_network(request.network)
    dataset = open_matching(request.data, source.card.classes) if request.data else None
    if precision == "int8" and dataset is None and count is not None:
        manifest, payload = _from_shipped(source, log)
    else:
        info = TargetInfo(target.name, target.backend, precision)
        manifest, payload = _convert(source, info, dataset, count, log)
    write_bundle(str(request.out), manifest, {"tflite": payload})
    return manifest


def _convert(
    source: FloatNetwork, target: TargetInfo, dataset: Dataset | None, count: int | None, log: Log
) -> tuple[Manifest, bytes]:
    report = None
    if target.precision == "int8":
        calibration = _calibration(dataset, source.card.spec.imgsz, count)
        report = calibration.report
        log(f"converting to int8, calibrated on {calibrate.title(report)}")
        payload = to_int8_tflite(source.network, calibration.images)
    else:
        log("converting to float32")
        payload = to_float_tflite(source.network)
    comparison = _compare(source, payload, target.precision, _frames(dataset), log)
    return manifest_of(source, target, payload, comparison, report), payload


def _from_shipped(source: FloatNetwork, log: Log) -> tuple[Manifest, bytes]:
    """int8 without images: only a network of the zoo has a file that was calibrated before."""
    if source.zoo_name is None:
        raise UsageError(
            "int8 needs images of the robot's own scenes to calibrate on",
            "give the training data with --data DIR; or --precision fp32; or --calibration random, "
            "which costs accuracy",
        )
    bundle = shipped_bundle(source, source.zoo_name)
    log(
        f"no --data: taking the int8 file that ships with {source.zoo_name}, calibrated on "
        f"{calibrate.title(bundle.manifest.calibration)}; with --data it is converted and calibrated anew"
    )
    comparison = _compare(source, bundle.payloads["tflite"], "int8", pattern_frames(PATTERN_FRAMES), log)
    return reused(bundle, comparison), bundle.payloads["tflite"]


def _compare(source: FloatNetwork, payload: bytes, precision: str, frames: Frames, log: Log) -> Comparison:
    log(f"comparing with the float network on {frames.images} images ({frames.title})")
    comparison = compare(source.network, payload, frames, source.card.classes, precision)
    comparison.parity.require()
    return comparison


def _check_out(out: Path) -> None:
    """Find out before the work that the bundle has a place."""
    if out.suffix != SUFFIX:
        raise UsageError(f"output {out} does not end with {SUFFIX}", f"use -o {out.with_suffix(SUFFIX)}")
    if out.is_dir():
        raise UsageError(f"output {out} is a folder", f"name a file in it, for example {out / ('network' + SUFFIX)}")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"folder {out.parent} does not exist", f"mkdir -p {out.parent}")
    if not os.access(out.absolute().parent, os.W_OK):
        raise EnvironmentFault(f"folder {out.parent} cannot be written", "choose another folder for -o")


def _calibration(dataset: Dataset | None, imgsz: tuple[int, int], count: int | None) -> calibrate.Calibration:
    if dataset is None or count is None:
        return calibrate.from_noise(imgsz)
    return calibrate.from_dataset(dataset, imgsz, count)


def _frames(dataset: Dataset | None) -> Frames:
    """What parity is measured on: the val split, else test, else train, else generated scenes."""
    if dataset is None:
        return pattern_frames(PATTERN_FRAMES)
    split = next(name for name in ("val", "test", "train") if dataset.splits.get(name))
    return dataset_frames(dataset, split, MAX_IMAGES)
