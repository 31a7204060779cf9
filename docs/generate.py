"""Brings the generated parts of the documentation up to date: what stands between markers, from cards and schemas."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def model_table() -> str:
    """The shipped models and what their cards state."""
    from xaibench.card import Card

    cards = [Card.read(path) for path in sorted((ROOT / "models").glob("*/config.json"))]
    rows = []
    for card in cards:
        metrics = card.metrics[card.data.test_split]
        low, high = metrics["accuracy_interval"]
        rows.append(
            (
                f"[{card.name}](models/{card.name})",
                card.framework,
                card.data.name,
                card.architecture.name.replace("_", " "),
                f"{100 * metrics['accuracy']:.2f} % ({100 * low:.1f}–{100 * high:.1f})",
            )
        )
    return table(("model", "framework", "data", "architecture", "test accuracy (95 % interval)"), rows)


def field_table(model: Any) -> str:
    """The fields of a pydantic model: name, default, meaning."""
    rows = [
        (f"`{name}`", "required" if field.is_required() else f"`{_default(field)}`", field.description or "")
        for name, field in model.model_fields.items()
    ]
    return table(("field", "default", "meaning"), rows)


def _default(field: Any) -> object:
    value = field.get_default(call_default_factory=True)
    return type(value).__name__ if hasattr(value, "model_fields") else value


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def plan_table() -> str:
    """The fields of a plan."""
    from xaibench.evaluate import Plan

    return field_table(Plan)


def recipe_table() -> str:
    """The fields of a recipe."""
    from xaibench.training import Recipe

    return field_table(Recipe)


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "README.md": ("models", model_table),
    "docs/reports.md": ("plan", plan_table),
    "docs/recipes.md": ("recipe", recipe_table),
}


def generated(path: str) -> str:
    """A file's text with its generated part written anew."""
    name, make = PARTS[path]
    text = (ROOT / path).read_text(encoding="utf-8")
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    body = f"{start}\n{make()}\n{end}"
    return re.sub(f"{start}.*?{end}", lambda _: body, text, flags=re.DOTALL)


def main() -> None:
    """Write every file that has a generated part."""
    for path in PARTS:
        (ROOT / path).write_text(generated(path), encoding="utf-8")


if __name__ == "__main__":
    main()
