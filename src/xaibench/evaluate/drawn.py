"""How an evaluation draws itself in a notebook: its sentences, its bracket, and accuracy over the radii."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xaibench.drawing.bracket import bracket
from xaibench.drawing.html import card, facts, paragraph, table
from xaibench.drawing.labels import method_label
from xaibench.evaluate.headline import headline
from xaibench.reading import format_radius, format_threat, percent

if TYPE_CHECKING:
    from xaibench.evaluate.hardness import Robustness
    from xaibench.evaluate.results import Evaluation

__all__ = ["evaluation_html", "evaluation_line"]


def evaluation_line(found: Evaluation) -> str:
    """An evaluation in one line, without its tensors."""
    robustness = found.results.robustness
    within = (
        "robustness not measured"
        if robustness is None
        else f"{percent(robustness.bracket[1])} within {format_threat(robustness.norm, robustness.eps)}"
    )
    return (
        f"Evaluation({found.model.name} on {found.data.n} samples of {found.data.name}:"
        f" {percent(found.clean.accuracy)} accurate, {within})"
    )


def evaluation_html(found: Evaluation) -> str:
    """An evaluation as HTML."""
    robustness, top = found.results.robustness, headline(found)
    checks = None if robustness is None else robustness.checks
    known = [
        ("digest", found.digest[:12]),
        ("seed", str(found.plan.seed)),
        ("time", f"{sum(found.seconds.values()):.3g} s"),
        *([] if found.path is None else [("folder", str(found.path))]),
    ]
    return card(
        f"{found.model.name} on {found.data.n} samples of {found.data.name}/{found.data.split}",
        None if checks is None else checks.verdict,
        *(paragraph(sentence) for sentence in top.sentences),
        *([] if robustness is None else [paragraph(top.reason)]),
        *(paragraph(f"{caveat.what}. {caveat.meaning}.") for caveat in found.results.caveats),
        *([] if robustness is None else _robustness(robustness)),
        facts(known),
    )


def _robustness(found: Robustness) -> list[str]:
    threat = format_threat(found.norm, found.eps)
    curves = [*found.curves, found.worst_case] if len(found.curves) > 1 else [found.worst_case]
    rows = [
        (format_radius(radius), *(percent(curve.accuracy[place]) for curve in curves))
        for place, radius in enumerate(found.radii)
    ]
    names = ["all attacks" if curve is found.worst_case else method_label(curve.attack) for curve in curves]
    return [
        paragraph(f"Within {threat}:"),
        bracket(found.parts),
        table(("robust accuracy at", *names), rows),
    ]
