"""The shape of the code base: imports point one way, importing is light, and every public name says what it is."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "xaibench"
FILES = sorted(SOURCE.rglob("*.py"))

LAYERS = (
    "errors",
    "reading",
    "files",
    "places",
    "homes",
    "patience",
    "types",
    "registry",
    "rng",
    "card",
    "losses",
    "threats",
    "drawing",
    "classifiers",
    "architectures",
    "data",
    "zoo",
    "attacks",
    "certify",
    "metrics",
    "explainers",
    "quality",
    "manipulation",
    "concepts",
    "examples",
    "counterfactuals",
    "overview",
    "corruptions",
    "checks",
    "robustness",
    "cards",
    "evaluate",
    "intake",
    "training",
    "compression",
    "search",
    "report",
    "comparison",
    "cli",
    "jobs",
    "pages",
    "__main__",
)
STRANGERS = {("attacks", "explainers"), ("explainers", "attacks")}


def layer(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def runtime_imports(node: ast.AST) -> Iterator[str]:
    """Layers of this package that a syntax tree imports when it runs, wherever in it."""
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child):
            continue
        if isinstance(child, ast.Import):
            yield from (name.name.split(".")[1] for name in child.names if name.name.startswith("xaibench."))
        elif isinstance(child, ast.ImportFrom) and child.module == "xaibench":
            yield from (name.name for name in child.names if name.name in LAYERS)
        elif isinstance(child, ast.ImportFrom) and (child.module or "").startswith("xaibench."):
            yield str(child.module).split(".")[1]
        yield from runtime_imports(child)


def wrong_imports(path: Path, text: str) -> list[str]:
    """Layers that a file may not import, for standing later in the list or being a stranger."""
    here = layer(path)
    return [
        other
        for other in runtime_imports(ast.parse(text))
        if LAYERS.index(other) > LAYERS.index(here) or (here, other) in STRANGERS
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_file_keeps_to_the_shape(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path != SOURCE / "__init__.py":
        assert layer(path) in LAYERS, "a new module needs its place in LAYERS"
        assert wrong_imports(path, text) == []
    assert text.count("\n") <= 400, "more than 400 lines are two ideas"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_public_functions_and_classes_say_what_they_are(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "a module starts by saying what it is for"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("attacks/pgd.py", "from xaibench.explainers import explain", ["explainers"]),
        ("losses.py", "def f():\n    from xaibench.report import write_report", ["report"]),
        ("threats.py", "import xaibench.zoo", ["zoo"]),
        ("metrics/a.py", "from xaibench import cli", ["cli"]),
        ("metrics/a.py", "from xaibench.metrics.intervals import wilson_interval", []),
        ("types.py", "if TYPE_CHECKING:\n    from xaibench.card import Card", []),
    ],
)
def test_wrong_imports_are_seen(path: str, text: str, expected: list[str]) -> None:
    assert wrong_imports(SOURCE / path, text) == expected


def loaded_after(statement: str) -> set[str]:
    """Modules that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


HEAVY = {"torch", "tensorflow", "keras", "pydantic", "numpy", "sklearn", "captum", "datasets", "streamlit", "plotly"}


@pytest.mark.parametrize("statement", ["import xaibench", "import xaibench.cli"])
def test_importing_is_light(statement: str) -> None:
    assert loaded_after(statement) & HEAVY == set()


def test_no_module_of_the_pages_loads_a_framework() -> None:
    folder = SOURCE / "pages"
    names = (path.relative_to(SOURCE.parent).with_suffix("").as_posix() for path in sorted(folder.rglob("*.py")))
    modules = [name.removesuffix("/__init__").replace("/", ".") for name in names]
    assert len(modules) > 50
    loaded = loaded_after("\n".join(f"import {module}" for module in modules))
    assert loaded & {"torch", "tensorflow", "sklearn"} == set()


def test_torch_models_need_no_tensorflow() -> None:
    everything = "import xaibench\nfor name in xaibench.__all__: getattr(xaibench, name)"
    slow = {"tensorflow", "keras", "datasets", "streamlit", "plotly", "shap", "foolbox", "scipy.signal", "scipy.stats"}
    assert loaded_after(everything) & slow == set()
