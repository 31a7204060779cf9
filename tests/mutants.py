"""The changes that `mutate` makes: signs, indices, factors and comparisons, one at a time."""

from __future__ import annotations

import ast
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[1] / "src" / "xaibench"

OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mod,
    ast.Mod: ast.FloorDiv,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
NAMES = {
    "abs": "clone",
    "amax": "amin",
    "amin": "amax",
    "any": "all",
    "argmax": "argmin",
    "argmin": "argmax",
    "clamp_max": "clamp_min",
    "clamp_min": "clamp_max",
    "cumsum": "flip",
    "exp": "clone",
    "maximum": "minimum",
    "mean": "sum",
    "minimum": "maximum",
    "relu": "clone",
    "repeat_interleave": "repeat",
    "sign": "clone",
    "sqrt": "clone",
    "square": "clone",
    "std": "var",
    "sum": "mean",
}
SHAPES = {"expand", "flatten", "permute", "reshape", "squeeze", "transpose", "unflatten", "unsqueeze", "view"}
"""Calls whose numbers only arrange: a wrong one fails by itself and shows nothing about the tests."""
SILENT = {"backward", "full_matrices", "keepdim", "notes", "requires_grad", "stable", "stacklevel", "strict"}
"""Keyword arguments that decide on memory, messages or shapes alone."""
SIZES = {"_AT_ONCE", "points_at_once"}
"""What says how much is done at once, on which no result depends."""
SMALL = 1e-6
"""Numbers up to this only keep from dividing by zero."""


@dataclass(frozen=True)
class Mutant:
    """One change of one file."""

    path: Path
    owner: str
    """The registered name of the method, or the class or function, or nothing for what stands outside them."""
    line: int
    column: int
    what: str
    span: tuple[int, int]
    """First and last line of the statement."""
    text: str = field(repr=False, compare=False)
    """The file as it was."""
    tree: ast.Module = field(repr=False, compare=False)
    """The changed file."""
    outside: ast.stmt | None = field(default=None, repr=False, compare=False)
    """The changed statement, where it stands outside functions."""

    def __str__(self) -> str:
        return f"{name_of(self.path)}:{self.line}:{self.column}: {self.what}"


def name_of(path: Path) -> str:
    """A file as it is shown."""
    return str(path.relative_to(SOURCE) if path.is_relative_to(SOURCE) else path.name)


class _Sites(ast.NodeVisitor):
    """Every place of a tree that can be changed: the node, its attribute and the new value, with where it stands."""

    def __init__(self) -> None:
        self.found: list[tuple[Any, str, Any, str]] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name not in ("__post_init__", "__repr__", "__str__"):
            for statement in node.body:
                self.visit(statement)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):  # the rest are defaults
                self.visit(statement)

    def visit_Raise(self, node: ast.Raise) -> None:
        pass

    def visit_Assert(self, node: ast.Assert) -> None:
        pass

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def visit_If(self, node: ast.If) -> None:
        if not (len(node.body) == 1 and isinstance(node.body[0], ast.Raise)):
            self.visit(node.test)
        for statement in (*node.body, *node.orelse):
            self.visit(statement)

    def visit_Assign(self, node: ast.Assign) -> None:
        if not SIZES & {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}:
            self.visit(node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg not in SILENT:
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        self.visit(node.func)
        if called in SHAPES or called in ("split", "warn"):
            return
        for argument in (*node.args, *node.keywords):
            if not (called == "max" and isinstance(argument, ast.Constant) and argument.value == 1):
                self.visit(argument)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self._swap(node)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._swap(node)
        self.visit(node.value)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self._swap(node)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        kind = type(node.ops[0])
        if kind in OPERATORS and len(node.ops) == 1:
            self._add(node, "ops", [OPERATORS[kind]()], f"{kind.__name__} becomes {OPERATORS[kind].__name__}")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
            self._add(node, "op", ast.UAdd(), "a minus is dropped")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if type(node.value) is bool:
            self._add(node, "value", not node.value, f"{node.value} becomes {not node.value}")
        elif type(node.value) is int:
            self._add(node, "value", node.value + 1, f"{node.value} becomes {node.value + 1}")
        elif type(node.value) is float and abs(node.value) > SMALL:
            self._add(node, "value", node.value * 2, f"{node.value} becomes {node.value * 2}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in NAMES:
            self._add(node, "attr", NAMES[node.attr], f"{node.attr} becomes {NAMES[node.attr]}")
        self.generic_visit(node)

    def _swap(self, node: Any) -> None:
        kind = type(node.op)
        if kind in OPERATORS:
            self._add(node, "op", OPERATORS[kind](), f"{kind.__name__} becomes {OPERATORS[kind].__name__}")

    def _add(self, node: Any, attribute: str, value: Any, what: str) -> None:
        self.found.append((node, attribute, value, what))


def mutants(path: Path, most: int) -> list[Mutant]:
    """Up to ``most`` changes of a file, shared out over what it defines, drawn by its name."""
    text = path.read_text(encoding="utf-8")
    groups = []
    for index, top in enumerate(ast.parse(text).body):
        sites = _Sites()
        sites.visit(top)
        order = list(range(len(sites.found)))
        random.Random(f"{path.name} {getattr(top, 'name', '')}").shuffle(order)
        groups.append([(place, index, number) for place, number in enumerate(order)])
    chosen = sorted(each for group in groups for each in group)[:most]
    made = [_mutant(path, text, index, number) for _, index, number in chosen]
    return sorted(made, key=lambda mutant: (mutant.line, mutant.column))


def _mutant(path: Path, text: str, index: int, number: int) -> Mutant:
    tree = ast.parse(text)
    top = tree.body[index]
    sites = _Sites()
    sites.visit(top)
    node, attribute, value, what = sites.found[number]
    span = _span(top, node)
    setattr(node, attribute, value)
    ast.fix_missing_locations(tree)
    outside = None if isinstance(top, ast.FunctionDef | ast.ClassDef) else top
    return Mutant(path, _owner(top), node.lineno, node.col_offset + 1, what, span, text, tree, outside)


def _span(top: ast.stmt, node: ast.AST) -> tuple[int, int]:
    """Lines of the innermost statement with the node, for one that holds others those before them."""
    span = (top.lineno, top.end_lineno or top.lineno)
    for statement in ast.walk(top):
        if isinstance(statement, ast.stmt) and any(node is inner for inner in ast.walk(statement)):
            body = getattr(statement, "body", None)
            last = body[0].lineno - 1 if body else statement.end_lineno or statement.lineno
            span = (statement.lineno, max(last, statement.lineno))
    return span


def _owner(top: ast.stmt) -> str:
    for decorator in getattr(top, "decorator_list", ()):
        if isinstance(decorator, ast.Call) and getattr(decorator.func, "attr", "") == "register":
            return str(ast.literal_eval(decorator.args[0]))
    return str(getattr(top, "name", ""))
