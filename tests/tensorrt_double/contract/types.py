"""Which class of TensorRT is an expression?"""

import ast
from typing import Any, Callable, Dict, List, Optional, Set

from .names import RECEIVERS, RETURNS
from .scope import Binding, Module, dotted

OURS = "a type of ours"
Oracle = Dict[str, Any]
_MAKERS = {"load_tensorrt": "trt", "open_log": "ILogger"}  # of edgeseg/trt/library.py


class Types:
    """Which class of TensorRT an expression is: "Builder"; "type:BuilderFlag" for the class itself; OURS; or None."""

    def __init__(self, module: Module, oracle: Oracle) -> None:
        self.module = module
        self.oracle = oracle
        self.scopes: List[ast.AST] = [module.tree]
        self._asked: Set[Any] = set()  # names that are being looked up: `x = f(x)`

    def of(self, node: Any) -> Optional[str]:
        kinds: Dict[type, Callable[[Any], Optional[str]]] = {
            ast.Name: lambda node: self._of_name(node.id),
            ast.Attribute: self._of_attribute,
            ast.Call: self._of_call,
            ast.Subscript: lambda node: self.of_item(node.value),
            ast.Starred: lambda node: self.of_item(node.value),
            ast.IfExp: lambda node: self.of(node.body) or self.of(node.orelse),
            ast.BoolOp: lambda node: next(filter(None, map(self.of, node.values)), None),
            ast.BinOp: lambda node: OURS if OURS in (self.of(node.left), self.of(node.right)) else None,
            ast.JoinedStr: lambda node: OURS,
        }
        if type(node) in kinds:
            return kinds[type(node)](node)
        return OURS if literal(node) is not None else None

    def of_item(self, node: Any) -> Optional[str]:
        """OURS if the items of a container are; its annotation tells, where there is one."""
        annotations = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            annotations = [self.module.returns.get(node.func.id)]
        elif dotted(node):
            found = self.lookup(dotted(node))
            annotations = [binding.value for binding in found if binding.kind == "annotation"]
            values = [binding for binding in found if binding.kind == "value"]
            if not any(annotations) and len(values) == 1 and not isinstance(values[0].value, ast.Name):
                return self._there(values[0].place, self.of_item, values[0].value)
        if any(annotations):
            return OURS if not any(mentions_any(annotation) for annotation in annotations) else None
        return self.of(node)

    def lookup(self, name: str) -> List[Binding]:
        """Bindings of a name in the innermost scope that has any."""
        for scope in reversed(self.scopes):
            if isinstance(scope, ast.ClassDef) == name.startswith("self."):  # a class body's names are not its methods'
                found = self.module.bindings(scope).get(name)
                if found:
                    return found
        return []

    def _there(self, place: ast.AST, ask: Any, node: Any) -> Any:
        """Ask about an expression in the scope in which it is written."""
        outer = self.scopes
        if isinstance(place, ast.FunctionDef) and place not in outer:
            self.scopes = [scope for scope in outer if not isinstance(scope, (ast.FunctionDef, ast.Lambda))] + [place]
        try:
            return ask(node)
        finally:
            self.scopes = outer

    def _of_name(self, name: str) -> Optional[str]:
        bindings = self.lookup(name)
        key = (name, id(bindings))
        if key not in self._asked:
            self._asked.add(key)
            kinds = [self._of_binding(binding) for binding in bindings]
            self._asked.discard(key)
            found = next((kind for kind in kinds if kind not in (None, OURS)), None)
            if found or OURS in kinds:
                return found or OURS
        return RECEIVERS.get(name.rpartition(".")[2].lstrip("_"))

    def _of_binding(self, binding: Binding) -> Optional[str]:
        if binding.kind == "annotation":
            return OURS if is_typed(binding.value) else None
        if binding.kind == "augmented":
            return None
        return self._there(binding.place, self.of if binding.kind == "value" else self.of_item, binding.value)

    def _of_attribute(self, node: ast.Attribute) -> Optional[str]:
        if dotted(node):
            return self._of_name(dotted(node))
        base = self.of(node.value)
        if base == "trt":
            return "type:" + node.attr
        if base == OURS:
            return RECEIVERS[node.attr] if node.attr in ("trt", "log") else OURS
        if base is None:
            return RECEIVERS.get(node.attr.lstrip("_"))
        if base.startswith("type:"):
            return base[5:] if node.attr != "__members__" else None
        return RETURNS.get((base, node.attr))

    def _of_call(self, node: ast.Call) -> Optional[str]:
        if isinstance(node.func, ast.Name):
            return self._of_function(node, node.func.id)
        if not isinstance(node.func, ast.Attribute):
            return None
        base = self.of(node.func.value)
        if base == "trt":
            return node.func.attr
        if base == OURS or getattr(node.func.value, "id", "") in self.module.modules:
            return OURS
        return RETURNS.get((base, node.func.attr)) if base else None

    def _of_function(self, node: ast.Call, name: str) -> Optional[str]:
        if name == "create" and node.args:  # of edgeseg/trt/library.py: gives what its first argument makes
            made = node.args[0]
            return self.of(made.body if isinstance(made, ast.Lambda) else made)
        if name in _MAKERS:
            return _MAKERS[name]
        if name in ("list", "sorted", "tuple", "enumerate", "reversed") and node.args:
            return self.of_item(node.args[0])
        return OURS if name in self.module.classes or is_typed(self.module.returns.get(name)) else None


def is_typed(annotation: Any) -> bool:
    """Is there an annotation that is more than Any? Items of a List[Any] may be anything, the list is ours."""
    if isinstance(annotation, ast.Subscript) and getattr(annotation.value, "id", "") == "Optional":
        return not mentions_any(annotation)
    return annotation is not None and getattr(annotation, "id", "") != "Any"


def mentions_any(annotation: Any) -> bool:
    return "Any" in [node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)]


def literal(node: Any) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return None


def number(node: Any) -> Optional[int]:
    """The value of 3, 1 << 3, 1 | 4; None if it is not written with numbers alone."""
    if isinstance(node, ast.BinOp):
        left, right = number(node.left), number(node.right)
        if left is None or right is None:
            return None
        return left << right if isinstance(node.op, ast.LShift) else left | right
    value = literal(node)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
