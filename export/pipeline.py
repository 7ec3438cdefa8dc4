"""Export: float network -> file for the target -> parity -> bundle. A step that fails leaves no file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edgeseg.bundle import SUFFIX, Bundle, write_bundle
from edgeseg.coral.compiled_bundle import with_compilation
from edgeseg.datasets import Dataset
from edgeseg.errors import EnvironmentFault, UsageError
from edgeseg.export import calibrate
from edgeseg.export.coral import make_for_edge_tpu, smaller_sizes
from edgeseg.export.describe import manifest_of, reused
from edgeseg.export.parity import compare
from edgeseg.export.product import Images, Int8File, Log, make_product
from edgeseg.export.source import at_size, open_network
from edgeseg.export.targets import Target, choose_target
from edgeseg.frames import FEW_FRAMES, MAX_IMAGES, Frames, dataset_frames, open_matching, pattern_frames
from edgeseg.manifest import Manifest, TargetInfo
from edgeseg.models.activations import Method
from edgeseg.models.spec import NetworkSpec, check


class ExportRequest(NamedTuple):
    """What to export; the defaults are those of `edgeseg export`."""

    network: str  # zoo name or path
    out: Path
    target: str = "cpu"
    precision: str | None = None  # None: the target's default
    data: str | None = None  # folder of a labelled dataset
    calibration: str | None = None  # number of images, or "random"
    dla: int | None = None  # deep-learning accelerator core of a Jetson
    imgsz: Sequence[tuple[int, int]] = ()  # height, width; then those to fall back to; none: that of the network
    images: int = MAX_IMAGES  # that parity and accuracy are measured on, at most
    ranges: Method | None = None  # how int8 chooses the ranges of activations; None: by percentile
    int8: Int8File | None = None  # made of this network and `data` before; None: convert


def export_bundle(request: ExportRequest, log: Log) -> Manifest:
    """Export a network and write the bundle; `log` is told what happens.

    Raises UsageError for a wrong request, CheckFailed if the result breaks a rule of its runtime or differs
    from the float network (then there is no file), EnvironmentFault if it cannot be written.
    """
    target, precision = choose_target(request.target, request.precision, request.dla)
    count = calibrate.parse_calibration(request.calibration or str(calibrate.DEFAULT_COUNT))
    check_out(request.out)
    source = open_network(request.network)
    if request.imgsz:
        _check_sizes(target, source.card.spec, request.imgsz)
        source = at_size(source, request.imgsz[0])
    dataset = open_matching(request.data, source.card.classes) if request.data else None
    info = TargetInfo(target.name, target.backend, precision, request.dla)
    images, compilation = Images(dataset, count, request.int8, request.ranges), None
    if target.backend == "edgetpu":
        fall_backs = list(request.imgsz[1:]) if request.imgsz else smaller_sizes(source.card.spec)
        source, product, compilation = make_for_edge_tpu(source, fall_backs, target, images, log)
    else:
        product = make_product(source, target, precision, request.dla, images, log)
    frames = frames_of(dataset, request.images)
    log(f"comparing with the float network on {frames.images} images ({frames.title})")
    comparison = compare(source.network, product.exported, frames, source.card.classes, info)
    comparison.parity.require()
    if product.shipped:
        manifest = reused(product.shipped, info, comparison)
    else:
        manifest = manifest_of(source, info, product, comparison)
    bundle = Bundle(str(request.out), manifest, product.payloads)
    if compilation:
        bundle = with_compilation(bundle, compilation)
    write_bundle(bundle.path, bundle.manifest, bundle.payloads)
    return bundle.manifest


def _check_sizes(target: Target, spec: NetworkSpec, sizes: Sequence[tuple[int, int]]) -> None:
    for size in sizes:
        check(spec._replace(imgsz=size))
    if len(sizes) > 1 and target.backend != "edgetpu":
        raise UsageError(f"target {target.name} takes one --imgsz: only coral falls back to others", "give one")


def check_out(out: Path) -> None:
    """Find out before the work that the bundle has a place."""
    if out.suffix != SUFFIX:
        raise UsageError(f"output {out} does not end with {SUFFIX}", f"use -o {out.with_suffix(SUFFIX)}")
    if out.is_dir():
        raise UsageError(f"output {out} is a folder", f"name a file in it, for example {out / ('network' + SUFFIX)}")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"folder {out.parent} does not exist", f"mkdir -p {out.parent}")
    if not os.access(out.absolute().parent, os.W_OK):
        raise EnvironmentFault(f"folder {out.parent} cannot be written", "choose another folder for -o")


def frames_of(dataset: Dataset | None, limit: int) -> Frames:
    """What parity is measured on: the val split, else test, else train, else generated scenes."""
    if dataset is None:
        return pattern_frames(FEW_FRAMES)
    split = next(name for name in ("val", "test", "train") if dataset.splits.get(name))
    return dataset_frames(dataset, split, limit)
