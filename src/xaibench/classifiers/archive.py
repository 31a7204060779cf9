"""Reading ``.pt2`` archives of `torch.export` without running anything that they hold.

The reader in torch unpickles sample inputs and custom objects, evaluates shape expressions as Python, resolves
operators by walking attributes of the whole `torch` package, and compiles a function around the names in the file. So
the archive is written anew in memory, with nothing but plain tensors and a graph in which every operator, name and
expression is of a known, harmless form; only that copy is loaded.
"""

from __future__ import annotations

import ast
import io
import json
import logging
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from xaibench.errors import InputError, first_line

__all__ = ["load_exported"]

_KEPT = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)"
    r"|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)"
)
_PROGRAM = "models/model.json"
_SAMPLES = "data/sample_inputs/model.pt"
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims)\.(?!from_file)[A-Za-z]\w*(\.[A-Za-z]\w*)?|torch\.ops\.aten\._\w*[a-z0-9](\.[A-Za-z]\w*)?"
    r"|torch\.ops\.higher_order\.wrap_with_set_grad_enabled|torch\.sym_\w+|math\.(ceil|floor|sqrt|trunc)"
    r"|_operator\.(add|and_|eq|floordiv|ge|getitem|gt|le|lt|mod|mul|ne|neg|or_|pos|pow|sub|truediv)"
)
_WORDS = re.compile(r"""[\w.,:#"'\[\]{} /+-]*""")
_EXPRESSION_CALLS = {
    *("Abs", "Add", "And", "CeilDiv", "CeilToInt", "CleanDiv", "Eq", "Float", "FloorDiv", "FloorToInt", "Ge", "Gt"),
    *("Integer", "IntTrueDiv", "Le", "Lt", "Max", "Min", "Mod", "ModularIndexing", "Mul", "Ne", "Not", "Or", "Pow"),
    *("PythonMod", "Rational", "RoundToInt", "Symbol", "ToFloat", "TruncToInt", "Where"),
}
_EXPRESSION_NODES = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Compare, ast.cmpop),
    *(ast.Call, ast.keyword, ast.Name, ast.Load, ast.Constant),
)


def load_exported(path: Path) -> torch.export.ExportedProgram:
    """The program in a ``.pt2`` file; what holds pickles, custom objects or code raises `InputError`."""
    try:
        with zipfile.ZipFile(path) as archive:
            clean = _rewritten(archive, path)
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"expected a whole torch.export archive at {path}, got: {first_line(error)}") from None
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return torch.export.load(clean)
    except Exception as error:  # whatever a broken program brings about inside torch
        raise InputError(f"expected a program of this version of torch in {path}, got: {first_line(error)}") from None
    finally:
        logger.setLevel(level)


def _rewritten(archive: zipfile.ZipFile, path: Path) -> io.BytesIO:
    copy = io.BytesIO()
    names = archive.namelist()
    if not any(name.partition("/")[2] == _PROGRAM for name in names):
        raise InputError(f"expected one program called 'model' in {path}, got none")
    with zipfile.ZipFile(copy, "w") as target:
        for name in names:
            inner = name.partition("/")[2]
            content = archive.read(name)
            if inner == _SAMPLES:
                content = b""
            elif inner == _PROGRAM:
                content = json.dumps(_checked_program(json.loads(content), path)).encode()
            elif not _KEPT.fullmatch(inner):
                raise InputError(f"expected only tensors and a graph in {path}, got {inner or name!r}")
            elif inner.endswith("_config.json"):
                _check_payload(json.loads(content), path)
            target.writestr(name, content)
    copy.seek(0)
    return copy


def _check_payload(config: Any, path: Path) -> None:
    for name, entry in config["config"].items():
        if entry.get("use_pickle") or not re.fullmatch(r"(weight|tensor)_\d+", str(entry.get("path_name"))):
            raise InputError(f"expected {name!r} in {path} as plain bytes of a tensor, got a pickle")


def _checked_program(program: Any, path: Path) -> Any:
    program["guards_code"] = []
    for holder, key, value in _strings(program):
        if key == "expr_str":
            known = _is_expression(value)
        elif key == "target":
            known = _OPERATOR.fullmatch(value) is not None
        else:
            known = _WORDS.fullmatch(value) is not None
        if not known:
            raise InputError(
                f"expected a graph of plain tensor operators in {path}, got {key or holder}: {value[:60]!r}"
            )
    return program


def _strings(value: Any, key: str = "", holder: str = "") -> Iterator[tuple[str, str, str]]:
    """All strings but comments, which are cleared, with the key they stand under and the one above."""
    if isinstance(value, str):
        yield holder, key, value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, key, holder)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name == "metadata":
                item.clear()
            yield "", "", name
            yield from _strings(item, name, key)


def _is_expression(text: str) -> bool:
    """Whether a shape expression is arithmetic over symbols, and nothing else that Python could evaluate."""
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError:
        return False
    for node in ast.walk(tree):
        if not isinstance(node, _EXPRESSION_NODES):
            return False
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in _EXPRESSION_CALLS):
            return False
        if isinstance(node, ast.Name) and not re.fullmatch(r"[A-Za-z]\w*", node.id):
            return False
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and not re.fullmatch(r"[a-z]+\d*", node.value)
        ):
            return False
    return True
