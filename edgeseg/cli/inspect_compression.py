"""The part of `edgeseg inspect` that shows what compression made of a network, step by step and in the file itself."""

from typing import Any, Dict, List, Optional, Sequence

from edgeseg.cli.table import table
from edgeseg.kernels import Kernel

_SIZES = ["payload", "bundle", "ratio", "params", "nonzero", "unique", "bits", "Shannon", "Huffman"]
_HEAD = ["step"] + _SIZES + ["MACs", "ms", "mIoU", "agree"]


def compression_lines(compression: Optional[Dict[str, Any]], kernels: Sequence[Kernel]) -> List[str]:
    """A manifest's compression: a row for each step and what it changes on which target; then what the file holds.

    Every figure may be missing, as the time of a network that does not run where it was measured.
    """
    return (_step_lines(compression) if compression else ["  none"]) + _kernel_lines(kernels)


def kernel_facts(kernels: Sequence[Kernel]) -> List[Dict[str, Any]]:
    """The same for JSON; "values" is how many different ones there are, null in a float kernel."""
    return [
        {
            "name": kernel.name,
            "dtype": kernel.dtype,
            "weights": kernel.weights,
            "zeros": kernel.zeros,
            "values": None if kernel.values is None else len(kernel.values),
            "two_of_four": kernel.two_of_four,
        }
        for kernel in kernels
    ]


def _step_lines(compression: Dict[str, Any]) -> List[str]:
    original, steps = compression["original"], compression["steps"]
    lines = [
        "  from {}: {} M parameters, {} MB in float32".format(
            original.get("network", "?"), _scaled(original, "parameters", 1e6), _scaled(original, "float32_bytes", 1e6)
        )
    ]
    lines += table([_HEAD] + [_cells(row) for row in steps])
    lines.append(
        "  payload, bundle, Shannon, Huffman: kB of 1000 bytes; params, MACs: millions; bits: a weight; mIoU, agree: %"
    )
    for row in steps:
        effects: Dict[str, List[str]] = {}  # targets by what a step does on them
        for target, effect in row.get("effects", {}).items():
            effects.setdefault(effect, []).append(target)
        lines += ["  {} {}: {}".format(row["step"], effect, ", ".join(targets)) for effect, targets in effects.items()]
    return lines


def _kernel_lines(kernels: Sequence[Kernel]) -> List[str]:
    """None where the convolutions of the file cannot be seen."""
    if not kernels:
        return []
    weights, zeros = sum(kernel.weights for kernel in kernels), sum(kernel.zeros for kernel in kernels)
    line = "  in the file: {} kernels, {} weights, {} of them zero ({})".format(
        len(kernels), weights, zeros, _percent(zeros, weights)
    )
    counts = [len(kernel.values) for kernel in kernels if kernel.values is not None]
    if counts:
        line += ", at most {} different values in one".format(max(counts))
    able = [kernel for kernel in kernels if kernel.two_of_four is not None]
    if any(kernel.two_of_four for kernel in able):
        line += ", the pattern 2:4 in {} of {}".format(sum(bool(kernel.two_of_four) for kernel in able), len(able))
    return [line]


def _cells(row: Dict[str, Any]) -> List[str]:
    return [
        row["step"],
        _scaled(row, "payload_bytes", 1e3, 0),
        _scaled(row, "bundle_bytes", 1e3, 0),
        _scaled(row, "ratio", 1, 1),
        _scaled(row, "parameters", 1e6),
        _percent(row.get("nonzeros"), row.get("weights")),
        _scaled(row, "unique", 1, 0),
        _scaled(row, "bits_per_weight", 1),
        _scaled(row, "shannon_bytes", 1e3, 0),
        _scaled(row, "huffman_bytes", 1e3, 0),
        _scaled(row, "macs", 1e6, 0),
        _scaled(row, "latency_ms", 1),
        _scaled(row, "miou", 0.01),
        _scaled(row, "agreement", 0.01),
    ]


def _scaled(values: Dict[str, Any], name: str, unit: float, digits: int = 2) -> str:
    value = values.get(name)
    return "{:.{}f}".format(value / unit, digits) if isinstance(value, (int, float)) else "-"


def _percent(part: Any, whole: Any) -> str:
    return "{:.1%}".format(part / whole) if isinstance(part, int) and isinstance(whole, int) and whole > 0 else "-"
