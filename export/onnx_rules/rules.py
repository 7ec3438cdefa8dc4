"""Every rule that TensorRT has for an ONNX file: how grave it is, which versions have it, and how to mend a violation.

Read in the parser's own source, https://github.com/onnx/onnx-tensorrt, branches 8.2-GA, 8.5-GA, 8.6-GA and 10.1-GA
(builtin_op_importers.cpp, onnxOpImporters.cpp, docs/operators.md); 11 is taken to be as strict as 10.
Rules on where Q/DQ belong follow NVIDIA's "Working with quantized types" and the issues that are named below.
"""

from typing import Literal, NamedTuple

# Those of JetPack 4.6, 5.1, 6.0, 6.1 and 7.2.
TENSORRT = ("8.2", "8.5", "8.6", "10", "11")
_BEFORE_10 = ("8.2", "8.5", "8.6")

# The highest opset that docs/operators.md promises. Nothing stops a parser at a higher one: it reads nodes whose
# meaning has changed with their old meaning. 11: that of 10.13, the newest known.
OPSET_CEILING = {"8.2": 13, "8.5": 17, "8.6": 17, "10": 20, "11": 24}


class Rule(NamedTuple):
    """`severity` "error": TensorRT refuses the file or computes wrong numbers; "warning": slower, or int8 is lost."""

    severity: Literal["error", "warning"]
    tensorrt: tuple[str, ...]  # the versions that have this rule
    fix: str


class Violation(NamedTuple):
    """One node that breaks one rule; `tensorrt` are the versions concerned."""

    rule: str
    severity: Literal["error", "warning"]
    node: str  # its name, or its operator and position; empty: the model as a whole
    reason: str
    fix: str
    tensorrt: tuple[str, ...]


def _error(fix: str, tensorrt: tuple[str, ...] = TENSORRT) -> Rule:
    return Rule("error", tensorrt, fix)


def _warning(fix: str, tensorrt: tuple[str, ...] = TENSORRT) -> Rule:
    return Rule("warning", tensorrt, fix)


_SYMMETRIC = "quantise symmetrically to int8: zero points of type int8, all 0"

RULES = {
    # The model as a whole
    "invalid-model": _error("export the model again; `onnx.checker.check_model` must accept it"),
    "external-data": _error("save the model as one file: onnx.save(onnx.load(path), path)"),
    "opset": _error("export with opset 13, which every TensorRT from 8.2 reads"),
    "unsupported-operator": _error("express it in operators that the parser knows, or leave it to the host"),
    "static-shape": _error("export with fixed sizes and batch 1"),
    "uint8-input": _error("give it a float32 input that holds pixels 0..255"),
    "int64-tensor": _warning("cast to int32 or float32; only shapes may be int64"),
    # Operators
    "batch-norm": _warning("fold it into the convolution before it"),
    "clip-bounds": _warning("make min and max initializers"),
    "float16-clip": _error("keep Clip in float32", ("8.2", "8.5")),
    "resize-mode": _error("use mode linear or nearest with coordinates half_pixel or asymmetric"),
    "resize-scales": _error("give `scales` as an initializer, 1 for batch and channels"),
    "argmax": _warning("end at logits; the host takes the maximum (edgeseg.postprocess)"),
    "bias-computed": _error("make the bias an initializer", ("8.2",)),
    # Q/DQ nodes
    "qdq-inputs": _error(_SYMMETRIC),
    "zero-point": _error(_SYMMETRIC),
    "zero-point-type": _error(_SYMMETRIC),
    "zero-point-size": _error("give the zero point the shape of the scale"),
    "scale": _error("make the scale an initializer above 0"),
    "float16-scale": _error("keep scales in float32", _BEFORE_10),
    "scale-length": _error("give one scale, or one for each channel of `axis`"),
    "axis-implicit": _error("write the `axis` attribute out"),
    "activation-per-channel": _error("quantise activations with one scale"),
    "qdq-pair": _error("follow every QuantizeLinear by DequantizeLinear, and nothing else"),
    # Q/DQ of weights and biases
    "int8-weights": _error("keep weights in float32 and put QuantizeLinear, DequantizeLinear after them", _BEFORE_10),
    "conv-axis": _error("quantise the weights of Conv along axis 0"),
    "deconv-per-channel": _error("quantise the weights of ConvTranspose with one scale"),
    "deconv-groups": _error("leave it in float, or make groups of a multiple of 4 channels"),
    "bias-quantised": _error("leave the bias a float32 initializer (onnxruntime: QuantizeBias=False)"),
    "weights-128": _warning("quantise weights to -127..127: scale = largest magnitude / 127"),
    # Where Q/DQ belong
    "half-quantised": _warning("quantise both the input and the weights, or neither"),
    "residual-add": _warning("put QuantizeLinear, DequantizeLinear on the branch that skips the convolution"),
    "concat-scales": _warning("quantise all inputs of the concatenation with one scale"),
    "same-scale": _warning("use the scale of its input after it"),
}


class Finding(NamedTuple):
    """What a check found; `tensorrt` narrows the versions of its rule."""

    rule: str
    node: str
    reason: str
    tensorrt: tuple[str, ...] = TENSORRT

    def violation(self, oldest: tuple[int, int]) -> Violation | None:
        """The violation, as far as it concerns TensorRT `oldest` or later."""
        rule = RULES[self.rule]
        concerned = tuple(v for v in rule.tensorrt if v in self.tensorrt and _number(v) >= oldest)
        return Violation(self.rule, rule.severity, self.node, self.reason, rule.fix, concerned) if concerned else None


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
