"""The walk over a module, and what it finds."""

import ast
import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from .conditions import Conditions, only
from .names import BANNED, ENUM_PARAMETERS, ENUM_PROPERTIES
from .scope import Module
from .types import OURS, Oracle, literal, number

_LEAVES = (ast.Return, ast.Raise, ast.Continue, ast.Break)


class Report(NamedTuple):
    """`findings`: "file:line: what is wrong (versions)"; `seen`: (owner, attribute) of every use that was walked.

    The owner is "" for the module `tensorrt`.
    """

    findings: List[str]
    seen: Set[Tuple[str, str]]


def check_source(source: str, file: str, oracles: Dict[str, Oracle], siblings: Dict[str, str]) -> Report:
    """Check one module; `siblings` are the sources of modules that it imports by dotted name, for annotations."""
    module = Module(ast.parse(source), siblings)
    found: Dict[Tuple[int, str], List[str]] = {}
    seen: Set[Tuple[str, str]] = set()
    for version, oracle in oracles.items():
        walk = Walk(module, oracle, oracles)
        walk.run()
        seen |= walk.seen
        for finding in walk.findings:
            found.setdefault(finding, []).append(version)
    lines = [
        "{}:{}: {} (TensorRT {})".format(os.path.basename(file), line, text, ", ".join(versions))
        for (line, text), versions in sorted(found.items())
    ]
    return Report(lines, seen)


