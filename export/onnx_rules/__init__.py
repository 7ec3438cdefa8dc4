"""What NVIDIA TensorRT will not take, or not run well, in an ONNX file: found on a PC, without TensorRT."""

from collections.abc import Iterator

from onnx import ModelProto, checker, shape_inference

from edgeseg.errors import CheckFailed
from edgeseg.export.onnx_rules import placement, quantisation, structure
from edgeseg.export.onnx_rules.graph import OnnxGraph, read_onnx
from edgeseg.export.onnx_rules.rules import RULES, Finding, Violation

__all__ = ["OLDEST", "RULES", "Violation", "check_onnx", "read_onnx", "require_onnx"]

OLDEST = (8, 2)  # the oldest TensorRT that edgeseg is made for: JetPack 4.6


def check_onnx(data: bytes, oldest: tuple[int, int] = OLDEST) -> list[Violation]:
    """The rules of TensorRT, from version `oldest` on, that an ONNX file breaks, in the order of `RULES`.

    Raises UsageError for bytes that are not an ONNX file (`read_onnx`).
    """
    return _violations(read_onnx(data), oldest)


def require_onnx(model: ModelProto, oldest: tuple[int, int] = OLDEST) -> None:
    """Raise CheckFailed if a model breaks a rule without which TensorRT refuses it or computes wrong numbers."""
    errors = [v for v in _violations(model, oldest) if v.severity == "error"]
    if errors:
        rule, _, node, reason, fix, _ = errors[0]
        where = f"{rule}, {node}" if node else rule
        raise CheckFailed(f"the ONNX model breaks rules of TensorRT, {len(errors)} time(s); {where}: {reason}", fix)


def _violations(model: ModelProto, oldest: tuple[int, int]) -> list[Violation]:
    order = list(RULES)
    found = [finding.violation(oldest) for finding in _findings(model)]
    return sorted((v for v in found if v is not None), key=lambda v: order.index(v.rule))


def _findings(model: ModelProto) -> Iterator[Finding]:
    """What needs whole nodes and types is checked only where onnx finds the nodes whole."""
    external = list(structure.external_data(model))
    yield from external
    graph = OnnxGraph(model)
    for check in structure.MODEL_CHECKS:
        yield from check(graph)
    if external:
        return
    try:
        checker.check_model(model)
    except Exception as error:  # its own class, and those of its bindings for what a damaged model holds
        yield _invalid(error)
        return
    inferred, fault = _with_types(model)
    if fault is not None:
        yield _invalid(fault)
    graph = OnnxGraph(inferred)
    for check in (*structure.TYPED_CHECKS, *quantisation.CHECKS, *placement.CHECKS):
        yield from check(graph)


def _with_types(model: ModelProto) -> tuple[ModelProto, Exception | None]:
    """The model with the shapes and types of its tensors, as far as they are known, and what is wrong with them."""
    try:
        return shape_inference.infer_shapes(model, check_type=True, strict_mode=True), None
    except Exception as error:
        fault = error
    try:
        return shape_inference.infer_shapes(model), fault
    except Exception:
        return model, fault


def _invalid(error: Exception) -> Finding:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return Finding("invalid-model", "", f"onnx refuses it: {lines[0]}")
