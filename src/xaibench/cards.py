"""Model cards: `README.md` of a model folder in the Hugging Face format, written from its `config.json`."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from xaibench.card import Card, RobustAccuracy
from xaibench.files import write_text
from xaibench.reading import format_threat

__all__ = ["TASKS", "card_text", "front_matter", "package_versions", "robust_rows", "write_card"]

_NOT_ASCII = re.compile(r"[^\x20-\x7e]")

_RECIPES = Path(__file__).resolve().parents[2] / "recipes"
"""Those of the project; a copy made elsewhere may have the name of one, and another recipe."""

TASKS = {"image": "image-classification", "text": "text-classification", "tabular": "tabular-classification"}
"""What the Hub calls the tasks."""


def package_versions() -> dict[str, str]:
    """Versions of this package and of what it computes with."""
    return {name: version(name) for name in ("xaibench", "torch", "tensorflow", "keras", "numpy")}


def write_card(folder: Path, *, section: str = "", results: Sequence[dict[str, Any]] = ()) -> None:
    """Write ``folder/README.md`` again from ``folder/config.json``, with a ``section`` and ``results`` of a report."""
    write_text(folder / "README.md", card_text(Card.read(folder / "config.json"), section=section, results=results))


def card_text(card: Card, *, section: str = "", results: Sequence[dict[str, Any]] = ()) -> str:
    """The card as Markdown with its YAML header, and a ``section`` at its end whose ``results`` go to the header."""
    measured = {split: metrics for split, metrics in card.metrics.items() if "accuracy" in metrics}
    return "\n".join(
        [*_header(card, measured, results), "", *_body(card, measured), "", *([section] if section else [])]
    )


def front_matter(fields: Mapping[str, Any]) -> list[str]:
    """A YAML header, value by value as JSON, in ASCII and with the escapes of YAML."""
    return ["---", *(f"{key}: {_yaml(value)}" for key, value in fields.items()), "---"]


def _yaml(value: Any) -> str:
    return _NOT_ASCII.sub(_escaped, json.dumps(value, ensure_ascii=False))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _header(card: Card, measured: dict[str, dict[str, Any]], more: Sequence[dict[str, Any]]) -> list[str]:
    index = {
        "name": card.name,
        "results": [
            {
                "task": {"type": TASKS[card.task]},
                "dataset": {"name": card.data.name, "type": card.data.name, "split": split},
                "metrics": [
                    {"type": key, "value": round(metrics[key], 4)}
                    for key in ("accuracy", "f1", "auc")
                    if metrics.get(key) is not None
                ],
            }
            for split, metrics in measured.items()
        ]
        + [
            {
                "task": {"type": "adversarial-robustness", "name": f"{one.attack} within {_threat(one)}"},
                "dataset": {"name": card.data.name, "type": card.data.name, "split": one.split},
                "metrics": [
                    {"type": "accuracy", "name": f"robust accuracy, {robust_rows(one)}", "value": one.robust_accuracy}
                ],
            }
            for one in card.robustness
        ]
        + [*more],
    }
    fields = {
        "license": "apache-2.0",
        "library_name": "keras" if card.framework == "keras" else "xaibench",
        "pipeline_tag": TASKS[card.task],
        "tags": ["xaibench", card.framework, card.architecture.name],
        "datasets": [card.data.name],
        "metrics": ["accuracy", "f1", "roc_auc"],
        "model-index": [index],
    }
    return front_matter(fields)


def _body(card: Card, measured: dict[str, dict[str, Any]]) -> list[str]:
    lines = [f"# {card.name}", "", card.summary or f"A {card.task} classifier."]
    lines += ["", "| | |", "|---|---|"]
    shape = " x ".join(map(str, card.input_shape))
    unit = {"image": "channels x height x width", "text": "token ids", "tabular": "features"}[card.task]
    params = ", ".join(f"{k}={v}" for k, v in card.architecture.settings.items())
    classes = ", ".join(card.class_names[:20]) + (" ..." if len(card.class_names) > 20 else "")
    rows = {
        "framework": card.framework,
        "architecture": f"`{card.architecture.name}`" + (f" ({params})" if params else ""),
        "input": f"{shape} ({unit})"
        + (", values in [0, 1]" if card.bounds == (0.0, 1.0) and card.task == "image" else ""),
        "classes": f"{len(card.class_names)}: {classes}",
        **(
            {"trained on": f"`{card.data.name}`, split `{card.data.train_split}`"}
            if card.data.digest
            else {"measured on": f"`{card.data.name}`, split `{card.data.test_split}`"}
        ),
    }
    if card.compression:
        rows["compressed"] = "; ".join(f"`{step.source}` by {step.method}" for step in card.compression)
    lines += [f"| {_cell(key)} | {_cell(value)} |" for key, value in rows.items()]
    for split, metrics in measured.items():
        low, high = metrics["accuracy_interval"]
        lines += ["", f"## On the {split} split, {metrics['n']:,} samples", "", "| metric | value |", "|---|---|"]
        lines.append(f"| accuracy | {metrics['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%}) |")
        names = {"precision": "precision, macro", "recall": "recall, macro", "f1": "F1, macro", "auc": "area under ROC"}
        names |= {"calibration_error": "expected calibration error", "log_loss": "log loss"}
        names |= {key: key.replace("_", " ") for key in metrics if key.endswith("_mse")}
        lines += [f"| {label} | {metrics[key]:.4f} |" for key, label in names.items() if metrics.get(key) is not None]
    for one in card.robustness:
        low, high = one.interval
        lines += ["", f"## Under attack, {robust_rows(one)}", "", "| metric | value |", "|---|---|"]
        lines += [f"| threat | {_threat(one)} |", f"| attack | `{one.attack}` |"]
        lines.append(f"| robust accuracy | {one.robust_accuracy:.2%} (95 % interval {low:.2%} to {high:.2%}) |")
        lines.append(f"| accuracy of the same samples as they are | {one.clean_accuracy:.2%} |")
    lines += _history(card)
    name = card.name
    lines += ["", "## Use", "", "```python", "import xaibench", "", f'model = xaibench.load_model("{name}")']
    lines += [f'data = xaibench.load_data("{card.data.name}", n=8)', "print(model.predict(data.inputs))", "```"]
    lines += ["", f"`xaibench report {name}` measures its robustness and explains its decisions."]
    lines += ["", f"It was made by {_maker(card)} and is meant for teaching and for tests of"]
    lines += ["analysis methods, not for decisions about people."]
    return lines


def _maker(card: Card) -> str:
    if card.compression:
        return "`xaibench compress`"
    path = _RECIPES / f"{card.name}.toml"
    if path.is_file() and tomllib.loads(path.read_text(encoding="utf-8")) == card.recipe:
        return f"`xaibench train recipes/{card.name}.toml`"
    return "xaibench, by the `recipe` in its `config.json`,"


_HISTORY = {
    "epoch": "epoch",
    "loss": "loss",
    "accuracy": "accuracy in training",
    "validation_accuracy": "held out",
    "validation_robust_accuracy": "held out, attacked",
    "alarm": "alarm",
}

_SHOWN_EPOCHS = 12


def _history(card: Card) -> list[str]:
    """A table of a few epochs, evenly spread, with the last one and all that raised an alarm."""
    if not card.history:
        return []
    every = -(-len(card.history) // _SHOWN_EPOCHS)
    last = card.history[-1]["epoch"]
    rows = [line for line in card.history if "alarm" in line or (last - line["epoch"]) % every == 0]
    keys = [key for key in _HISTORY if any(key in line for line in rows)]
    lines = ["", "## Training", "", f"| {' | '.join(_HISTORY[key] for key in keys)} |", f"|{'---|' * len(keys)}"]
    return [*lines, *(f"| {' | '.join(_figure(key, line.get(key)) for key in keys)} |" for line in rows)]


def _figure(key: str, value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.2%}" if key.endswith("accuracy") else f"{value:.4g}" if key == "loss" else _cell(str(value))


def robust_rows(one: RobustAccuracy) -> str:
    """The samples that a robust accuracy is about, for reading."""
    of = {"all": f"all {one.n:,} samples", "first": f"first {one.n:,} samples", "drawn": f"{one.n:,} samples drawn"}
    return f"{of[one.rows]} of the {one.split} split"


def _threat(one: RobustAccuracy) -> str:
    return format_threat(one.norm, one.eps)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
