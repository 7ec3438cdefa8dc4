"""A bundle for Coral and what the Edge TPU compiler made of it."""

from typing import Any, Dict, List

from edgeseg.bundle import MEMBERS, Bundle, payload_info
from edgeseg.coral.compiler import Compilation
from edgeseg.coral.compiler_log import MAPPED


def with_compilation(bundle: Bundle, compilation: Compilation) -> Bundle:
    """The bundle with the compiled file in it. What was verified of another one does not hold for it."""
    infos = [info for info in bundle.manifest.payloads if info.role != "edgetpu"]
    infos.append(payload_info("edgetpu", MEMBERS["edgetpu"], compilation.payload))
    manifest = bundle.manifest._replace(payloads=tuple(infos), compilation=compilation.report, verification=None)
    return bundle._replace(manifest=manifest, payloads=dict(bundle.payloads, edgetpu=compilation.payload))


def compilation_lines(report: Dict[str, Any]) -> List[str]:
    """A manifest's compilation in a few lines. Free-form: every figure may be missing."""
    get = report.get
    rows = get("operators") or []
    mapped = sum(row["count"] for row in rows if row["status"] == MAPPED)
    lines = [
        "compiled by Edge TPU compiler {} ({}) in {} s, attempt {}".format(
            get("compiler"), get("found"), get("seconds"), get("attempts")
        ),
        "operators: {} of {} on the Edge TPU, in {} subgraph(s)".format(
            mapped, sum(row["count"] for row in rows), get("subgraphs")
        ),
    ]
    lines += ["  on the CPU: {count} x {operator}: {status}".format(**row) for row in rows if row["status"] != MAPPED]
    return lines + [
        "parameters: {} cached on chip, {} streamed at each inference".format(
            _megabytes(get("cached_bytes")), _megabytes(get("streamed_bytes"))
        ),
        "needs Edge TPU runtime {} or later".format(get("min_runtime")),
    ]


def _megabytes(count: Any) -> str:
    return "{:.2f} MB".format(count / 1e6) if isinstance(count, int) else "?"
