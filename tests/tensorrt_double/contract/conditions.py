"""Decides the conditions that ask what a version has."""

import ast
from typing import Any, Callable, Dict, FrozenSet, Optional

from .names import EXTENSIONS
from .types import OURS, Oracle, Types, literal

Outcomes = FrozenSet[bool]
BOTH: Outcomes = frozenset((True, False))


def only(value: bool) -> Outcomes:
    return frozenset((value,))


class Conditions(Types):
    def outcomes(self, node: Any) -> Outcomes:
        """The truth values that a condition can have in this version."""
        kinds: Dict[type, Callable[[Any], Outcomes]] = {
            ast.UnaryOp: self._not,
            ast.BoolOp: self._and_or,
            ast.Compare: self._in_members,
            ast.Name: self._variable,
            ast.Call: self._call,
        }
        if type(node) in kinds:
            return kinds[type(node)](node)
        value = literal(node)
        return BOTH if value is None else only(bool(value))

    def _not(self, node: ast.UnaryOp) -> Outcomes:
        return frozenset(not value for value in self.outcomes(node.operand)) if isinstance(node.op, ast.Not) else BOTH

    def _and_or(self, node: ast.BoolOp) -> Outcomes:
        decisive = isinstance(node.op, ast.Or)
        parts = [self.outcomes(value) for value in node.values]
        if only(decisive) in parts:
            return only(decisive)
        return only(not decisive) if all(part == only(not decisive) for part in parts) else BOTH

    def _in_members(self, node: ast.Compare) -> Outcomes:
        enum, name = self.members(node.comparators[0]), literal(node.left)
        if enum is None or not isinstance(name, str) or not isinstance(node.ops[0], (ast.In, ast.NotIn)):
            return BOTH
        has = name in self.oracle.get(enum, {}).get("enum", {})
        return only(has == isinstance(node.ops[0], ast.In))

    def members(self, node: Any) -> Optional[str]:
        """The enum X of `trt.X.__members__`, or of a variable that is that."""
        if isinstance(node, ast.Attribute) and node.attr == "__members__":
            base = self.of(node.value) or ""
            return base[5:] if base.startswith("type:") else None
        if isinstance(node, ast.Name):
            values = [binding.value for binding in self.lookup(node.id) if binding.kind == "value"]
            return self.members(values[0]) if len(values) == 1 and not isinstance(values[0], ast.Name) else None
        return None

    def _variable(self, node: ast.Name) -> Outcomes:
        bindings = self.lookup(node.id)
        return self.outcomes(bindings[0].value) if [b.kind for b in bindings] == ["value"] else BOTH

    def _call(self, node: ast.Call) -> Outcomes:
        name = getattr(node.func, "id", "")
        if name in ("hasattr", "getattr") and len(node.args) >= 2:
            return self._asks(node, name)
        function = self.module.functions.get(name)
        body = [item for item in function.body if not isinstance(item, ast.Expr)] if function else []
        if function and len(body) == 1 and isinstance(body[0], ast.Return):  # only a condition with a name
            outer, self.scopes = self.scopes, [self.module.tree, function]
            try:
                return self.outcomes(body[0].value)
            finally:
                self.scopes = outer
        return BOTH

    def _asks(self, node: ast.Call, name: str) -> Outcomes:
        owner, attribute = self.of(node.args[0]), literal(node.args[1])
        if owner is None or owner == OURS or not isinstance(attribute, str):
            return BOTH
        has = self.kind(owner, attribute) is not None
        if name == "hasattr":
            return only(has)
        return BOTH if has or len(node.args) < 3 else only(bool(literal(node.args[2])))

    def kind(self, owner: str, name: str, oracle: Optional[Oracle] = None) -> Any:
        """What `owner.name` is in a version: overloads, "ro", "rw", "value", "enum", "ours"; None if it is absent."""
        oracle = self.oracle if oracle is None else oracle
        if owner == "trt":
            if name == "__version__":
                return "value"
            return oracle[name].get("function", "value") if name in oracle else None
        described = oracle.get(owner.replace("type:", ""), {})
        if "enum" in described:
            known = set(described["enum"]) | {"__members__"} if owner.startswith("type:") else {"name", "value"}
            return "enum" if name in known else None
        if name in EXTENSIONS.get(owner, ()):
            return "ours"
        return described.get("class", {}).get(name)
