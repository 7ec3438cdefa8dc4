"""What an export makes for a backend: payloads, how the device feeds and reads them, and a way to run them here."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from edgeseg.bundle import Bundle
from edgeseg.datasets import Dataset
from edgeseg.errors import UsageError
from edgeseg.export import calibrate
from edgeseg.export.dla import dla_report, dla_summary
from edgeseg.export.fold import Step, fold
from edgeseg.export.litert import ExportedNetwork
from edgeseg.export.onnx import Graph, tensor_ranges, to_onnx
from edgeseg.export.onnx_rules import require_onnx
from edgeseg.export.ort import OnnxNetwork
from edgeseg.export.ranges import magnitudes, noisy_convolutions, with_biases
from edgeseg.export.shipped import shipped_bundle
from edgeseg.export.source import FloatNetwork
from edgeseg.export.targets import Board, Target
from edgeseg.export.tflite import to_float_tflite, to_int8, to_int8_tflite
from edgeseg.frames import pattern_frames
from edgeseg.golden import Golden, pack_golden
from edgeseg.manifest import InputInfo, OutputInfo
from edgeseg.models.activations import DEFAULT_METHOD, Method
from edgeseg.models.fake_quant import Range
from edgeseg.preprocess import resize
from edgeseg.tflite.model import read_tflite

Log = Callable[[str], None]

# 8.2 reads the float16 limits of a Clip as float32, and so may 8.5, which asks the type of the input tensor
# (onnx-tensorrt, builtin_op_importers.cpp of 8.2-GA and 8.5-GA; NVIDIA/TensorRT#2521). 8.6 asks that of the limits.
FLOAT16_TENSORRT = (8, 6)
UINT8_TENSORRT = (8, 5)  # the first with uint8 network inputs (onnx-tensorrt, docs/Changelog.md)


class Exported(Protocol):
    """An exported file that runs on this PC."""

    def run(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...

    def real_logits(self, raw: np.ndarray) -> np.ndarray: ...


class Product(NamedTuple):
    payloads: dict[str, bytes]  # by role
    input: InputInfo
    output: OutputInfo
    exported: Exported
    calibration: dict[str, Any] | None
    shipped: Bundle | None = None  # the bundle of the zoo whose payload this is, with figures of its own


class Int8File(NamedTuple):
    """A full-integer .tflite file, from which every int8 export takes its ranges."""

    payload: bytes
    calibration: dict[str, Any]
    shipped: Bundle | None = None  # the bundle of the zoo that it came with


class Images(NamedTuple):
    """Where int8 takes its ranges from."""

    dataset: Dataset | None
    number: int | None  # of its images; None: random ones
    file: Int8File | None = None  # the file that was made of them before, if any
    ranges: Method | None = None  # how they are chosen; None: by percentile, or as the network says


def make_product(
    source: FloatNetwork, target: Target, precision: str, dla: int | None, images: Images, log: Log
) -> Product:
    """Convert a float network for a target. Raises CheckFailed if the result breaks a rule of its runtime."""
    if target.board is None:  # CPU and Edge TPU take the same file
        return _tflite(source, precision, images, log)
    return _onnx(source, target.board, precision, dla, images, log)


def _tflite(source: FloatNetwork, precision: str, images: Images, log: Log) -> Product:
    shape, grid = (1, *source.card.spec.imgsz, 3), (1, *_grid(source), len(source.card.classes))
    if precision == "int8":
        payload, calibration, shipped = _int8_file(source, images, log)
        model = read_tflite(payload)
        logits = model.tensors[model.outputs[0]]
        input_info = InputInfo(shape, "uint8", "nhwc", "rgb", (1.0,) * 3, (0.0,) * 3, "stretch")
        output = OutputInfo(grid, "int8", "nhwc", "logits", "half_pixel", logits.scale[0], logits.zero_point[0])
        return Product({"tflite": payload}, input_info, output, ExportedNetwork(payload), calibration, shipped)
    log("converting to float32")
    payload = to_float_tflite(source.network)
    input_info = InputInfo(shape, "float32", "nhwc", "rgb", (1 / 127.5,) * 3, (-1.0,) * 3, "stretch")
    output = OutputInfo(grid, "float32", "nhwc", "logits", "half_pixel", 1.0, 0)
    return Product({"tflite": payload}, input_info, output, ExportedNetwork(payload), None)


def _onnx(source: FloatNetwork, board: Board, precision: str, dla: int | None, images: Images, log: Log) -> Product:
    graph = Graph(
        fold(source.network),
        source.network.inputs[0].name,
        source.card.spec.imgsz,
        "uint8" if board.oldest_tensorrt >= UINT8_TENSORRT else "float32",
        weights="float16" if precision == "fp16" else "float32",
        float16=precision == "fp16" and board.oldest_tensorrt >= FLOAT16_TENSORRT,
    )
    payloads, calibration = {}, None
    if precision == "int8":
        payload, calibration, _ = _int8_file(source, images, log)
        int8 = read_tflite(payload)
        ranges = magnitudes(int8, graph.steps, graph.input_name)
        kept_float = _kept_float(graph.steps, ranges, log)
        steps = with_biases(graph.steps, int8, kept_float)
        graph = graph._replace(steps=steps, ranges=ranges, keep_float=kept_float)
    log(f"writing ONNX for TensorRT {board.tensorrt}, {precision}")
    model = to_onnx(graph, source.card.spec.architecture)
    require_onnx(model, board.oldest_tensorrt)
    exported = OnnxNetwork(model.SerializeToString())
    if dla is not None:
        if graph.ranges is not None:  # a DLA takes ranges, and no Q/DQ (https://github.com/NVIDIA/TensorRT/issues/2222)
            payloads["activation-ranges"] = json.dumps(tensor_ranges(graph), indent=1).encode()
            model = to_onnx(graph._replace(ranges=None), source.card.spec.architecture)
        log(dla_summary(dla_report(model, board.dla_generation), dla))
    payloads["onnx"] = model.SerializeToString()
    payloads["golden"] = pack_golden(_golden(exported, graph.imgsz))
    shape, grid = (1, *graph.imgsz, 3), (1, len(source.card.classes), *_grid(source))
    input_info = InputInfo(shape, graph.input_type, "nhwc", "rgb", (1.0,) * 3, (0.0,) * 3, "stretch")
    output = OutputInfo(grid, "float32", "nchw", "logits", "half_pixel", 1.0, 0)
    return Product(payloads, input_info, output, exported, calibration)


def _kept_float(steps: list[Step], ranges: dict[str, float], log: Log) -> tuple[str, ...]:
    noisy = noisy_convolutions(steps, ranges)
    for name, noise in noisy.items():
        log(f"convolution {name} stays in float: int8 would put noise of {noise:.1f} steps on its output")
    return tuple(noisy)


def _golden(exported: Exported, imgsz: tuple[int, int]) -> Golden:
    """A generated scene and its logits. No image of the user's: a bundle goes to places that those may not."""
    (frame,) = pattern_frames(1).read()
    image = resize(frame.image, imgsz)
    return Golden(image, exported.run(image)[0])


