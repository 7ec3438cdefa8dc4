"""Someone else's .tflite file -> bundle. A step that fails leaves no file."""

import os
import time
from typing import Callable, Dict, NamedTuple, Optional, Tuple

from edgeseg.bundle import MEMBERS, SUFFIX, Bundle, payload_info, write_bundle
from edgeseg.coral.package import is_compiled, read_packages
from edgeseg.errors import UsageError
from edgeseg.importing.cost import cost_of
from edgeseg.importing.files import ModelFile, about, open_model, require_twins
from edgeseg.importing.labels import parse_labels, read_labels
from edgeseg.importing.metadata import Metadata, read_metadata
from edgeseg.importing.output import OutputOptions, describe_output
from edgeseg.importing.pixels import PixelOptions, describe_input
from edgeseg.importing.trial import Trial, try_bundle
from edgeseg.manifest import SCHEMA, Manifest, NetworkInfo, TargetInfo
from edgeseg.palette import SegClass
from edgeseg.stream.atomic import check_folder_of, remove, temporary_name
from edgeseg.tflite.model import CONVOLUTIONS, read_tflite
from edgeseg.tflite.sound import check_sound
from edgeseg.version import __version__


class ImportRequest(NamedTuple):
    """What to import; the defaults are those of `edgeseg import`."""

    model: str  # path
    out: str
    labels: Optional[str] = None  # path; None: the metadata of the model
    name: Optional[str] = None
    target: Optional[str] = None  # cpu | coral; None: coral for a compiled file, else cpu
    cpu: Optional[str] = None  # path of the uncompiled file, beside a compiled one
    upsampling: str = "graph"  # or "device"
    pixels: PixelOptions = PixelOptions()
    output: OutputOptions = OutputOptions()
    trial: bool = True


class Imported(NamedTuple):
    bundle: Bundle
    trial: Trial


def import_model(request: ImportRequest, log: Callable[[str], None]) -> Imported:
    """Read a model, wrap it in a bundle, try the bundle once and write it; `log` is told what happens.

    Raises UsageError for a wrong request or a model that cannot be served, BundleError for a damaged file, CheckFailed
    if the bundle does not run, EnvironmentFault if something cannot be read or written.
    """
    out = _check_out(request.out)
    bundle = make_bundle(request)
    for data in bundle.payloads.values():
        with about(request.model):
            check_sound(read_tflite(data), data)
    temporary = temporary_name(out)
    try:
        write_bundle(temporary, bundle.manifest, bundle.payloads)
        trial = _try(request, temporary, bundle.payloads, log)
        os.replace(temporary, out)
    finally:
        remove(temporary)
    return Imported(bundle, trial)


def make_bundle(request: ImportRequest) -> Bundle:
    """The bundle of `import_model`, not yet tried and written. Raises what that does of the files it reads."""
    file = open_model(os.path.expanduser(request.model), request.upsampling)
    twin = _twin(request, file)
    shown = twin or file  # the graph of which more can be read
    metadata = read_metadata(shown.model, shown.data)
    classes, labels = _classes(request, metadata)
    with about(file.path):
        source = shown.model.tensors[shown.model.inputs[0]]
        input_info, input_source = describe_input(source, request.pixels, metadata)
        output = describe_output(shown.model, shown.ending, shown.cut, (labels, len(classes)), request.output)
        target, cost = _target(request, file), _cost(file, twin)
    payloads = {"edgetpu" if f is file and is_compiled(f.model) else "tflite": f.data for f in (twin, file) if f}
    name = request.name or metadata.name or os.path.splitext(os.path.basename(file.path))[0]
    manifest = Manifest(
        schema=SCHEMA,
        network=NetworkInfo(name, 1.0, input_info.shape[1:3], output.stride, *cost),
        classes=classes,
        input=input_info,
        output=output.info,
        target=target,
        payloads=tuple(payload_info(role, MEMBERS[role], data) for role, data in payloads.items()),
        compression=None,
        calibration=None,
        parity=None,
        accuracy=None,
        compilation=None,
        verification=None,
        provenance=dict(_provenance(file), labels=labels, input=input_source, resize=output.resize_source),
    )
    return Bundle(request.out, manifest, payloads)


def _provenance(file: ModelFile) -> Dict[str, str]:
    return {
        "edgeseg": __version__,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "imported_from": os.path.basename(file.path),
        "imported_sha256": file.sha256,
        "description": file.model.description,
        "left_out": ", ".join(file.left_out) or "nothing",
    }


def _check_out(path: str) -> str:
    path = os.path.expanduser(path)
    if not path.endswith(SUFFIX):
        raise UsageError("output {} does not end with {}".format(path, SUFFIX), "use -o {}{}".format(path, SUFFIX))
    check_folder_of(path)
    return path


def _twin(request: ImportRequest, file: ModelFile) -> Optional[ModelFile]:
    compiled = is_compiled(file.model)
    if compiled and request.target == "cpu":
        raise UsageError(
            "{} is compiled for the Edge TPU, no CPU runs it".format(file.path), "import the uncompiled .tflite file"
        )
    if request.cpu is None:
        return None
    if not compiled:
        raise UsageError(
            "--cpu goes with a model compiled for the Edge TPU, which {} is not".format(file.path),
            "leave it out: a bundle of the uncompiled file runs on the CPU",
        )
    twin = open_model(os.path.expanduser(request.cpu), request.upsampling)
    require_twins(file, twin)
    return twin


def _classes(request: ImportRequest, metadata: Metadata) -> Tuple[Tuple[SegClass, ...], str]:
    """The classes, and what to call their source."""
    if request.labels is not None:
        return read_labels(os.path.expanduser(request.labels)), os.path.basename(request.labels)
    if metadata.labels is None:
        raise UsageError(
            "nothing in {} names its classes".format(request.model),
            "give a text file with one name per line: --labels FILE",
        )
    where = "the metadata of " + os.path.basename(request.model)
    return parse_labels(metadata.labels, where), where


def _target(request: ImportRequest, file: ModelFile) -> TargetInfo:
    model = file.model
    coral = TargetInfo("coral", "edgetpu", "int8")
    if is_compiled(model):
        return coral
    inputs = [model.tensors[o.inputs[0]].type for o in model.operators if o.name in CONVOLUTIONS]
    is_int8 = bool(inputs) and set(inputs) <= {"int8", "uint8"}
    if request.target != "coral":
        return TargetInfo("cpu", "tflite", "int8" if is_int8 else "fp32")
    if not is_int8:
        raise UsageError("the network is float; the Edge TPU takes 8-bit integers", "quantise it, or use --target cpu")
    if -1 in model.tensors[model.inputs[0]].shape_signature:
        raise UsageError(
            "the batch has no fixed size; the Edge TPU compiler takes none but fixed ones",
            "convert the model with batch 1: keras.Input(batch_shape=(1, height, width, 3))",
        )
    return coral


def _cost(file: ModelFile, twin: Optional[ModelFile]) -> Tuple[int, Optional[int]]:
    """Parameters and multiply-accumulates; in a compiled file alone the second is hidden."""
    cost = cost_of((twin or file).model)
    if twin is not None or not is_compiled(file.model):
        return cost
    hidden = sum(package.cached_bytes + package.streamed_bytes for package in read_packages(file.model))
    return cost.parameters + hidden, None


def _try(request: ImportRequest, path: str, payloads: Dict[str, bytes], log: Callable[[str], None]) -> Trial:
    if not request.trial:
        return Trial(skipped="--no-trial")
    if "tflite" not in payloads:
        return Trial(skipped="no CPU runs a compiled model")
    log("trying one inference on the CPU")
    return try_bundle(path)
