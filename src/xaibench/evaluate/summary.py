"""An evaluation in a few sentences, drawn from its numbers."""

from __future__ import annotations

import re
import statistics
from typing import TYPE_CHECKING

from xaibench.evaluate.hardness import Robustness, SelfChecks
from xaibench.evaluate.interpreted import Interpretability
from xaibench.evaluate.results import CleanMetrics
from xaibench.reading import counted, format_radius, norm_label, percent

if TYPE_CHECKING:
    from xaibench.evaluate.results import Evaluation

__all__ = ["halving_radius", "in_singular", "signed", "summarise"]


def summarise(evaluation: Evaluation) -> str:
    """What it gets right, how it holds up under attack, what happens to its explanations, and why to doubt it."""
    results = evaluation.results
    return " ".join(
        [
            _clean(evaluation.model.name, evaluation.data.name, results.clean),
            _robust(results.robustness, {item.what: item.reason for item in results.not_measured}),
            _explained(evaluation),
            *_moved(results.interpretability),
            *(f"{caveat.what}; these numbers are not to be taken at their word." for caveat in results.caveats),
        ]
    )


def signed(value: float) -> str:
    """A number with two digits and a true minus sign.

    >>> signed(-0.456)
    '−0.46'
    """
    return f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")


def in_singular(summary: str) -> str:
    """A summary with one sample in the singular, which those of earlier versions put into the plural.

    >>> in_singular("On 1 broken samples") == in_singular("On 1 broken sample")
    True
    >>> in_singular("1 samples are explained") == in_singular("1 sample is explained")
    True
    """
    return re.sub(r"\b1 ((?:\S+ )?)samples?(?: are| is)?\b", r"1 \1sample", summary)


def halving_radius(robustness: Robustness) -> float | None:
    """The smallest measured radius at which no more than half of the clean accuracy is left; None beyond the curve."""
    accuracy = robustness.worst_case.accuracy
    left = [radius for radius, share in zip(robustness.radii, accuracy, strict=True) if share <= accuracy[0] / 2]
    return left[0] if left else None


def _clean(model: str, data: str, clean: CleanMetrics) -> str:
    low, high = clean.accuracy_interval
    return (
        f"{model} classifies {percent(clean.accuracy)} of {counted(clean.n, f'{data} sample')} correctly"
        f" (95 % interval {percent(low)} to {percent(high)}), with a calibration error of"
        f" {percent(clean.calibration_error)}."
    )


def _robust(robustness: Robustness | None, left_out: dict[str, str]) -> str:
    if robustness is None:
        return f"Robustness was not measured: {next(iter(left_out.values()), 'the plan has no attacks')}."
    worst = robustness.worst_case
    low, high = worst.interval[robustness.index]
    half = halving_radius(robustness)
    after = (
        f"half of its accuracy is gone by {format_radius(half)}"
        if half is not None
        else f"more than half of its accuracy is left at {format_radius(robustness.radii[-1])}"
    )
    proved, share = map(percent, robustness.bracket)
    sure = f"95 % interval {percent(low)} to {percent(high)}"
    left = (
        f"{share} remain correct ({sure}), an upper bound on its robustness"
        if robustness.proved is None
        else f"its robust accuracy lies between {proved} (proved) and {share} (not broken; {sure})"
    )
    return f"{_threat(robustness)}, {left}, and {after}.{_trust(robustness.checks)}"


def _threat(robustness: Robustness) -> str:
    if robustness.norm == "words":
        return f"With at most {format_radius(robustness.eps)} words edited"
    return f"Under {norm_label(robustness.norm)} perturbations of at most {format_radius(robustness.eps)}"


def _trust(checks: SelfChecks | None) -> str:
    """A sentence on what the self-checks found."""
    if checks is None:
        return ""
    fired = [outcome.check.replace("_", " ") for outcome in checks.outcomes if outcome.status in ("warning", "fail")]
    if not fired:
        few = ", for most of them could not be made" if checks.verdict == "doubtful" else ""
        return f" The self-checks call this number {checks.verdict}{few}."
    return f" The self-checks call this number {checks.verdict}: {', '.join(fired)}."


def _explained(evaluation: Evaluation) -> str:
    samples = evaluation.explanations
    agreement: dict[str, list[float]] = {}
    for sample in samples:
        for name, value in sample.agreement.items():
            agreement.setdefault(name, []).append(value)
    if not samples or not samples[0].clean.maps:
        return "No explanations were made."
    if not agreement:
        verb = "is" if len(samples) == 1 else "are"
        return f"{counted(len(samples), 'sample')} {verb} explained by {_listed(evaluation)}."
    parts = [f"{signed(statistics.median(values))} for {name.replace('_', ' ')}" for name, values in agreement.items()]
    broken = counted(len(next(iter(agreement.values()))), "broken sample")
    return (
        f"On {broken} the explanations of the right class before and after"
        f" the attack have a median rank correlation of {' and '.join(parts)}."
    )


def _moved(found: Interpretability | None) -> list[str]:
    """A sentence on the explanation that gives way most to a search that keeps the prediction, if any was made."""
    left = {
        (curve.cause, curve.explainer): curve.points[-1]
        for curve in (found.curves if found else ())
        if curve.cause != "attack"
    }
    searched = {name: point for (cause, name), point in left.items() if cause == "manipulation"}
    if not searched:
        return []
    name = min(searched, key=lambda one: searched[one].figures["top_k_overlap"].mean)
    lost, by_chance = (1 - left[cause, name].figures["top_k_overlap"].mean for cause in ("manipulation", "noise"))
    return [
        f"Within {format_radius(searched[name].radius)}, with every prediction kept, maps of {name.replace('_', ' ')}"
        f" lose {percent(lost)} of their top places to a search, and {percent(by_chance)} to random noise."
    ]


def _listed(evaluation: Evaluation) -> str:
    return " and ".join(
        dict.fromkeys(map_.explainer.replace("_", " ") for map_ in evaluation.explanations[0].clean.maps)
    )
