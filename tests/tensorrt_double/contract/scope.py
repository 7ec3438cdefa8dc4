"""What a module defines and imports, and what each name in a scope is bound to."""

import ast
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

from .names import RECEIVERS


class Binding(NamedTuple):
    """What a name is bound to: an annotation, a value, an item of a value, or a value that is added ("augmented")."""

    kind: str
    value: Any
    place: ast.AST  # the function or module in which it is written


class Module:
    """Functions, classes and imports of a module, and what each name in a scope is bound to."""

    def __init__(self, tree: ast.Module, siblings: Dict[str, str]) -> None:
        self.tree = tree
        self.functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        self.classes = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
        self.returns: Dict[str, Any] = {name: node.returns for name, node in self.functions.items()}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edgeseg"):
                self._import(node, siblings.get(node.module or "", ""))
        names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
        self.unreferenced = {name for name in self.functions if name not in names}
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
        modules = {alias.asname or alias.name.split(".")[0] for node in imports for alias in node.names}
        self.modules = modules - set(RECEIVERS)
        self._bindings: Dict[ast.AST, Dict[str, List[Binding]]] = {}

    def _import(self, node: ast.ImportFrom, source: str) -> None:
        tree = ast.parse(source)
        theirs = {item.name: item for item in tree.body if isinstance(item, (ast.FunctionDef, ast.ClassDef))}
        for alias in node.names:
            item = theirs.get(alias.name)
            if isinstance(item, ast.FunctionDef):
                self.returns[alias.asname or alias.name] = item.returns
            elif isinstance(item, ast.ClassDef) or alias.name[:1].isupper():
                self.classes.add(alias.asname or alias.name)

    def bindings(self, scope: ast.AST) -> Dict[str, List[Binding]]:
        """What the names in a scope are bound to; for a class those of `self.x`, which its methods bind."""
        if scope not in self._bindings:
            table: Dict[str, List[Binding]] = {}
            body = scope.body if isinstance(scope, ast.ClassDef) else []
            methods = [item for item in body if isinstance(item, ast.FunctionDef)]
            for place in [scope] + methods:
                for name, kind, value in _bound(place):
                    if isinstance(scope, ast.ClassDef) == name.startswith("self."):
                        table.setdefault(name, []).append(Binding(kind, value, place))
            self._bindings[scope] = table
        return self._bindings[scope]


def _bound(scope: ast.AST) -> Iterator[Tuple[str, str, Any]]:
    if isinstance(scope, (ast.FunctionDef, ast.Lambda)):
        arguments = scope.args
        for argument in arguments.args + arguments.kwonlyargs:
            yield argument.arg, "annotation", argument.annotation
    for node in _inside(scope):
        if isinstance(node, ast.AnnAssign):
            yield dotted(node.target), "annotation", node.annotation
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _targets(target, "value", node.value)
        elif isinstance(node, (ast.For, ast.comprehension)):
            yield from _targets(node.target, "item", node.iter)
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            yield from _targets(node.optional_vars, "value", node.context_expr)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name, "annotation", node.type
        elif isinstance(node, ast.AugAssign):
            yield dotted(node.target), "augmented", node.value


def _inside(scope: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a scope, without those of the functions and classes in it."""
    for child in ast.iter_child_nodes(scope):
        yield child
        if not isinstance(child, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            yield from _inside(child)


def _targets(target: ast.AST, kind: str, value: Any) -> Iterator[Tuple[str, str, Any]]:
    if isinstance(target, (ast.Tuple, ast.List)):
        pairs = kind == "value" and isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts)
        for index, part in enumerate(target.elts):
            yield from _targets(part, kind, value.elts[index] if pairs else value)
    elif dotted(target):
        yield dotted(target), kind, value


def dotted(node: ast.AST) -> str:
    """ "x" or "self.x", else ""."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        return "self." + node.attr
    return ""
