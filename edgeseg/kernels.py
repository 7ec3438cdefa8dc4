"""The kernels of a network's convolutions, as the exported file holds them: how many weights are zero, how many differ.

What a bundle says of its compression is compared with them before anything runs it.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from edgeseg.errors import BundleError
from edgeseg.manifest import Manifest
from edgeseg.onnx_weights import read_onnx_kernels
from edgeseg.tflite.model import CONVOLUTIONS, Tensor, read_tflite

PATTERN = "2:4"
_TFLITE_TYPES = {"int8": "i1", "uint8": "u1", "float32": "<f4", "float16": "<f2"}
_LOWEST = 255  # below zero: uint8 with zero point 255
_FIX = "export the network again"


class Kernel(NamedTuple):
    """Facts of one kernel. `two_of_four`: of every four weights in a row along the input channels at most two are not
    zero, what the sparse tensor cores of an Orin skip (TensorRT developer guide, "Structured Sparsity"); None where the
    pattern does not apply: depthwise, transposed, or input channels that are no multiple of four.
    """

    name: str
    dtype: str  # of the file: int8 | uint8 | float32 | float16
    weights: int
    zeros: int
    values: Optional[Tuple[int, ...]]  # the different steps of int8, ascending, 0 for zero; None for a float kernel
    two_of_four: Optional[bool]
    array: np.ndarray  # of these values, or floats; its axes are those of the file


def kernels_of(payloads: Dict[str, bytes]) -> List[Kernel]:
    """The kernels in the payloads of a bundle, in order of execution; what is compiled hides its own.

    Raises BundleError if a payload is damaged.
    """
    found = []
    if "tflite" in payloads:
        found += _tflite_kernels(payloads["tflite"])
    if "onnx" in payloads:
        for name, operator, weights, steps in read_onnx_kernels(payloads["onnx"]):
            inputs = 1 if operator == "Conv" else None  # (outputs, inputs / groups, h, w)
            found.append(_kernel(name, weights.dtype.name, weights if steps is None else steps, inputs))
    return found


def _tflite_kernels(data: bytes) -> List[Kernel]:
    model = read_tflite(data)
    casts = {o.outputs[0]: o.inputs[0] for o in model.operators if o.name == "DEQUANTIZE" and o.inputs and o.outputs}
    readers: Dict[int, str] = {}  # tensor index -> operator
    for operator in model.operators:
        if operator.name in CONVOLUTIONS:
            readers.setdefault(casts.get(operator.inputs[1], operator.inputs[1]), operator.name)
    found = []
    for index, reader in readers.items():
        tensor = model.tensors[index]
        if tensor.data and tensor.type in _TFLITE_TYPES:
            inputs = 3 if reader == "CONV_2D" else None  # (outputs, h, w, inputs)
            found.append(_kernel(tensor.name, tensor.type, _tflite_values(tensor), inputs))
    return found


def _tflite_values(tensor: Tensor) -> np.ndarray:
    try:
        values = np.frombuffer(tensor.data, _TFLITE_TYPES[tensor.type]).reshape(tensor.shape)
        if values.ndim != 4:
            raise ValueError("{} dimensions".format(values.ndim))
        if tensor.type != "uint8":  # whose zero point is 0 (LiteRT 8-bit quantization specification)
            return values
        if len(tensor.zero_point) != 1 or not 0 <= tensor.zero_point[0] <= 255:
            raise ValueError("zero points {}".format(tensor.zero_point))
    except ValueError as error:
        raise BundleError("the .tflite file is damaged: kernel {}: {}".format(tensor.name, error), _FIX)
    return values.astype(np.int16) - tensor.zero_point[0]


def _kernel(name: str, dtype: str, array: np.ndarray, inputs: Optional[int]) -> Kernel:
    """`inputs` is the axis of the input channels; None where 2:4 does not apply."""
    values = two_of_four = None
    if array.dtype.kind != "f":
        counts = np.bincount(array.ravel().astype(np.intp) + _LOWEST)
        values = tuple(int(value) - _LOWEST for value in np.flatnonzero(counts))
    is_set = array != 0
    if inputs is not None and array.shape[inputs] % 4 == 0:
        row = np.ascontiguousarray(np.moveaxis(is_set, inputs, -1)).view(np.uint8).ravel()
        two_of_four = bool((row[0::4] + row[1::4] + row[2::4] + row[3::4] <= 2).all())
    zeros = array.size - int(np.count_nonzero(is_set))
    return Kernel(name, dtype, array.size, zeros, values, two_of_four, array)


def check_compression(manifest: Manifest, payloads: Dict[str, bytes]) -> None:
    """Hold what a bundle says of its compression to the file in it; nothing to do where it says nothing.

    Raises BundleError, naming the kernel, where the zeros, the codebook or the 2:4 pattern are others.
    """
    if manifest.compression is None:
        return
    _check_types(manifest.compression)
    record, kernels = manifest.compression["kernels"], kernels_of(payloads)
    strangers = sorted(set(record) - {kernel.name for kernel in kernels})
    if strangers:
        raise _wrong("kernel {}, which no payload has".format(strangers[0]))
    for kernel in kernels:
        if kernel.name not in record:
            raise _wrong("{} kernels, but not {}".format(len(record), kernel.name))
        _check_kernel(kernel, **record[kernel.name])
    if manifest.compression["pattern"] == PATTERN:
        _check_pattern(kernels)


def _check_kernel(kernel: Kernel, weights: int, zeros: int, codebook: Optional[List[int]]) -> None:
    if (weights, zeros) != (kernel.weights, kernel.zeros):
        raise _wrong(
            "{} zeros among the {} weights of kernel {}, which has {} among {}".format(
                zeros, weights, kernel.name, kernel.zeros, kernel.weights
            )
        )
    if codebook is None:
        return
    if kernel.values is None:
        raise _wrong("a codebook for kernel {}, which is {}".format(kernel.name, kernel.dtype))
    strangers = sorted(set(kernel.values) - set(codebook))
    if strangers:
        raise _wrong(
            "{} values in the codebook of kernel {}, which has others too: {}".format(
                len(codebook), kernel.name, _some(strangers)
            )
        )
    unused = sorted(set(codebook) - set(kernel.values))
    if unused:
        raise _wrong(
            "{} values in the codebook of kernel {}, which never has {}".format(
                len(codebook), kernel.name, _some(unused)
            )
        )


def has_pattern(kernels: List[Kernel]) -> bool:
    """Whether all kernels that can have the 2:4 pattern have it; the last, which makes the classes, is left whole."""
    return any(kernel.two_of_four for kernel in kernels) and not _without_pattern(kernels)


def _without_pattern(kernels: List[Kernel]) -> List[Kernel]:
    return [kernel for kernel in kernels[:-1] if kernel.two_of_four is False]


def _check_pattern(kernels: List[Kernel]) -> None:
    broken = _without_pattern(kernels)
    if broken:
        raise _wrong(
            "the pattern 2:4, which kernel {} breaks: {} of its {} weights are zero".format(
                broken[0].name, broken[0].zeros, broken[0].weights
            )
        )
    if not any(kernel.two_of_four for kernel in kernels):
        raise _wrong("the pattern 2:4, which none of its {} kernels has".format(len(kernels)))


def _some(numbers: List[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + ", ..." * (len(numbers) > 5)


def _wrong(what: str) -> BundleError:
    return BundleError("its compression names {}".format(what), _FIX)


def _check_types(record: Dict[str, Any]) -> None:
    """What this file and `edgeseg inspect` rely on; figures of the report may be missing."""
    steps, kernels = record.get("steps"), record.get("kernels")
    if not isinstance(record.get("original"), dict):
        raise _malformed("original", record.get("original"))
    if not isinstance(steps, list) or not all(
        isinstance(row, dict) and isinstance(row.get("step"), str) for row in steps
    ):
        raise _malformed("steps", steps)
    for part in [record["original"]] + steps:
        if any(isinstance(value, (int, float)) and not abs(value) < 1e30 for value in part.values()):
            raise _malformed("figures of {}".format(part.get("step", "original")), part)
    for row in steps:
        effects = row.get("effects", {})
        if not isinstance(effects, dict) or not all(isinstance(effect, str) for effect in effects.values()):
            raise _malformed("effects of step {}".format(row["step"]), effects)
    if not isinstance(kernels, dict):
        raise _malformed("kernels", kernels)
    for name, facts in kernels.items():
        if not _is_record(facts):
            raise _malformed("record of kernel {}".format(name), facts)
    if "pattern" not in record or record["pattern"] not in (None, PATTERN):
        raise _malformed("pattern", record.get("pattern"))


def _is_record(facts: Any) -> bool:
    if not isinstance(facts, dict) or set(facts) != {"weights", "zeros", "codebook"}:
        return False
    codebook = facts["codebook"]
    if codebook is not None and not (isinstance(codebook, list) and len(set(map(repr, codebook))) == len(codebook)):
        return False
    return all(type(value) is int for value in [facts["weights"], facts["zeros"]] + (codebook or []))


def _malformed(part: str, value: Any) -> BundleError:
    return BundleError("manifest.json: compression: {} cannot be {}".format(part, repr(value)[:80]), _FIX)
