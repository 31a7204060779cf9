"""What a reader sees first: three sentences written from the numbers, the verdict, and the bracket in parts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from xaibench.drawing.bracket import Part
from xaibench.drawing.labels import method_label
from xaibench.evaluate.hardness import Robustness, SelfChecks
from xaibench.evaluate.interpreted import Estimate, Interpretability
from xaibench.evaluate.results import DataInfo, ExplainedSample, ModelInfo, Results
from xaibench.evaluate.summary import signed
from xaibench.reading import counted, format_radius, format_threat, listed, norm_label, percent

__all__ = ["Evaluated", "Headline", "headline"]

_WIDE = 0.25
"""Width of the interval of the robust accuracy from which on its samples are called few."""


class Evaluated(Protocol):
    """A report, or the evaluation that it is made of."""

    @property
    def model(self) -> ModelInfo:
        """What was evaluated."""

    @property
    def data(self) -> DataInfo:
        """On which samples."""

    @property
    def results(self) -> Results:
        """What was found."""


@dataclass(frozen=True)
class Headline:
    """The top of a report."""

    sentences: tuple[str, str, str]
    """On unchanged inputs, under attack, and on explanations."""
    verdict: str | None
    """Of the self-checks, or ``not checked``; None where nothing attacked."""
    reason: str
    bracket: tuple[Part, ...]
    """From proved to wrong from the start; the shares add up to 1. Empty where nothing attacked."""
    caption: str


def headline(report: Evaluated) -> Headline:
    """The top of a report."""
    robustness = report.results.robustness
    verdict, reason = _verdict(report, robustness)
    return Headline(
        sentences=(_clean(report), _robust(report, robustness), _explained(report)),
        verdict=verdict,
        reason=reason,
        bracket=robustness.parts if robustness else (),
        caption=_caption(report, robustness) if robustness else "",
    )


def _clean(report: Evaluated) -> str:
    clean = report.results.clean
    low, high = clean.accuracy_interval
    samples = counted(clean.n, f"unchanged {report.data.name} sample")
    return (
        f"{report.model.name} gets {percent(clean.accuracy)} of {samples} right"
        f" (95 % interval {percent(low)} to {percent(high)})."
    )


def _robust(report: Evaluated, robustness: Robustness | None) -> str:
    if robustness is None:
        reason = next((item.reason for item in report.results.not_measured if item.what == "robustness"), None)
        return f"How easily it is fooled was not measured: {reason or 'the plan has no attacks'}."
    right, left = robustness.worst_case.robust[0], robustness.worst_case.robust[robustness.index]
    proved = robustness.proved.count[robustness.index] if robustness.proved else 0
    within, (floor, ceiling) = _within(robustness), map(percent, robustness.bracket)
    if not right:
        return f"{within}, none can stay right: it has none right to begin with."
    if not left:
        return f"{within}, none stay right: attacks break all that it had right."
    if proved == right:
        return f"{within}, exactly {ceiling} stay right: all that it had right are proved to stay right."
    broken = f"attacks break {percent((right - left) / report.results.clean.n) if right > left else 'none'}"
    if proved == left:
        broken += f"{_wrong(report, right)}, and all others are proved to stay right"
        return f"{within}, exactly {ceiling} stay right: {broken}."
    least = f"at least {floor} are proved to stay right and " if proved else ""
    return f"{within}, {least}at most {ceiling} stay right: {broken}{_wrong(report, right)}."


def _wrong(report: Evaluated, right: int) -> str:
    wrong = report.results.clean.n - right
    return f", and {percent(wrong / report.results.clean.n)} were wrong before" if wrong else ""


def _within(robustness: Robustness) -> str:
    if robustness.norm == "words":
        return f"With at most {format_threat(robustness.norm, robustness.eps)} edited"
    return f"Under changes of at most {format_radius(robustness.eps)} ({norm_label(robustness.norm)})"


def _explained(report: Evaluated) -> str:
    """Which explainers pass their checks, and what successful attacks leave of their maps; else what was made."""
    found, samples = report.results.interpretability, report.results.explanations
    trust, moved = _trusted(found) if found and found.trust else "", _moved(report) or _moved_shown(samples)
    if moved:
        return f"{trust}; {moved}." if trust else f"{moved[:1].upper()}{moved[1:]}."
    if trust:
        return f"{trust}."
    verb = "is" if len(samples) == 1 else "are"
    return f"{counted(len(samples), 'sample')} {verb} explained." if samples else "Nothing was explained."


def _trusted(found: Interpretability) -> str:
    trusted = [method_label(one.explainer) for one in found.trust if one.verdict == "trusted"]
    if trusted:
        return f"{listed(trusted)} pass{'es' if len(trusted) == 1 else ''} the checks of explanations"
    checked = len(found.trust)
    whose = "the explainer does not pass" if checked == 1 else f"none of the {checked} explainers passes"
    return f"{whose[:1].upper()}{whose[1:]} all checks of explanations"


def _moved(report: Evaluated) -> str:
    """What successful attacks within the radius leave of the maps, and whose keep most if the intervals tell."""
    found, robustness = report.results.interpretability, report.results.robustness
    if found is None or robustness is None:
        return ""
    kept: dict[str, Estimate] = {}
    n = 0
    for curve in found.curves:
        at = [point for point in curve.points if math.isclose(point.radius, robustness.eps, rel_tol=1e-6)]
        if curve.cause == "attack" and at:
            kept[method_label(curve.explainer)], n = at[0].figures["rank_correlation"], at[0].n
    if not kept:
        return ""
    best, *others = sorted(kept, key=lambda name: -kept[name].mean)
    mean, broken = f"a {'mean ' if n > 1 else ''}rank correlation of", counted(n, "broken sample")
    when = "when an attack succeeds, maps"
    if not others:
        return f"{when} of {best} keep {mean} {signed(kept[best].mean)} with those before ({broken})"
    if n > 1 and all(kept[best].ends[0] > kept[name].ends[1] for name in others):
        return f"{when} of {best} change least, with {mean} {signed(kept[best].mean)} to those before ({broken})"
    low, high = (f"{signed(kept[name].mean)} ({name})" for name in (others[-1], best))
    unsure = f"{broken}, too few to tell which of them change least"
    return f"{when} keep {mean} {low} to {high} with those before ({unsure})"


def _moved_shown(samples: Sequence[ExplainedSample]) -> str:
    """The same of the few samples that are shown, where it was not measured of more."""
    kept: dict[str, list[float]] = {}
    for sample in samples:
        for name, value in sample.agreement.items():
            kept.setdefault(method_label(name), []).append(value)
    if not kept:
        return ""
    parts = [f"{signed(statistics.median(values))} for {name}" for name, values in kept.items()]
    n = max(map(len, kept.values()))
    shown = (
        f"{n} broken samples shown, maps before and after have a median"
        if n > 1
        else "one broken sample shown, maps before and after have a"
    )
    return f"on the {shown} rank correlation of {listed(parts)}"


def _verdict(report: Evaluated, robustness: Robustness | None) -> tuple[str | None, str]:
    if robustness is None:
        return None, ""
    checks, caution = robustness.checks, _caution(report, robustness)
    verdict = "not checked" if checks is None else checks.verdict
    why = "No self-checks were made of the robust accuracy." if checks is None else _why(checks, sure=not caution)
    return verdict, " ".join([why, *caution])


def _caution(report: Evaluated, robustness: Robustness) -> list[str]:
    """What self-checks do not speak of: a model that is mostly wrong unattacked, and few samples."""
    n, right = report.results.clean.n, robustness.worst_case.robust[0]
    low, high = robustness.worst_case.interval[robustness.index]
    said = []
    if 2 * right < n:
        said.append(f"Unattacked, the model is already wrong on {n - right} of {counted(n, 'sample')}.")
    if high - low > _WIDE:
        few = f"{counted(n, 'sample')} {'is' if n == 1 else 'are'} few"
        said.append(f"{few}: the robust accuracy may be anywhere from {percent(low)} to {percent(high)}.")
    return said


def _why(checks: SelfChecks, *, sure: bool) -> str:
    fired = [one for one in checks.outcomes if one.status in ("fail", "warning")]
    passed = sum(one.status == "pass" for one in checks.outcomes)
    if not passed and not fired:
        return f"None of the {len(checks.outcomes)} self-checks can be made here."
    if not fired and checks.verdict == "doubtful":
        return f"Most self-checks cannot be made here: {passed} of {len(checks.outcomes)} were, and pass."
    if not fired:
        passing = "the self-check that applies passes" if passed == 1 else f"all {passed} self-checks that apply pass"
        if sure:
            return f"The robust accuracy can be taken at its word: {passing}."
        return f"{passing[:1].upper()}{passing[1:]}."
    worst = min(fired, key=lambda one: one.status != "fail")
    more = f", and {len(fired) - 1} more" if len(fired) > 1 else ""
    return f"Take the robust accuracy with care: {method_label(worst.check)} {_fired(worst.status)}{more}."


def _fired(status: str) -> str:
    return "fails" if status == "fail" else "warns"


def _caption(report: Evaluated, robustness: Robustness) -> str:
    low, high = robustness.worst_case.interval[robustness.index]
    samples, within = counted(report.results.clean.n, "sample"), _within(robustness)
    return (
        f"What becomes of {samples} {within[:1].lower()}{within[1:]}."
        f" The share that no attack broke has the 95 % interval {percent(low)} to {percent(high)}."
    )
