"""How a robustness result draws itself in a notebook: the bracket, who broke what, self-checks, and some examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xaibench.drawing.bracket import bracket, bracket_parts
from xaibench.drawing.html import card, facts, figure, gallery, paragraph, table
from xaibench.drawing.labels import stage_label
from xaibench.reading import format_threat, percent

if TYPE_CHECKING:
    from xaibench.robustness.result import RobustnessResult

__all__ = ["robustness_html", "robustness_line"]

_EXAMPLES = 8
"""Most adversarial examples that are drawn."""


def robustness_line(found: RobustnessResult) -> str:
    """A result in one line, without its tensors."""
    return (
        f"RobustnessResult({len(found)} samples within {format_threat(found.threat.norm, found.threat.eps)}:"
        f" clean {percent(found.clean_accuracy)}, robust {percent(found.robust_accuracy)},"
        f" proved {percent(found.proved_accuracy)},"
        f" {found.verdict or 'unchecked'})"
    )


def robustness_html(found: RobustnessResult) -> str:
    """A result as HTML."""
    threat = format_threat(found.threat.norm, found.threat.eps)
    proved, robust = found.bracket
    low, high = found.interval
    sentence = (
        f"Of {len(found)} samples, {percent(found.clean_accuracy)} are right as they are. Within {threat},"
        f" {percent(proved)} are proved to stay right, and {percent(robust)} were not broken (95 % interval"
        f" {percent(low)} to {percent(high)}), which is an upper bound."
    )
    parts = bracket_parts(clean=found.clean_accuracy, robust=robust, proved=proved if found.unproved is None else None)
    rows = [
        (
            stage_label(stage.attack),
            f"{stage.attacked}",
            f"{stage.broken}",
            f"{stage.cost.seconds:.2g} s",
            stage.note or "",
        )
        for stage in found.stages
    ]
    total = found.total_cost
    spent = [
        ("forward passes", f"{total.forward:,}"),
        ("backward passes", f"{total.backward:,}"),
        ("time", f"{total.seconds:.2g} s"),
        ("seed", str(found.seed)),
    ]
    return card(
        f"Robustness within {threat}",
        found.verdict,
        paragraph(sentence),
        bracket(parts),
        *([] if found.unproved is None else [paragraph(f"Nothing was proved: {found.unproved}", soft=True)]),
        table(("attack", "attacked", "broke", "time", ""), rows),
        *_checks(found),
        *_examples(found),
        facts(spent),
    )


def _checks(found: RobustnessResult) -> list[str]:
    if found.checks is None:
        return [paragraph("No self-checks were made.", soft=True)]
    fired = [outcome for outcome in found.checks.outcomes if outcome.status in ("warning", "fail")]
    return [
        paragraph(f"Self-check {outcome.check.replace('_', ' ')}: {outcome.advice}", soft=True) for outcome in fired
    ]


def _examples(found: RobustnessResult) -> list[str]:
    """Some images that broke the model."""
    if found.adversarials.ndim != 4:
        return []
    from xaibench.drawing.pictures import photo

    broken = [row for row, name in enumerate(found.broken_by) if name not in ("", "clean")][:_EXAMPLES]
    if not broken:
        return []
    low, high = min(0.0, float(found.adversarials.min())), max(1.0, float(found.adversarials.max()))
    cells = [
        figure(
            photo(found.adversarials[row], (low, high)),
            f"sample {row}: read as class {int(found.predictions[row])}, {stage_label(found.broken_by[row])} at a"
            f" distance of {float(found.distance[row]):.3g}",
            side=max(found.adversarials.shape[2:]),
        )
        for row in broken
    ]
    return [paragraph("Adversarial examples:"), gallery(cells)]
