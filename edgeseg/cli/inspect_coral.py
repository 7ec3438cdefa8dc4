"""The part of `edgeseg inspect` for the Edge TPU: what its compiler will make of a .tflite file, or made of it."""

import os
from typing import Any, Dict, List, Optional, Tuple

from edgeseg.bundle import Bundle
from edgeseg.cli.table import table
from edgeseg.cli.verify import verification_lines
from edgeseg.coral.compiled_bundle import compilation_lines
from edgeseg.coral.operators import CPU, TPU, UNREADABLE
from edgeseg.coral.package import Layer, Package, is_compiled, read_packages, split
from edgeseg.coral.preflight import Preflight, Verdict, preflight, shorten
from edgeseg.coral.registry import COMPILER, TENSORFLOW
from edgeseg.errors import BundleError, UsageError
from edgeseg.tflite.model import Operator, TfliteModel, read_tflite

TARGET = "coral"


def check_target(target: Optional[str], path: str = "") -> None:
    """Raises UsageError for a --target other than Coral, or any for the file `path`, which holds no .tflite file."""
    if target not in (None, TARGET):
        raise UsageError("inspect knows nothing of the target {}".format(target), "give --target coral, or none")
    if target and path:
        raise UsageError(
            "{} holds no .tflite file, and --target {} is about one".format(path, target),
            "export the network first: edgeseg export NETWORK.keras --target {}".format(target),
        )


def coral_report(model: TfliteModel) -> Dict[str, Any]:
    """What the compiler made of a compiled file ("postflight"), or will make of another one ("preflight").

    Lines to print are under "text". Raises BundleError if the compiled part is damaged.
    """
    if is_compiled(model):
        packages, rest = read_packages(model), split(model).cpu
        facts = {"packages": [_package_facts(p) for p in packages], "cpu": [_operator_facts(model, o) for o in rest]}
        return {"postflight": facts, "text": _postflight_lines(model, packages)}
    found = preflight(model)
    return {"preflight": _preflight_facts(found), "text": preflight_lines(found)}


def bundle_report(bundle: Bundle) -> Dict[str, Any]:
    """The same of a bundle's compiled file, or else of its .tflite file, and what is left to do for Coral.

    Raises UsageError if it has neither, BundleError if it is damaged.
    """
    data = bundle.payloads.get("edgetpu") or bundle.payloads.get("tflite")
    if data is None:
        raise UsageError("{} holds no .tflite file".format(bundle.path), "export the network with --target " + TARGET)
    try:
        report = coral_report(read_tflite(data))
    except BundleError as error:
        raise BundleError("{}: {}".format(bundle.path, error.message), error.fix)
    manifest = bundle.manifest
    if manifest.target.name == TARGET:
        if manifest.compilation:
            report["text"] += ["compilation"] + ["  " + line for line in compilation_lines(manifest.compilation)]
        if manifest.verification:
            report["text"] += ["verification"] + ["  " + line for line in verification_lines(manifest.verification)]
        if "edgetpu" not in bundle.payloads:
            todo = "left to do, on an x86-64 machine with the Edge TPU compiler: edgeseg compile {}"
            report["text"].append(todo.format(os.path.basename(bundle.path)))
    return report


# ---- preflight


def preflight_lines(found: Preflight) -> List[str]:
    """All of a preflight: operators by kind, those not on the Edge TPU with reason and fix, facts, the verdict."""
    lines = ["preflight for the Edge TPU, as compiler {} will map it".format(COMPILER)] + table(_kinds(found.verdicts))
    needs = "needs TensorFlow Lite {}".format(found.min_runtime_version or "of a version that it does not name")
    lines.append("  {}; the compiler reads what {} reads".format(needs, ".".join(str(n) for n in TENSORFLOW)))
    lines.append(
        "  {:.2f} MB of parameters; about {:.2f} MB stay on chip".format(
            found.parameter_bytes / 1e6, found.cache_bytes / 1e6
        )
    )
    for place, title in ((UNREADABLE, "the compiler cannot read"), (CPU, "on the CPU")):
        lines += _group_lines(title, [v for v in found.verdicts if v.place == place])
    for problem in found.problems:
        lines += ["{}: {}".format("refused" if problem.stops else "slower", problem.text), "    fix: " + problem.fix]
    if found.notes:
        lines += ["not proven, so compile it to see"] + ["  " + note for note in found.notes]
    return lines + ["verdict: " + found.summary()]


