"""Write the oracle of one TensorRT version: the names and signatures of its Python API, nothing else.

    python make_oracle.py OUT.json             # of the module `tensorrt` that this Python imports
    python make_oracle.py OUT.json DUMP.json   # of a dump with docstrings (class -> member -> first docstring line)

A member is a list of overloads, each a list of parameter names without `self` ("name=" has a default, "argN" has
no name and is positional only); "ro" or "rw" for a property; "value" for a constant. A function of the module is
written like a method, with "value" where its docstring has no signature. pybind11 writes the signature into the
first line of a docstring, and the overloads as "1. ...", "2. ..." below `name(*args, **kwargs)`.

tests/edgeseg/trt/test_real_bindings.py says how to import the bindings without TensorRT itself; those of 8.5.2 come
only with all of it (549 MB), so its oracle is made from a dump.
"""

import json
import os
import re
import sys
from typing import Any, Dict, List, Union

Member = Union[str, List[List[str]]]
Oracle = Dict[str, Any]
DUNDERS = ("__init__", "__getitem__", "__len__")
# Never of use to this project, and most of the bulk: plugins, layers by kind, loops, the parsers that are gone.
LEFT_OUT = re.compile(r"^(I(?!Layer$).*Layer|I?Plugin.*|I?Dims.+|I?If.*|I?Loop.*|I?RNN.*|I?Caffe.*|I?Uff.*|Field.*)$")


def oracle_of_module(trt: Any) -> Oracle:
    """The oracle of an imported `tensorrt`."""
    oracle: Oracle = {}
    for name in dir(trt):
        thing = getattr(trt, name)
        if name.startswith("_") or LEFT_OUT.match(name):
            continue
        members = getattr(thing, "__members__", None)
        if isinstance(thing, type) and isinstance(members, dict):
            oracle[name] = {"enum": {member: int(value) for member, value in members.items()}}
        elif isinstance(thing, type):
            names = [m for m in dir(thing) if m in DUNDERS or not m.startswith("_")]
            oracle[name] = {"class": _without_none({m: _member_of_class(thing, m) for m in names})}
        elif callable(thing):
            oracle[name] = {"function": _member(_first_line(thing))}
    return oracle


def _member_of_class(owner: type, name: str) -> Any:
    found = owner.__dict__.get(name)
    if found is None or isinstance(found, staticmethod):
        found = getattr(owner, name)
    if isinstance(found, property):
        return "rw" if found.fset else "ro"
    return _constructor(name, _member(_first_line(found)))


def _first_line(thing: Any) -> str:
    """The first line of the docstring, or all overloads joined by " | "."""
    lines = [line for line in (getattr(thing, "__doc__", None) or "").strip().splitlines() if line.strip()]
    if not lines:
        return ""
    if lines[0].endswith("(*args, **kwargs)"):
        return " | ".join(re.sub(r"^\d+\. ", "", line) for line in lines if re.match(r"^\d+\. ", line))
    return lines[0]


def oracle_of_dump(dump: Dict[str, Any]) -> Oracle:
    """The oracle of a dump: {class: {member: docstring line}, enum: {"__enum__": {...}}, function: docstring line}."""
    oracle: Oracle = {}
    for name, thing in dump.items():
        if name.startswith("_") or LEFT_OUT.match(name):
            continue
        if isinstance(thing, str):
            oracle[name] = {"function": _member(thing)}
        elif "__enum__" in thing:
            oracle[name] = {"enum": thing["__enum__"]}
        else:
            members = {m: _constructor(m, _member(line)) for m, line in thing.items()}
            oracle[name] = {"class": _without_none(members)}
    return oracle


def _constructor(name: str, member: Member) -> Any:
    """None for an `__init__` that is only object's: such a class cannot be constructed from Python."""
    return None if name == "__init__" and member == "value" else member


def _without_none(members: Dict[str, Any]) -> Dict[str, Any]:
    return {name: member for name, member in members.items() if member is not None}


def _member(line: str) -> Member:
    if line.startswith("property "):
        return line.split()[1].rstrip(":")
    overloads = [_parameters(part) for part in re.split(r" \| (?=\w+\(self)", line) if re.match(r"\w+\(.*\)", part)]
    return overloads or "value"


def _parameters(signature: str) -> List[str]:
    """The parameter names of `name(self: T, a: T, b: T[U, V] = <X: 0>) -> T`."""
    inside = signature[signature.index("(") + 1 : _closing(signature)]
    names = []
    depth = 0
    for part in re.split(r"([\[\](){}<>,])", inside.replace("->", "")):
        if part in list("[({<"):
            depth += 1
        elif part in list("])}>"):
            depth -= 1
        elif depth == 0 and part != "," and part.strip():
            if ":" in part and re.match(r"\s*\w+:", part):
                names.append(part.split(":")[0].strip())
            if "=" in part and names and not names[-1].endswith("="):
                names[-1] += "="
    return names[1:] if names and (names[0] == "self" or signature.startswith("__")) else names


def _closing(signature: str) -> int:
    depth = 0
    for index, character in enumerate(signature):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == ")" and depth == 0:
            return index
    raise ValueError("no closing parenthesis in " + signature)


def write_oracle(oracle: Oracle, path: str) -> None:
    """One line for each enum and each member, sorted: readable, and a difference shows what changed."""
    lines = []
    for name in sorted(oracle):
        (kind, content) = next(iter(oracle[name].items()))
        if kind == "class":
            members = ["   {}: {}".format(json.dumps(m), json.dumps(content[m])) for m in sorted(content)]
            text = '{{"class": {{\n{}\n  }}}}'.format(",\n".join(members))
        else:
            text = json.dumps({kind: content}, sort_keys=True)
        lines.append(" {}: {}".format(json.dumps(name), text))
    with open(path, "w") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


def main(arguments: List[str]) -> None:
    if len(arguments) == 2:
        with open(arguments[1]) as file:
            oracle = oracle_of_dump(json.load(file))
    else:
        here = os.path.dirname(os.path.abspath(__file__))  # where the double is
        sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]
        import tensorrt

        oracle = oracle_of_module(tensorrt)
    write_oracle(oracle, arguments[0])


if __name__ == "__main__":
    main(sys.argv[1:])
