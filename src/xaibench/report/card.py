"""A report as part of a Hugging Face model card: a section in Markdown, and results for its metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from xaibench.cards import TASKS, front_matter
from xaibench.drawing.labels import method_label
from xaibench.evaluate.hardness import Robustness
from xaibench.evaluate.headline import headline
from xaibench.reading import format_threat, percent
from xaibench.report.command import command, python_call
from xaibench.report.schema import Report

__all__ = ["card_results", "card_section", "plain", "standalone_card"]

_MARKUP = re.compile(r"([\\`*_\[\]<>|~$&])")
_AT_START = re.compile(r"^(\d*)([-+#=.)])")


def plain(text: str) -> str:
    r"""Text of data or of a user for Markdown, in which nothing of it is markup.

    >>> print(plain("a|b <i>*c*"), plain("# two\nlines"), plain("1. one"))
    a\|b \<i\>\*c\* \# two lines 1\. one
    """
    return _AT_START.sub(r"\1\\\2", _MARKUP.sub(r"\\\1", " ".join(text.split())))


def card_section(report: Report) -> str:
    """The section: what the report found, by what, and how to make it again."""
    top = headline(report)
    lines = ["## Evaluated by xaibench", "", " ".join(plain(sentence) for sentence in top.sentences)]
    if top.verdict is not None:
        lines += ["", f"Self-checks: **{top.verdict}**. {plain(top.reason)}"]
    lines += ["", "| | value | 95 % interval |", "|---|---|---|"]
    lines += [f"| {plain(label)} | {value} | {interval} |" for label, value, interval in _rows(report)]
    again = command(report.plan) or python_call(report.plan)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", again)), default=0))
    lines += ["", _found_by(report), "", "To make the report again:", "", fence, again, fence]
    return "\n".join(lines) + "\n"


def card_results(report: Report) -> list[dict[str, Any]]:
    """Results for the metadata's ``model-index``."""
    clean, robustness = report.results.clean, report.results.robustness
    dataset = {"name": report.data.name, "type": report.data.name, "split": report.data.split}
    metrics = {"accuracy": clean.accuracy, "f1": clean.f1, "ece": clean.calibration_error}
    results: list[dict[str, Any]] = [
        {
            "task": {"type": TASKS[report.model.task]},
            "dataset": dataset,
            "metrics": [{"type": name, "value": round(value, 4)} for name, value in metrics.items()],
        }
    ]
    if robustness is not None:
        proved, left = robustness.bracket
        found = {"robust accuracy, not broken by any attack": left}
        if robustness.proved is not None:
            found["robust accuracy, proved"] = proved
        results.append(
            {
                "task": {"type": "adversarial-robustness", "name": f"within {_threat(robustness)}"},
                "dataset": dataset,
                "metrics": [
                    {"type": "accuracy", "name": name, "value": round(value, 4)} for name, value in found.items()
                ],
            }
        )
    return results


def standalone_card(report: Report) -> str:
    """Metadata and section as a card of their own, for a model that has none."""
    fields = {
        "pipeline_tag": TASKS[report.model.task],
        "tags": ["xaibench", report.model.framework],
        "datasets": [report.data.name],
        "metrics": ["accuracy", "f1"],
        "model-index": [{"name": report.model.name, "results": card_results(report)}],
    }
    return "\n".join([*front_matter(fields), "", f"# {plain(report.model.name)}", "", card_section(report)])


def _rows(report: Report) -> Iterator[tuple[str, str, str]]:
    clean, robustness = report.results.clean, report.results.robustness
    yield "accuracy", percent(clean.accuracy), _ends(clean.accuracy_interval)
    if robustness is None:
        return
    at, within = robustness.index, _threat(robustness)
    worst, proved = robustness.worst_case, robustness.proved
    yield f"robust accuracy within {within}, not broken", percent(worst.accuracy[at]), _ends(worst.interval[at])
    if proved is not None:
        yield f"robust accuracy within {within}, proved", percent(proved.accuracy[at]), _ends(proved.interval[at])


def _found_by(report: Report) -> str:
    robustness, data = report.results.robustness, report.data
    by = f", attacked by {', '.join(method_label(one.attack) for one in robustness.curves)}" if robustness else ""
    return plain(f"On {data.n} samples of {data.name}, {data.split} split{by}.")


def _ends(interval: tuple[float, float]) -> str:
    return " to ".join(map(percent, interval))


def _threat(robustness: Robustness) -> str:
    return format_threat(robustness.norm, robustness.eps)