def _preflight_facts(found: Preflight) -> Dict[str, Any]:
    facts = dict(found._asdict(), verdicts=[v._asdict() for v in found.verdicts])
    facts.update(problems=[p._asdict() for p in found.problems])
    facts.update(first_break=found.first_break._asdict() if found.first_break else None)
    return dict(facts, whole=found.whole, mapped_share=found.mapped_share, cached=found.cached, summary=found.summary())


def _kinds(verdicts: Tuple[Verdict, ...]) -> List[Tuple[str, ...]]:
    """A row for each operator and version: how many there are, and where."""
    counts: Dict[Tuple[str, int], Dict[str, int]] = {}
    for v in verdicts:
        places = counts.setdefault((v.operator, v.version), {TPU: 0, CPU: 0, UNREADABLE: 0})
        places[v.place] += 1
    rows: List[Tuple[str, ...]] = [("operator", "version", "count", "TPU", "CPU", "unreadable")]
    for (name, version), places in counts.items():
        shown = [str(places[place] or "") for place in (TPU, CPU, UNREADABLE)]
        rows.append((name, str(version), str(sum(places.values())), *shown))
    return rows


def _group_lines(title: str, verdicts: List[Verdict]) -> List[str]:
    """Each reason and fix once, with the operators that they are about."""
    groups: Dict[Tuple[str, str], List[Verdict]] = {}
    for v in verdicts:
        groups.setdefault((v.reason, v.fix), []).append(v)
    lines = []
    for (reason, fix), group in groups.items():
        lines.append("{}: {}".format(title, reason))
        lines += ["  " + v.title for v in group]
        lines.append("    fix: " + fix)
    return lines


# ---- postflight


def _postflight_lines(model: TfliteModel, packages: Tuple[Package, ...]) -> List[str]:
    rest = split(model).cpu
    lines = [
        "compiled for the Edge TPU: {} subgraph(s), {} operator(s) left on the CPU".format(len(packages), len(rest))
    ]
    for package in packages:
        lines += _package_lines(package)
    for operator in rest:
        facts = _operator_facts(model, operator)
        lines.append("on the CPU: {} {}".format(facts["operator"], shorten(facts["output"])))
    return lines


def _package_lines(package: Package) -> List[str]:
    lines = [
        "  needs Edge TPU runtime {} or later; made by compiler {}".format(
            package.min_runtime, package.compiler or "of an unknown version"
        ),
        "  parameters: {:,} bytes cached on chip, {:,} streamed at each inference".format(
            package.cached_bytes, package.streamed_bytes
        ),
        "  instructions {:,} bytes, scratch {:,} bytes, narrow memory {:,} bytes a tile, caching token {:#x}".format(
            package.instruction_bytes, package.scratch_bytes, package.narrow_bytes_per_tile, package.caching_token
        ),
    ]
    for side, layers in (("input", package.inputs), ("output", package.outputs)):
        lines += ["  {}: {}".format(side, _layer(layer)) for layer in layers]
    return lines


def _layer(layer: Layer) -> str:
    return "{} {}x{}x{} {}".format(shorten(layer.name), layer.shape[0], layer.shape[1], layer.shape[2], layer.data_type)


def _package_facts(package: Package) -> Dict[str, Any]:
    numbers = ("min_runtime", "cached_bytes", "streamed_bytes", "instruction_bytes", "scratch_bytes")
    facts: Dict[str, Any] = {name: getattr(package, name) for name in numbers}
    facts.update(compiler=package.compiler, model_identifier=package.model_identifier)
    facts.update(narrow_bytes_per_tile=package.narrow_bytes_per_tile, caching_token=package.caching_token)
    facts.update(inputs=[x._asdict() for x in package.inputs], outputs=[x._asdict() for x in package.outputs])
    executables = [{"type": e.type, "parameter_bytes": e.parameter_bytes} for e in package.executables]
    return dict(facts, executables=executables)


def _operator_facts(model: TfliteModel, operator: Operator) -> Dict[str, str]:
    output = model.tensors[operator.outputs[0]].name if operator.outputs else ""
    return {"operator": operator.name, "output": output}
