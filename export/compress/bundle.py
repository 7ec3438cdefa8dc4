"""`edgeseg export` with steps of compression: the steps, the bundle, and the report on what each of them gave."""

import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from edgeseg.bundle import SUFFIX, Bundle, read_bundle, write_bundle
from edgeseg.device.board import find_board
from edgeseg.errors import CheckFailed, UsageError
from edgeseg.export import calibrate
from edgeseg.export.compress.auto import Aim, Search
from edgeseg.export.compress.figure import draw_steps
from edgeseg.export.compress.measure import FLOAT_BYTES, Measure, Row, kernels_record, timed
from edgeseg.export.compress.plan import Step, check_order, check_target
from edgeseg.export.compress.run import ROUNDS, Compressor, Done, Tuning
from edgeseg.export.litert import usual_threads
from edgeseg.export.pipeline import ExportRequest, check_out, export_bundle, frames_of
from edgeseg.export.product import Images, Int8File
from edgeseg.export.source import FloatNetwork, open_network
from edgeseg.export.targets import choose_target
from edgeseg.frames import open_matching
from edgeseg.kernels import PATTERN, has_pattern, kernels_of
from edgeseg.manifest import Manifest, TargetInfo
from edgeseg.models.checkpoint import AtomicReplacement, sole_user
from edgeseg.models.cost import cost_of
from edgeseg.models.train import Progress
from edgeseg.zoo import NETWORK_FILE

REPORT, FIGURE = "compression.json", "compression.png"
_WRITTEN = 5  # times, at most, until the size that a bundle tells is its own: other digits are another size


class Compression(NamedTuple):
    """What is asked for beside an export: steps, or an aim to search steps for."""

    steps: tuple[Step, ...] = ()
    aim: Aim | None = None
    tuning: Tuning = Tuning()
    work: Path | None = None  # folder of the steps; None: beside the bundle, OUT.steps


def export_compressed(
    request: ExportRequest,
    compression: Compression,
    log: Callable[[str], None],
    report: Callable[[Progress], None],
) -> Manifest:
    """Run the steps and export what they leave; what was interrupted goes on where it stopped.

    Raises as `export_bundle`, and UsageError for steps that make no sense together or on this target.
    """
    info = _checked(request, compression, log)
    source = open_network(request.network)
    if request.ranges and source.card.ranges:
        raise UsageError(f"{source.path} was trained to int8, with ranges of its own", "leave out --ranges")
    if source.card.spec.upsampling == "learned":
        log("the kernels of learned upsampling stay as they are")
    dataset = open_matching(str(request.data), source.card.classes)
    if not dataset.splits.get("val"):
        raise UsageError(f"{request.data} has no split 'val' to measure what is lost on", "add one")
    request = request._replace(images=len(dataset.pairs("val")))
    work = compression.work or request.out.with_suffix(".steps")
    count = calibrate.parse_calibration(request.calibration or str(calibrate.DEFAULT_COUNT))
    with sole_user(work):
        images = Images(dataset, count, ranges=request.ranges)
        measure = Measure(source, info, images, frames_of(dataset, request.images), log)
        compressor = Compressor(source, dataset, work, compression.tuning, measure, log, report)
        if compression.aim:
            references, bundles = measure.references(work)
            done = Search(compressor, compression.aim, references, log).run(info.precision)
        else:
            done = compressor.run(compression.steps)  # first: a budget out of reach is told at once
            references, bundles = measure.references(work)
        rows = timed([*references, *done.rows], [*bundles, *done.bundles], source.card.spec.imgsz)
        record = _record(source, rows, done.steps, _command(request, done.steps, compression.tuning))
        manifest = _finish(request, work, done, record, log)
    log(f"the steps, their networks, {REPORT} and {FIGURE}: {work}")
    return manifest


def _checked(request: ExportRequest, compression: Compression, log: Callable[[str], None]) -> TargetInfo:
    """What can be found out before the first step."""
    target, precision = choose_target(request.target, request.precision, request.dla)
    check_out(request.out)
    if not compression.steps and not compression.aim:
        raise UsageError(
            "there is no step of compression", "give --prune channels:0.4, --share 16, --compress auto, ..."
        )
    check_order(compression.steps)
    _check_tuning(compression.steps, compression.tuning)
    for remark in check_target(compression.steps, target, precision):
        log(remark)
    if request.data is None:
        raise UsageError("compression needs labelled images to train and measure with", "add --data DIR")
    if request.imgsz:
        raise UsageError("--imgsz and compression do not go together", "train a network of that size first")
    return TargetInfo(target.name, target.backend, precision, request.dla)


