"""What the shell offers when a name is half typed: read from the sources and folders, for a framework takes seconds.

Values after ``name:`` are left to the user, and so are paths, which the shell completes by itself.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = [
    "architecture",
    "attack",
    "data_set",
    "explainer",
    "metric",
    "model",
    "model_or_report",
    "objective",
    "report",
]

_PACKAGE = Path(__file__).resolve().parents[1]


def _attack_names() -> list[str]:
    """Attacks and ensembles of them."""
    return sorted([*_registered("attacks", "attacks"), *_keys("robustness/ensembles.py", "_ENSEMBLES")])


def _explainer_names() -> list[str]:
    """Explainers."""
    return sorted(_registered("explainers", "explainers"))


def _metric_names() -> list[str]:
    """Quality metrics of explanations."""
    return sorted(_registered("metrics", "quality_metrics"))


def _objective_names() -> list[str]:
    """Training objectives."""
    return sorted(_registered("training", "objectives"))


def _architecture_names() -> list[str]:
    """Networks that weights can be read into."""
    return sorted(_registered("architectures", "architectures"))


def _data_set_names() -> list[str]:
    """Data sets known by name."""
    return sorted([*_keys("data/load.py", "_BUILTIN"), *_keys("data/hub.py", "KNOWN")])


def _model_names() -> list[str]:
    """Models at hand."""
    from xaibench.homes import model_names

    return list(model_names())


def _report_folders() -> list[str]:
    """Reports below the working folder's ``reports/``."""
    return sorted(str(path.parent) for path in Path("reports").glob("*/report.json"))


def _completes(*names: Callable[[], list[str]]) -> Callable[[str], list[str]]:
    """A completion of what was typed so far by the names that begin so; after a comma, of what follows it."""

    def complete(incomplete: str) -> list[str]:
        done, comma, rest = incomplete.rpartition(",") if ":" not in incomplete else ("", "", incomplete)
        return [f"{done}{comma}{name}" for source in names for name in source() if name.startswith(rest)]

    return complete


def _registered(package: str, registry: str) -> Iterator[str]:
    """Names that the sources of a package give to a registry's decorator."""
    decorator = re.compile(rf'^@{registry}\.register\("([^"]+)"\)', re.MULTILINE)
    for path in (_PACKAGE / package).rglob("*.py"):
        yield from decorator.findall(path.read_text(encoding="utf-8"))


def _keys(path: str, variable: str) -> list[str]:
    """Keys of a dictionary that a source file assigns to a variable."""
    for node in ast.parse((_PACKAGE / path).read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(value, ast.Dict) and any(isinstance(one, ast.Name) and one.id == variable for one in targets):
            return [str(key.value) for key in value.keys if isinstance(key, ast.Constant)]
    raise LookupError(f"no dictionary {variable} in {path}")


architecture = _completes(_architecture_names)
attack = _completes(_attack_names)
data_set = _completes(_data_set_names)
explainer = _completes(_explainer_names)
metric = _completes(_metric_names)
model = _completes(_model_names)
model_or_report = _completes(_model_names, _report_folders)
objective = _completes(_objective_names)
report = _completes(_report_folders)
