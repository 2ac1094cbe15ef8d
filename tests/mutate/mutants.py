"""Mutants of a module: one small change of its code each, found in its syntax tree, that a test should notice.

Left out is what no test should notice: docstrings, annotations, decorators, texts of errors and of the log.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
}
UNTESTED_FIELDS = frozenset({"annotation", "returns", "decorator_list", "type_comment"})
LOGGERS = frozenset({"log", "_log", "logger"})


@dataclass(frozen=True, slots=True)
class _Place:
    node: ast.AST
    parent: ast.AST
    field: str
    index: int | None
    function_lines: range | None


@dataclass(frozen=True, slots=True)
class Mutant:
    """`before` → `after` in line `line` (from 1) of `path`; `source` is that line as it stands, stripped.

    Tests that run none of `function_lines` cannot notice it; None: it runs when the module is imported.
    """

    path: str
    line: int
    source: str
    before: str
    after: str
    function_lines: range | None
    place: _Place
    replacement: ast.AST

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.before}  →  {self.after}"

    def apply(self) -> None:
        """Changes the tree that this was found in permanently, so run it in a separate process."""
        place = self.place
        if place.index is None:
            setattr(place.parent, place.field, self.replacement)
        else:
            getattr(place.parent, place.field)[place.index] = self.replacement
        ast.fix_missing_locations(place.parent)


def find(path: str, text: str) -> tuple[ast.Module, list[Mutant]]:
    """The tree of a module's text, and every mutant of it, in the order of its lines."""
    tree = ast.parse(text)
    lines = text.splitlines()
    found = []
    for place in _places(tree):
        changes = [(place.node, one, _shown(one)) for one in _replacements(place.node, place.field)]
        if isinstance(place.node, ast.BoolOp):
            changes += [(operand, rest, "(left out)") for operand, rest in _without_one(place.node)]
        for changed, replacement, after in changes:
            ast.copy_location(replacement, place.node)
            line: int = changed.lineno  # type: ignore[attr-defined]
            source, before = lines[line - 1].strip(), _shown(changed)
            found.append(Mutant(path, line, source, before, after, place.function_lines, place, replacement))
    return tree, found


def _places(node: ast.AST, lines: range | None = None) -> Iterator[_Place]:
    """Each node that a test may notice, with where it stands, and the lines of the innermost function around it."""
    for field, value in ast.iter_fields(node):
        if field in UNTESTED_FIELDS:
            continue
        children = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
        for index, child in children:
            if not isinstance(child, ast.AST) or _is_untested(child):
                continue
            inside = lines
            if field == "body" and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                inside = range(node.body[0].lineno, (node.end_lineno or 0) + 1)
            if hasattr(child, "lineno"):
                yield _Place(child, node, field, index, inside)
            if not isinstance(child, ast.Raise):
                yield from _places(child, inside)


def _is_untested(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Constant()) | ast.JoinedStr() | ast.Import() | ast.ImportFrom():
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))):
            return name in LOGGERS
        case ast.Assign(targets=[ast.Name(id="__all__")]) | ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.AnnAssign(annotation=ast.Name(id="TypeAlias")):
            return True
        case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar" | "NewType"))):
            return True
    return False


def _replacements(node: ast.AST, field: str) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in COMPARISONS:
            yield ast.Compare(node.left, [COMPARISONS[type(operator)]()], node.comparators)
        case ast.Compare(ops=[first, *rest]) if type(first) in COMPARISONS:
            for place, operator in enumerate([first, *rest]):
                ops = [*node.ops]
                ops[place] = COMPARISONS[type(operator)]()
                yield ast.Compare(node.left, ops, node.comparators)
        case ast.BoolOp(op=operator, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.UnaryOp(op=ast.USub()):
            yield node.operand
        case ast.BinOp(op=operator) if type(operator) in OPERATORS:
            yield ast.BinOp(node.left, OPERATORS[type(operator)](), node.right)
        case ast.AugAssign(op=operator) if type(operator) in OPERATORS:
            yield ast.AugAssign(node.target, OPERATORS[type(operator)](), node.value)
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(value=str(value)):
            yield ast.Constant(value + "~")
        case ast.Constant(value=bytes(value)):
            yield ast.Constant(value + b"~")
        case ast.Return(value=ast.expr() as value) if not _is_falsy(value):
            yield ast.Return(ast.Constant(None))
        case ast.Continue():
            yield ast.Break()
        case ast.Break():
            yield ast.Continue()
        case ast.Raise() | ast.Expr(value=ast.Call() | ast.Await()):
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
    if isinstance(node, ast.Name | ast.Call | ast.Attribute | ast.NamedExpr) and field in ("test", "ifs"):
        yield ast.UnaryOp(ast.Not(), node)


def _without_one(node: ast.BoolOp) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Each operand, and what is left without it."""
    for place, operand in enumerate(node.values):
        others = node.values[:place] + node.values[place + 1 :]
        yield operand, others[0] if len(others) == 1 else ast.BoolOp(node.op, others)


def _is_falsy(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and not node.value


def _shown(node: ast.AST) -> str:
    return " ".join(ast.unparse(ast.fix_missing_locations(node)).split())