class Walk(Conditions):
    """One walk over a module for one version."""

    def __init__(self, module: Module, oracle: Oracle, oracles: Dict[str, Oracle]) -> None:
        super().__init__(module, oracle)
        self.oracles = oracles
        self.findings: Set[Tuple[int, str]] = set()
        self.seen: Set[Tuple[str, str]] = set()
        known = {member for o in oracles.values() for described in o.values() for member in described.get("class", {})}
        self._distinctive = {name for name in known if "_" in name.strip("_")} | {"__members__"}
        self._reached: List[str] = []
        self._called: Set[ast.AST] = set()  # attributes that are the function of a call
        self._visitors: Dict[type, Callable[[Any], None]] = {
            ast.If: self._branch,
            ast.IfExp: self._branch,
            ast.While: self._branch,
            ast.BoolOp: self._and_or_visit,
            ast.FunctionDef: self._function,
            ast.Lambda: self._function,
            ast.ClassDef: self._class,
            ast.Name: self._name,
            ast.Attribute: self._attribute,
            ast.Assign: self._assign,
            ast.AugAssign: self._assign,
            ast.Compare: self._compare,
            ast.Call: self._visit_call,
        }

    def run(self) -> None:
        """Module level and public functions first; a private function where something that is reached uses it."""
        self.block([item for item in self.module.tree.body if not isinstance(item, ast.FunctionDef)])
        for name in self.module.functions:
            if not name.startswith("_") or name in self.module.unreferenced:
                self._reach(name)
        for name in self._reached:  # grows meanwhile
            self._function(self.module.functions[name])

    def block(self, statements: Sequence[ast.AST]) -> None:
        """Statements in order, up to one after which nothing is reached in this version."""
        for statement in statements:
            self.visit(statement)
            if isinstance(statement, ast.If):
                outcomes = self.outcomes(statement.test)
                branch = {only(True): statement.body, only(False): statement.orelse}.get(outcomes)
                if branch and isinstance(branch[-1], _LEAVES):
                    return

    def visit(self, node: ast.AST) -> None:
        if type(node) in self._visitors:
            self._visitors[type(node)](node)
            return
        for _, value in ast.iter_fields(node):
            if isinstance(value, list):
                self.block([item for item in value if isinstance(item, ast.AST)])
            elif isinstance(value, ast.AST):
                self.visit(value)

    def _reach(self, name: str) -> None:
        if name in self.module.functions and name not in self._reached:
            self._reached.append(name)

    def _branch(self, node: Any) -> None:
        self.visit(node.test)
        outcomes = self.outcomes(node.test)
        for value, part in ((True, node.body), (False, node.orelse)):
            if value in outcomes:
                self.block(part if isinstance(part, list) else [part])

    def _and_or_visit(self, node: ast.BoolOp) -> None:
        for value in node.values:
            self.visit(value)
            if self.outcomes(value) == only(isinstance(node.op, ast.Or)):
                return

    def _function(self, node: Any) -> None:
        self.scopes.append(node)
        self.block(node.body if isinstance(node.body, list) else [node.body])
        self.scopes.pop()

    def _class(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            self.visit(base)
            owner = self.of(base) or ""
            if owner.startswith("type:"):
                self._check_overrides(node, owner[5:])
        self.scopes.append(node)
        for item in node.body:
            self.visit(item)
        self.scopes.pop()

    def _check_overrides(self, node: ast.ClassDef, base: str) -> None:
        for method in node.body:
            if not isinstance(method, ast.FunctionDef) or method.name.startswith("_"):
                continue
            found = self.kind(base, method.name)
            count = len(method.args.args) - 1
            if found is None:
                self._find(method, "{}.{}: no such method to override".format(base, method.name))
            elif isinstance(found, list) and count not in [len(overload) for overload in found]:
                self._find(method, "{}.{} is overridden with {} arguments".format(base, method.name, count))

    def _name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._reach(node.id)

    def _attribute(self, node: ast.Attribute) -> None:
        self.visit(node.value)
        owner = self.of(node.value)
        if owner is None and node.attr in self._distinctive and getattr(node.value, "id", "") != "self":
            self._find(node, "{}: name its owner as the contract says, so that it can be checked".format(node.attr))
        found = self._check_exists(node, owner, node.attr)
        if isinstance(node.ctx, ast.Store):
            if found not in (None, "rw", "ours"):
                self._find(node, "{}.{} cannot be assigned".format(_plain(owner), node.attr))
        elif isinstance(found, list) and node not in self._called:
            self._find(node, "{}.{} is a method and is not called".format(_plain(owner), node.attr))

    def _check_exists(self, node: ast.AST, owner: Optional[str], name: str) -> Any:
        """What `owner.name` is in this version; a finding if it is not there."""
        if owner is None or owner == OURS:
            return None
        self._note(owner, name)
        found = self.kind(owner, name)
        if owner == "trt" and name in BANNED:
            self._find(node, "trt.{} {}".format(name, BANNED[name]))
        elif found is None:
            self._find(node, "{}.{} does not exist".format(_plain(owner), name))
        return found

    def _check_somewhere(self, node: ast.AST, owner: str, name: str) -> None:
        """A guard for a name that no version has is a misspelt one."""
        self._note(owner, name)
        if all(self.kind(owner, name, oracle) is None for oracle in self.oracles.values()):
            self._find(node, "{}.{} is asked for, but no version has it".format(_plain(owner), name))

    def _assign(self, node: Any) -> None:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            self.visit(target)
            if not isinstance(target, ast.Attribute) or self.of(target.value) in (None, OURS):
                continue
            if target.attr in ENUM_PROPERTIES and self._is_number(node.value):
                self._find(node, "{} is set to a number; the numbers differ between versions".format(target.attr))
        self.visit(node.value)

    def _compare(self, node: ast.Compare) -> None:
        sides = [node.left] + node.comparators
        has_enum = any("enum" in self.oracle.get(self.of(side) or "", {}) for side in sides)
        if has_enum and any(number(side) is not None for side in sides):
            self._find(node, "an enum is compared with a number; they are never equal")
        enum, name = self.members(node.comparators[0]), literal(node.left)
        if enum is not None and isinstance(name, str):
            self._check_somewhere(node, "type:" + enum, name)
        for side in sides:
            self.visit(side)

    def _visit_call(self, node: ast.Call) -> None:
        name = getattr(node.func, "id", "")
        if name in ("hasattr", "getattr", "setattr") and len(node.args) >= 2:
            self._check_asked(node, name)
        elif isinstance(node.func, ast.Attribute):
            self._check_call(node, node.func, node.args, node.keywords)
        elif name == "create" and node.args and isinstance(node.args[0], ast.Attribute):
            self._check_call(node, node.args[0], [], [])  # a method that `create` calls without arguments
        for child in [node.func] + list(node.args) + [keyword.value for keyword in node.keywords]:
            self.visit(child)

    def _check_asked(self, node: ast.Call, name: str) -> None:
        owner, attribute = self.of(node.args[0]), literal(node.args[1])
        if owner is None or owner == OURS:
            return
        if not isinstance(attribute, str):
            self._find(node, "{} of a name that is not written out cannot be checked".format(name))
        elif name == "hasattr" or (name == "getattr" and len(node.args) == 3):
            self._check_somewhere(node, owner, attribute)
        else:
            self._check_exists(node, owner, attribute)

    def _check_call(self, node: ast.AST, func: ast.Attribute, args: List[Any], keywords: List[ast.keyword]) -> None:
        self._called.add(func)
        owner = self.of(func.value)
        if owner is None or owner == OURS or (owner == "trt" and func.attr in BANNED):
            return
        described = self.oracle.get(func.attr, {}) if owner == "trt" else {}
        label = "{}.{}".format(_plain(owner), func.attr)
        if "enum" in described:
            self._find(node, "{}(...): write the member's name; numbers differ between versions".format(label))
            return
        if "class" in described:
            overloads = self.kind(func.attr, "__init__") or "value"
        else:
            overloads = self.kind(owner, func.attr)
        if isinstance(overloads, list):
            given = list(args)[1:] if owner.startswith("type:") else list(args)  # Class.method(self, ...)
            self._check_arguments(node, label, overloads, given, {str(k.arg): k.value for k in keywords})
        elif overloads not in (None, "ours"):
            self._find(node, "{} cannot be called".format(label))

    def _check_arguments(
        self, node: ast.AST, label: str, overloads: List[List[str]], args: List[Any], keywords: Dict[str, Any]
    ) -> None:
        fitting = [bound for bound in (_bind(overload, args, keywords) for overload in overloads) if bound is not None]
        if not fitting:
            given = ", ".join(["..."] * len(args) + [name + "=" for name in keywords])
            wanted = " or ".join("({})".format(", ".join(overload)) for overload in overloads)
            self._find(node, "{}({}) takes {}".format(label, given, wanted))
            return
        for name, value in fitting[0].items():
            if name in ENUM_PARAMETERS and self._is_number(value):
                self._find(node, "{}: {} is a number; the numbers differ between versions".format(label, name))

    def _is_number(self, node: Any) -> bool:
        """Is it a written number other than 0 (no flags), directly or through a variable?"""
        if isinstance(node, ast.Name):
            return any(number(binding.value) for binding in self.lookup(node.id) if binding.kind != "annotation")
        return bool(number(node))

    def _note(self, owner: str, name: str) -> None:
        self.seen.add(("" if owner == "trt" else _plain(owner), name))

    def _find(self, node: Any, text: str) -> None:
        self.findings.add((node.lineno, text))


def _bind(overload: List[str], args: List[Any], keywords: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """Arguments by parameter name if the overload takes them, else None."""
    names = [name.rstrip("=") for name in overload]
    if len(args) > len(names) or any(isinstance(argument, ast.Starred) for argument in args):
        return None
    nameable = [name for name in names[len(args) :] if not (name.startswith("arg") and name[3:].isdigit())]
    bound = dict(zip(names, args), **keywords)
    required = {name for name in overload if not name.endswith("=")}
    return bound if set(keywords) <= set(nameable) and required <= set(bound) else None


def _plain(owner: Optional[str]) -> str:
    return str(owner).replace("type:", "")