def _int8_file(source: FloatNetwork, images: Images, log: Log) -> Int8File:
    if images.file is not None:
        return images.file
    if source.card.ranges and (images.dataset or not source.zoo_name):
        return _as_trained(source, source.card.ranges, images, log)
    if images.dataset is None and images.number is not None:
        if images.ranges:
            raise UsageError(
                f"--ranges {images.ranges} chooses ranges from what images make of the network, and there are none",
                "give the training data with --data DIR, or leave out --ranges",
            )
        bundle = shipped_bundle(source)
        report = bundle.manifest.calibration
        log(
            f"no --data: taking the int8 file that ships with {source.zoo_name}, calibrated on "
            f"{calibrate.title(report)}; with --data it is converted and calibrated anew"
        )
        return Int8File(bundle.payloads["tflite"], report or {}, bundle)
    if images.dataset is None or images.number is None:
        calibration = calibrate.from_noise(source.card.spec.imgsz)
    else:
        calibration = calibrate.from_dataset(images.dataset, source.card.spec.imgsz, images.number)
    method = images.ranges or DEFAULT_METHOD
    log(f"converting to int8, calibrated on {calibrate.title(calibration.report)}, ranges by {method}")
    payload = to_int8_tflite(source.network, calibration.images, method)
    return Int8File(payload, calibration.report | {"ranges": method})


def _as_trained(source: FloatNetwork, ranges: Mapping[str, Sequence[float]], images: Images, log: Log) -> Int8File:
    """Of a network that learned to be int8 within these ranges: no other ones are as good."""
    if images.ranges:
        raise UsageError(f"{source.path} was trained to int8, with ranges of its own", "leave out --ranges")
    report = calibrate.from_training(source.card.dataset)
    log(f"converting to int8 with {calibrate.title(report)}")
    return Int8File(to_int8(source.network, {name: Range(*bounds) for name, bounds in ranges.items()}), report)


def _grid(source: FloatNetwork) -> tuple[int, int]:
    height, width = source.card.spec.imgsz
    return height // source.card.spec.stride, width // source.card.spec.stride


def open_exported(payloads: dict[str, bytes]) -> Exported:
    """What runs the payloads of a bundle on this PC. Raises UsageError if there is nothing that can."""
    if "tflite" in payloads:
        return ExportedNetwork(payloads["tflite"])
    if "onnx" in payloads and "activation-ranges" not in payloads:
        return OnnxNetwork(payloads["onnx"])
    raise UsageError(
        f"payloads {', '.join(payloads)} do not run on a PC as they do on the board",
        "verify on the board: `edgeseg compile BUNDLE` compares the engine with the golden frame",
    )
