"""Mutations of a module: each changes one decision in it, as a slip of the hand would.

Sentences for the reader (text with a space in it) are left as they are: they decide nothing. So are
annotations, docstrings, decorators and what stands under ``if TYPE_CHECKING``.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.LShift: ast.RShift,
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
_METHODS = {
    "startswith": "endswith",
    "endswith": "startswith",
    "partition": "rpartition",
    "rpartition": "partition",
}
_SKIPPED = frozenset({"decorator_list", "annotation", "returns", "type_params", "type_comment"})
# from the module down: a field's name, and the place in it if it is a list
_Path = tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change: the line and the function that it is in, what stands there and what would."""

    line: int
    function: str
    before: str
    after: str
    path: _Path
    number: int  # which of the changes at this place

    @property
    def key(self) -> str:
        """What names it also when other lines of the file have changed; equal ones of a function
        are told apart by ``line``.
        """
        return f"{self.function}: {self.before} -> {self.after}"


def mutations(source: str) -> list[Mutation]:
    """Given a module's source, return every mutation of it, in the order of its lines."""
    tree = ast.parse(source)
    found = [
        Mutation(_line(node), function, _said(node), _said(changed), path, number)
        for path, node, function in _walk(tree, (), "module")
        for number, changed in enumerate(_changes(node))
    ]
    return sorted(found, key=lambda mutation: mutation.line)


def mutated(source: str, mutation: Mutation) -> ast.Module:
    """Given a module's source and a mutation of it, return the module as the mutation leaves it."""
    tree = ast.parse(source)
    node: ast.AST = tree
    for name, place in mutation.path[:-1]:
        node = _child(node, name, place)
    name, place = mutation.path[-1]
    changed = list(_changes(_child(node, name, place)))[mutation.number]
    if place is None:
        setattr(node, name, changed)
    else:
        getattr(node, name)[place] = changed
    return ast.fix_missing_locations(tree)


def _line(node: ast.AST) -> int:
    place = node.target if isinstance(node, ast.comprehension) else node
    return getattr(place, "lineno", 0)


def _child(node: ast.AST, name: str, place: int | None) -> ast.AST:
    child = getattr(node, name)
    found: ast.AST = child if place is None else child[place]
    return found


def _walk(node: ast.AST, path: _Path, function: str) -> Iterator[tuple[_Path, ast.AST, str]]:
    for name, value in ast.iter_fields(node):
        if name in _SKIPPED or isinstance(node, ast.JoinedStr):
            continue
        for place, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or _says_nothing(child):
                continue
            here = (*path, (name, place))
            yield here, child, function
            inside = child.name if isinstance(child, ast.FunctionDef | ast.ClassDef) else function
            yield from _walk(child, here, inside)


def _says_nothing(node: ast.AST) -> bool:
    """Docstrings, imports, and what only type checkers read."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return isinstance(node, ast.Import | ast.ImportFrom)


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    for kind, changes in _CHANGES.items():
        if isinstance(node, kind):
            yield from changes(node)


def _of_comparison(node: ast.Compare) -> Iterator[ast.AST]:
    for place, operator in enumerate(node.ops):
        changed = copy.deepcopy(node)
        changed.ops[place] = _COMPARISONS[type(operator)]()
        yield changed


def _of_boolean(node: ast.BoolOp) -> Iterator[ast.AST]:
    """The other word, and each operand left out."""
    changed = copy.deepcopy(node)
    changed.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    yield changed
    for place in range(len(node.values)):
        rest = [copy.deepcopy(value) for other, value in enumerate(node.values) if other != place]
        yield rest[0] if len(rest) == 1 else ast.BoolOp(copy.deepcopy(node.op), rest)


def _of_unary(node: ast.UnaryOp) -> Iterator[ast.AST]:
    if isinstance(node.op, ast.Not | ast.USub):
        yield copy.deepcopy(node.operand)


def _of_binary(node: ast.BinOp) -> Iterator[ast.AST]:
    if other := _OPERATORS.get(type(node.op)):
        changed = copy.deepcopy(node)
        changed.op = other()
        yield changed


def _of_constant(node: ast.Constant) -> Iterator[ast.AST]:
    value = node.value
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
    elif isinstance(value, str) and " " not in value:
        yield ast.Constant(f"XX{value}")


def _of_condition(node: ast.If | ast.IfExp | ast.While) -> Iterator[ast.AST]:
    """The condition turned round, where nothing inside it would be."""
    if not isinstance(node.test, ast.Compare | ast.BoolOp | ast.UnaryOp):
        changed = copy.deepcopy(node)
        changed.test = ast.UnaryOp(ast.Not(), changed.test)
        yield changed


def _of_loop(node: ast.comprehension) -> Iterator[ast.AST]:
    """Each filter left out."""
    for place in range(len(node.ifs)):
        changed = copy.deepcopy(node)
        del changed.ifs[place]
        yield changed


def _of_call(node: ast.Call) -> Iterator[ast.AST]:
    changed = copy.deepcopy(node)
    if isinstance(changed.func, ast.Name) and changed.func.id in _NAMES:
        changed.func.id = _NAMES[changed.func.id]
        yield changed
    elif isinstance(changed.func, ast.Attribute) and changed.func.attr in _METHODS:
        changed.func.attr = _METHODS[changed.func.attr]
        yield changed


def _left_out(node: ast.stmt) -> Iterator[ast.AST]:
    yield ast.Pass()


def _of_expression(node: ast.Expr) -> Iterator[ast.AST]:
    if isinstance(node.value, ast.Call | ast.Yield | ast.YieldFrom):
        yield ast.Pass()


_CHANGES: dict[type[ast.AST], Callable[..., Iterator[ast.AST]]] = {
    ast.Compare: _of_comparison,
    ast.BoolOp: _of_boolean,
    ast.UnaryOp: _of_unary,
    ast.BinOp: _of_binary,
    ast.Constant: _of_constant,
    ast.If: _of_condition,
    ast.IfExp: _of_condition,
    ast.While: _of_condition,
    ast.comprehension: _of_loop,
    ast.Call: _of_call,
    ast.Raise: _left_out,
    ast.AugAssign: _left_out,
    ast.Expr: _of_expression,
    ast.Continue: lambda node: iter([ast.Break()]),
    ast.Break: lambda node: iter([ast.Continue()]),
}


def _said(node: ast.AST) -> str:
    """A line that shows a node."""
    if isinstance(node, ast.If | ast.While):
        return f"{type(node).__name__.lower()} {ast.unparse(node.test)}"
    text = ast.unparse(node)
    return " ".join(text.split())[:100]