def _check_tuning(steps: tuple[Step, ...], tuning: Tuning) -> None:
    """Raise UsageError for what would silently do nothing, or fail after hours."""
    for number, step in enumerate(steps):
        epochs = tuning.epochs_of(number)
        if step.kind == "qat" and not epochs:
            raise UsageError("--qat is nothing but fine-tuning, and --epochs leaves it none", "give it some")
        if step.lottery and not tuning.rewind and epochs < ROUNDS:
            raise UsageError(f"a lottery of {epochs} epochs has no rounds to rewind", f"give {ROUNDS} or more --epochs")
        if step.lottery and tuning.rewind and any(earlier.kind == "channels" for earlier in steps[:number]):
            raise UsageError(
                f"without the channels that pruning takes it cannot go back to {tuning.rewind}",
                "leave out --rewind: the weights are those from before the step",
            )
    if tuning.rewind and not any(step.lottery for step in steps):
        raise UsageError("--rewind is for a lottery", "add --prune weights:0.7:lottery, or leave it out")


def _finish(
    request: ExportRequest, work: Path, done: Done, record: dict[str, Any], log: Callable[[str], None]
) -> Manifest:
    """Export the last network, with the report in the bundle and beside the steps."""
    if done.source.card.ranges:
        request = request._replace(ranges=None)
    final = work / ("final" + SUFFIX)
    last = read_bundle(str(done.bundles[-1]))
    if last.manifest.target.backend == "tflite" and last.manifest.calibration:  # an int8 file of this very network
        request = request._replace(int8=Int8File(last.payloads["tflite"], last.manifest.calibration))
    exported = export_bundle(request._replace(network=str(done.source.path), out=final), log)
    if exported.network.imgsz != done.source.card.spec.imgsz:
        final.unlink()
        raise CheckFailed(
            f"the compiler refuses {done.source.card.spec.imgsz}, and the steps were measured at that size",
            "train a network of a smaller --imgsz, and compress that",
        )
    manifest = with_report(read_bundle(str(final)), request.out, record)
    final.unlink()
    assert manifest.compression is not None
    with AtomicReplacement(work / REPORT) as temporary:
        temporary.write_text(json.dumps(manifest.compression, indent=1))
    with AtomicReplacement(work / FIGURE) as temporary:
        draw_steps(temporary, [Row(**row) for row in manifest.compression["steps"]], record["original"]["network"])
    with AtomicReplacement(work / NETWORK_FILE) as temporary:
        shutil.copyfile(done.source.path, temporary)
    return manifest


def _record(original: FloatNetwork, rows: list[Row], steps: tuple[Step, ...], command: str) -> dict[str, Any]:
    """The report, but for what only the bundle itself can tell."""
    kinds = {step.kind for step in steps}
    parameters = cost_of(original.network).parameters
    return {
        "original": {
            "network": original.zoo_name or original.path.name,
            "sha256": original.sha256,
            "parameters": parameters,
            "float32_bytes": FLOAT_BYTES * parameters,
        },
        "command": command,
        "machine": {"cpu": find_board().model, "threads": usual_threads()},
        "steps": [row._asdict() for row in rows],
        "shared": "share" in kinds,
    }


def with_report(bundle: Bundle, out: Path, record: dict[str, Any]) -> Manifest:
    """Write the bundle with the report in it, whose last row tells the size of that very file.

    With a compiled file beside the .tflite one it stays that of the step: all rows are of the same kind.
    """
    kernels = kernels_of(bundle.payloads)
    record = record | {
        "kernels": kernels_record(kernels, record["shared"]),
        "pattern": PATTERN if has_pattern(kernels) else None,
    }
    for _ in range(_WRITTEN):
        manifest = bundle.manifest._replace(compression=record)
        write_bundle(str(out), manifest, bundle.payloads)
        if "edgetpu" in bundle.payloads:
            return manifest
        *rows, last = record["steps"]
        size = os.path.getsize(out)
        resized = Row(**last).of_size(size, record["original"]["float32_bytes"])
        resized = resized._replace(payload_bytes=sum(len(data) for data in bundle.payloads.values()))
        if last == resized._asdict():
            return manifest
        record = record | {"steps": [*rows, resized._asdict()]}
    raise AssertionError(f"{out} never tells its own size")


def _command(request: ExportRequest, steps: tuple[Step, ...], tuning: Tuning) -> str:
    """The command that runs these steps, with files by their names only."""
    words = ["edgeseg", "export", Path(request.network).name, "--target", request.target]
    for name in ("precision", "dla", "calibration", "ranges"):
        value = getattr(request, name)
        words += [f"--{name}", str(value)] if value is not None else []
    for step in steps:
        words += ["--qat"] if step.kind == "qat" else ["--share" if step.kind == "share" else "--prune", step.option]
    usual = Tuning()
    for name, value in tuning._asdict().items():
        if value != getattr(usual, name):
            values = value if isinstance(value, tuple) else (value,)
            words += ["--" + name, *(Path(str(v)).name for v in values)]
    return shlex.join([*words, "--data", Path(request.data or "").name, "-o", request.out.name])
