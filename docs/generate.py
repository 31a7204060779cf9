"""Brings the generated parts of the documentation up to date: what stands between markers, from cards and schemas."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Iterator, Sequence
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


def robust_table() -> str:
    """The hardened models and what their reports and those of the plain ones state."""
    from xaibench.cards import robust_rows
    from xaibench.evaluate import Judgement
    from xaibench.reading import format_threat

    folder = ROOT / "reports" / "robust"
    rows = []
    for path in sorted(folder.glob("*-robust.json")):
        found, beside = Judgement.read(path), folder / f"{path.stem.removesuffix('-robust')}.json"
        plain = Judgement.read(beside) if beside.exists() else None
        low, high = found.interval
        rows.append(
            (
                f"[{path.stem}](models/{path.stem})",
                format_threat(found.norm, found.eps),
                f"{100 * found.clean_accuracy:.1f} %",
                f"{100 * found.robust_accuracy:.1f} % ({100 * low:.1f}–{100 * high:.1f})",
                "" if plain is None else f"{100 * plain.clean_accuracy:.1f} %, {100 * plain.robust_accuracy:.1f} %",
                f"{found.attack}, {robust_rows(found)}",
            )
        )
    header = ("model", "threat", "clean", "robust (95 % interval)", "plain model: clean, robust", "judged by")
    return table(header, rows)


def field_table(model: Any, prefix: str = "") -> str:
    """The fields of a pydantic model, and of the models inside it: name, default, meaning."""
    return table(("field", "default", "meaning"), list(_field_rows(model, prefix)))


def _field_rows(model: Any, prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        value = None if field.is_required() else field.get_default(call_default_factory=True)
        meaning = field.description or ""
        if hasattr(type(value), "model_fields"):
            yield f"`{prefix}{name}`", "", meaning or (type(value).__doc__ or "").strip().splitlines()[0]
            yield from _field_rows(type(value), f"{prefix}{name}.")
        else:
            yield f"`{prefix}{name}`", "required" if field.is_required() else _shown(value), meaning


def _shown(value: object) -> str:
    return "" if value is None or value in ("", ()) else f"`{json.dumps(value)}`"


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


def explainer_table() -> str:
    """The explainers."""
    from xaibench.explainers import explainers

    return method_table(explainers)


def metric_table() -> str:
    """The quality metrics of explanations."""
    from xaibench.metrics import quality_metrics

    return method_table(quality_metrics)


def objective_table() -> str:
    """The training objectives, the data that they fit, and their parameters."""
    from xaibench.training.objectives import objectives

    rows = []
    for name in objectives:
        cls: Any = objectives.get(name)
        tasks = getattr(cls, "tasks", ("all",))
        data = "as what is in it" if isinstance(tasks, property) else ", ".join(tasks)
        against = "as what is in it" if isinstance(cls.adversarial, property) else "yes" if cls.adversarial else "no"
        rows.append((*_described(name, cls), data, against, ", ".join(map(_parameter, dataclasses.fields(cls)))))
    return table(("name", "what is minimised", "source", "data", "adversary", "parameters"), rows)


def _parameter(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return f"`{field.name}`"
    return f"`{field.name}={field.default if isinstance(field.default, str) else json.dumps(field.default)}`"


def method_table(registry: Any) -> str:
    """What each method of a registry does and where it stems from, in the words of its docstring."""
    rows = [_described(name, registry.get(name)) for name in registry]
    return table(("name", "what it gives", "source"), rows)


def _described(name: str, cls: type) -> tuple[str, str, str]:
    first, _, rest = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")
    source = re.match(r"[^*]*\*[^*]*\*[^(]*\([^)]*\)", " ".join(rest.split()))
    return f"`{name}`", " ".join(first.replace("``", "`").split()), source.group() if source else ""


def _judgements() -> list[Any]:
    """The judgements of the shipped models under AutoAttack, of images and tables."""
    from xaibench.evaluate import Judgement

    found = [Judgement.read(path) for path in sorted((ROOT / "reports" / "robust").glob("*.json"))]
    return [one for one in found if one.attack == "autoattack"]


def flattery_table() -> str:
    """What the first attack of an ensemble alone would have stated, beside what all of them leave."""
    rows = []
    for one in _judgements():
        if not one.robust_accuracy or len(one.stages) < 4:
            continue
        alone = one.clean_accuracy - one.stages[0].broken / one.n
        later = ", ".join(f"{stage.stage} {stage.gain}" for stage in one.stages[1:] if stage.gain)
        rows.append((one.model, f"{alone:.1%}", f"{one.robust_accuracy:.1%}", later))
    header = ("model", "after Auto-PGD on the cross-entropy alone", "after all four", "broken by the others only")
    return table(header, rows)


def bracket_text() -> str:
    """The bracket of a sample report."""
    from xaibench.reading import format_threat
    from xaibench.report import Report

    report = Report.read(ROOT / "reports" / "cancer-mlp")
    found = report.results.robustness
    assert found is not None
    proved, robust = found.bracket
    return (
        f"{report.model.name} on {report.data.n} samples within {format_threat(found.norm, found.eps)}: {proved:.1%}"
        f" proved, {robust:.1%} not broken, and {robust - proved:.1%} about which nobody knows."
    )


def samples_text() -> str:
    """How wide intervals are at some numbers of samples."""
    from xaibench.metrics import wilson_interval

    rows = []
    for n in (50, 200, 1000, 10000):
        cells = [wilson_interval(round(share * n), n) for share in (0.5, 0.9)]
        rows.append((f"{n:,}", *(f"{low:.1%} to {high:.1%}" for low, high in cells)))
    return table(("samples", "of a measured 50 %", "of a measured 90 %"), rows)


def price_table() -> str:
    """What hardening cost in clean accuracy and won in robust accuracy."""
    from xaibench.reading import format_threat

    found = {one.model: one for one in _judgements()}
    rows = [
        (
            name,
            format_threat(one.norm, one.eps),
            f"{one.clean_accuracy:.1%} → {hard.clean_accuracy:.1%}",
            f"{one.robust_accuracy:.1%} → {hard.robust_accuracy:.1%}",
        )
        for name, one in found.items()
        if (hard := found.get(f"{name}-robust")) is not None
    ]
    return table(("model", "threat", "clean, plain → hardened", "not broken, plain → hardened"), rows)


def shortcut_text() -> str:
    """Two nets alike, of which one learned where a watermark gave the class away."""
    from xaibench.card import Card

    fair, leaning = (
        Card.read(ROOT / "models" / name / "config.json").metrics["test"]
        for name in ("evidence-cnn", "evidence-cnn-watermark")
    )
    return (
        "evidence-cnn-watermark was trained on pictures in which a small watermark goes with the class in 95 % of the"
        f" rows. Where the watermark says nothing, it is right in {leaning['accuracy']:.1%} of {leaning['n']:,}"
        f" pictures; the same net trained without watermarks, evidence-cnn, in {fair['accuracy']:.1%}."
    )


def command_table() -> str:
    """The commands and what they are for, in the first words of their help."""
    from typer.main import get_command

    from xaibench.cli import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    rows = []
    for name, command in commands.items():
        said = inspect.getdoc(command.callback) or ""
        shown = next(iter(re.findall(r"\[dim\](xaibench .*?)\[/\]", said)), f"xaibench {name}")
        rows.append((f"`{name}`", " ".join(said.partition("\n\n")[0].split()), f"`{shown}`"))
    return table(("command", "does", "for example"), rows)


PARTS: dict[str, tuple[tuple[str, Callable[[], str]], ...]] = {
    "README.md": (("models", model_table), ("robust", robust_table)),
    "docs/explanations.md": (("explainers", explainer_table), ("metrics", metric_table)),
    "docs/objectives.md": (("objectives", objective_table),),
    "docs/reports.md": (("plan", plan_table),),
    "docs/recipes.md": (("recipe", recipe_table),),
    "docs/command-line.md": (("commands", command_table),),
    "docs/honest-numbers.md": (
        ("flattery", flattery_table),
        ("bracket", bracket_text),
        ("samples", samples_text),
        ("price", price_table),
        ("shortcut", shortcut_text),
    ),
}


def generated(path: str) -> str:
    """A file's text with its generated parts written anew."""
    text = (ROOT / path).read_text(encoding="utf-8")
    for name, make in PARTS[path]:
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        body = f"{start}\n{make()}\n{end}"
        text = re.sub(f"{start}.*?{end}", lambda _, body=body: body, text, flags=re.DOTALL)  # type: ignore[misc]
    return text


def main() -> None:
    """Write every file that has a generated part."""
    for path in PARTS:
        (ROOT / path).write_text(generated(path), encoding="utf-8")


if __name__ == "__main__":
    main()
