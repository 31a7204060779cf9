"""Breaks each explainer and metric on purpose, one sign, index or factor at a time, and counts what the tests notice.

    python tests/mutate.py [--only explainers/path.py] [--most 8] [--jobs 2] [--list]

Every mutant runs in a process of its own, forked after the heavy imports, on the tests of its file alone. A mutant that
survives is printed with its line: either the change makes no difference, or a test is missing.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.machinery
import io
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.abc import MetaPathFinder, SourceLoader
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "xaibench"
FOLDERS = ("explainers", "metrics")
NOT_METHODS = {"__init__.py", "base.py", "attribution.py", "classification.py", "intervals.py"}
SECONDS = 180

SWAPS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}
NAMES = {
    "abs": "clone",
    "amax": "amin",
    "amin": "amax",
    "argmax": "argmin",
    "cumsum": "flip",
    "maximum": "minimum",
    "minimum": "maximum",
    "sqrt": "clone",
    "square": "clone",
}


@dataclass(frozen=True)
class Mutant:
    """One change of one file."""

    path: Path
    line: int
    what: str
    code: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(SOURCE)}:{self.line}: {self.what}"


class _Sites(ast.NodeVisitor):
    """Every place of a tree that can be changed, with the change as a function that undoes itself."""

    def __init__(self) -> None:
        self.found: list[tuple[int, str, Any]] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name != "__post_init__":  # checks of parameters have tests of their own
            for statement in node.body:
                self.visit(statement)

    def visit_Raise(self, node: ast.Raise) -> None:
        pass

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        kind = type(node.op)
        if kind in SWAPS:
            self._add(node, "op", SWAPS[kind](), f"{kind.__name__} becomes {SWAPS[kind].__name__}")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
            self._add(node, "op", ast.UAdd(), "a minus is dropped")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if type(node.value) is int:
            self._add(node, "value", node.value + 1, f"{node.value} becomes {node.value + 1}")
        elif type(node.value) is float and abs(node.value) > 1e-6:  # smaller ones only keep from dividing by zero
            self._add(node, "value", node.value * 2, f"{node.value} becomes {node.value * 2}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in NAMES:
            self._add(node, "attr", NAMES[node.attr], f"{node.attr} becomes {NAMES[node.attr]}")
        self.generic_visit(node)

    def _add(self, node: Any, field: str, value: Any, what: str) -> None:
        self.found.append((node.lineno, what, (node, field, value)))


def mutants(path: Path, most: int) -> list[Mutant]:
    """Up to ``most`` changes of a file, drawn by its name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    sites = _Sites()
    sites.visit(tree)
    found = []
    for line, what, (node, field, value) in sites.found:
        before = getattr(node, field)
        setattr(node, field, value)
        found.append(Mutant(path=path, line=line, what=what, code=ast.unparse(ast.fix_missing_locations(tree))))
        setattr(node, field, before)
    random.Random(path.name).shuffle(found)
    return sorted(found[:most], key=lambda mutant: mutant.line)


def tests_of(path: Path) -> list[str]:
    """Test files that name something which the file defines, or the file itself; its folder's if there is none."""
    stem, folder = path.stem.strip("_"), path.relative_to(SOURCE).parts[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    names |= {
        ast.literal_eval(call.args[0])
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "register"
    }
    candidates = [
        test for test in sorted((ROOT / "tests" / folder).rglob("test_*.py")) if "properties" not in test.stem
    ]
    texts = {test: test.read_text(encoding="utf-8") for test in candidates}
    named = [test for test, text in texts.items() if stem in test.stem or names & set(names_in(text))]
    return [str(test) for test in named or candidates]


def names_in(text: str) -> Iterator[str]:
    """Names, attributes and strings of a program, specs without their parameters."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.name.rpartition(".")[2]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value.partition(":")[0]


class _Changed(MetaPathFinder, SourceLoader):
    """Imports one module from changed text."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant
        self.module = ".".join(mutant.path.relative_to(SOURCE.parent).with_suffix("").parts)

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> Any:
        if name != self.module:
            return None
        return importlib.machinery.ModuleSpec(name, self, origin=str(self.mutant.path))

    def get_filename(self, fullname: str) -> str:
        return str(self.mutant.path)

    def get_data(self, path: str) -> bytes:
        return self.mutant.code.encode()


def survives(mutant: Mutant | None, tests: Sequence[str]) -> bool:
    """Whether the tests pass with the change; a run that takes too long has failed."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os._exit(_test(mutant, tests))
        os._exit(1)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _test(mutant: Mutant | None, tests: Sequence[str]) -> int:
    import pytest

    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    if mutant is not None:
        sys.meta_path.insert(0, _Changed(mutant))
    with contextlib.redirect_stdout(io.StringIO()):
        options = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:doctest", "-o", "addopts=")
        return int(pytest.main([*options, *tests]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="files below src/xaibench that hold this text")
    parser.add_argument("--most", type=int, default=8, help="most mutants of a file")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--list", action="store_true", help="list the mutants and their tests, run nothing")
    chosen = parser.parse_args()
    files = [
        path for folder in FOLDERS for path in sorted((SOURCE / folder).rglob("*.py")) if path.name not in NOT_METHODS
    ]
    files = [path for path in files if not chosen.only or chosen.only in str(path.relative_to(SOURCE))]
    if not chosen.list:
        _warm_up()
    caught = total = 0
    with ThreadPoolExecutor(chosen.jobs) as pool:
        for path in files:
            found, tests = mutants(path, chosen.most), tests_of(path)
            if chosen.list:
                print(path.relative_to(SOURCE), *(Path(test).name for test in tests), *found, sep="\n  ")
                continue
            if not found:
                continue
            if not survives(None, tests):
                sys.exit(f"expected the tests of {path.name} to pass before it is changed, got a failure")
            living = pool.map(survives, found, [tests] * len(found))
            alive = [mutant for mutant, lives in zip(found, living, strict=True) if lives]
            caught, total = caught + len(found) - len(alive), total + len(found)
            print(f"{path.relative_to(SOURCE)}: {len(found) - len(alive)} of {len(found)} caught", flush=True)
            for mutant in alive:
                print(f"  survives: {mutant}", flush=True)
    if total:
        print(f"{caught} of {total} caught: {caught / total:.0%}")


def _warm_up() -> None:
    """What every child would import again."""
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "explainers")]
    for name in ("torch", "numpy", "scipy.stats", "sklearn.linear_model", "captum.attr", "pydantic"):
        with contextlib.suppress(ImportError):
            __import__(name)


if __name__ == "__main__":
    main()
