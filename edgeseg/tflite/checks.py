"""What a .tflite file must be for our integer runtimes: full-integer, static, one graph."""

from typing import List, Tuple

from edgeseg.tflite.model import CONVOLUTIONS, Operator, TfliteModel

FLOATS = ("float32", "float16", "float64", "bfloat16", "complex64", "complex128")


def check_full_integer(model: TfliteModel) -> List[str]:
    """What keeps `model` from being a static full-integer network, uint8 in and int8 out; [] if nothing."""
    problems = check_static(model)
    used = {i for o in model.operators for i in o.inputs + o.outputs}.union(model.inputs, model.outputs)
    floats = [t.name for i, t in enumerate(model.tensors) if i in used and t.type in FLOATS]
    if floats:
        problems.append(f"{len(floats)} float tensor(s), first {floats[0]}")
    problems += _border_problems(model, "input", model.inputs, "uint8")
    problems += _border_problems(model, "output", model.outputs, "int8")
    inner = [o.name for o in model.operators if o.name in ("QUANTIZE", "DEQUANTIZE") and not _at_border(model, o)]
    problems += [f"{name} in the middle of the graph" for name in sorted(set(inner))]
    kernels = [model.tensors[o.inputs[1]] for o in model.operators if o.name in CONVOLUTIONS]
    for fault, wrong in (
        ("not int8", [k for k in kernels if k.type != "int8"]),
        ("with one scale instead of one per channel", [k for k in kernels if k.type == "int8" and not k.per_channel]),
    ):
        if wrong:
            problems.append(f"{len(wrong)} kernel(s) {fault}, first {wrong[0].name}")
    return problems


def check_static(model: TfliteModel) -> List[str]:
    """What keeps `model` from having one subgraph of builtin operators on static shapes; [] if nothing."""
    problems = []
    if model.subgraphs != 1:
        problems.append(f"{model.subgraphs} subgraphs instead of 1")
    dynamic = [t for t in model.tensors if -1 in t.shape_signature or min(t.shape or (1,)) < 1]
    if dynamic:
        problems.append(f"{len(dynamic)} tensor(s) of dynamic shape, first {dynamic[0].name}")
    custom = sorted({o.name for o in model.operators if o.name.startswith("CUSTOM")})
    if custom:
        problems.append("operators that are not builtin: {}".format(", ".join(custom)))
    return problems


def _border_problems(model: TfliteModel, side: str, indices: Tuple[int, ...], wanted: str) -> List[str]:
    found = [model.tensors[i].type for i in indices]
    if found == [wanted]:
        return []
    return ["the {} is {}, not one {} tensor".format(side, " and ".join(found) or "missing", wanted)]


def _at_border(model: TfliteModel, operator: Operator) -> bool:
    return set(operator.inputs) <= set(model.inputs) or set(operator.outputs) <= set(model.outputs)
