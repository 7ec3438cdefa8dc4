"""The .tflite files of an import, read, checked and, where that is asked for, cut."""

import hashlib
import os
import struct
from contextlib import contextmanager
from typing import Iterator, NamedTuple, Optional, Tuple

from edgeseg.bundle import MAX_PAYLOAD_BYTES
from edgeseg.coral.package import is_compiled
from edgeseg.errors import BundleError, EdgesegError, EnvironmentFault, UsageError
from edgeseg.importing.cut import end_at
from edgeseg.importing.ending import Ending, find_ending, find_logits
from edgeseg.importing.output import convention
from edgeseg.importing.requirements import require_segmentation
from edgeseg.tflite.model import Operator, TfliteModel, read_tflite

_IN_GRAPH = "leave the upsampling in the graph: --upsampling graph"


class ModelFile(NamedTuple):
    """A .tflite file as it will be packed. `cut`: the convention of the last resize, which was taken off."""

    path: str
    sha256: str  # of the file at `path`
    data: bytes
    model: TfliteModel
    ending: Ending
    cut: Optional[str]
    left_out: Tuple[str, ...]  # operators that were taken off, by name


@contextmanager
def about(path: str) -> Iterator[None]:
    """Put the name of a file before what is wrong with it."""
    try:
        yield
    except EdgesegError as error:
        raise type(error)("{}: {}".format(path, error.message), error.fix)
    except (IndexError, ValueError, struct.error) as error:  # operators without the tensors that they need
        raise BundleError(
            "{}: the .tflite file is damaged ({})".format(path, error), "copy the file again, or convert it again"
        )


def open_model(path: str, upsampling: str) -> ModelFile:
    """Read a model. With `upsampling` "device" it then ends where its last resize begins.

    A SOFTMAX or LOGISTIC at the end is always taken off: it changes no mask, and confidence is computed from logits. So
    is a RESHAPE of logits to a row of pixels.
    Raises UsageError if it is not a segmentation network or does not end with a resize, BundleError if it is damaged,
    EnvironmentFault if it cannot be read.
    """
    data = _read(path)
    sha256 = hashlib.sha256(data).hexdigest()
    with about(path):
        model = read_tflite(data)
        require_segmentation(model)
        ending = find_ending(model)
        cut, tensor = None, model.outputs[0]
        if upsampling == "device":
            resize, cut = _last_resize(model, ending)
            tensor = resize.inputs[0]
        elif ending.arg_max is None:
            tensor = find_logits(model, ending)
        if tensor == model.outputs[0]:
            return ModelFile(path, sha256, data, model, ending, None, ())
        data = end_at(data, tensor)
        shorter = read_tflite(data)
        require_segmentation(shorter)
        left_out = _difference(model, shorter)
        return ModelFile(path, sha256, data, shorter, find_ending(shorter), cut, left_out)


def _read(path: str) -> bytes:
    if not os.path.isfile(path):
        raise UsageError("{} is not a file".format(path), "give the path of a .tflite file")
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_PAYLOAD_BYTES + 1)
    except OSError as error:
        raise EnvironmentFault("{} cannot be read: {}".format(path, error), "check the disk and permissions")
    if len(data) > MAX_PAYLOAD_BYTES:
        raise UsageError("{} is larger than a bundle can be".format(path), "give a .tflite file")
    return data


def _last_resize(model: TfliteModel, ending: Ending) -> Tuple[Operator, str]:
    """The resize that the device can do as well, and its convention."""
    resize = ending.resize
    if resize is None:
        last = [o.name for o in model.operators if model.outputs[0] in o.outputs]
        raise UsageError(
            "the graph does not end with RESIZE_BILINEAR, or with that and ARG_MAX, but with {}".format(
                ", ".join(last) or "nothing"
            ),
            _IN_GRAPH,
        )
    image, large = (model.tensors[i].shape[1:3] for i in (model.inputs[0], resize.outputs[0]))
    if image != large:
        raise UsageError(
            "the last RESIZE_BILINEAR gives {}x{}, not the {}x{} of the input".format(*large + image), _IN_GRAPH
        )
    name = convention(resize)
    if name is None:
        raise UsageError(
            "the last RESIZE_BILINEAR has neither half_pixel nor align_corners: the first convention of TensorFlow 1, "
            "which the device does not have",
            _IN_GRAPH,
        )
    return resize, name


def _difference(longer: TfliteModel, shorter: TfliteModel) -> Tuple[str, ...]:
    kept = {operator.outputs for operator in shorter.operators}
    return tuple(operator.name for operator in longer.operators if operator.outputs not in kept)


def require_twins(compiled: ModelFile, plain: ModelFile) -> None:
    """Raise UsageError unless `plain` is the uncompiled file of `compiled`, as far as inputs and outputs tell."""
    if is_compiled(plain.model):
        raise UsageError("--cpu {} is compiled for the Edge TPU too".format(plain.path), "give the uncompiled file")
    for side in ("inputs", "outputs"):
        ours, theirs = (
            ["{0.type} {1} scale {0.scale} zero point {0.zero_point}".format(t, list(t.shape)) for t in tensors]
            for tensors in ([f.model.tensors[i] for i in getattr(f.model, side)] for f in (compiled, plain))
        )
        if ours != theirs:
            raise UsageError(
                "{} and {} have other {}: {} and {}".format(compiled.path, plain.path, side, ours[0], theirs[0]),
                "give the file from which the first was compiled",
            )
