"""Whether the numbers of a report agree with one another: what follows from counts, and what names what.

Cheap, and made whenever a report is opened. Whether the counts are true only `xaibench.report.verify` can tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from xaibench.evaluate.hardness import Corruptions, Interval, Proved, Robustness, SelfChecks
from xaibench.evaluate.interpreted import Interpretability
from xaibench.evaluate.plan import Plan
from xaibench.evaluate.results import CleanMetrics, ExplainedSample, Results
from xaibench.metrics import wilson_interval

__all__ = ["check_consistent"]

_ROUNDING = 1e-6
_NO_SHARE = (None, None)
_MOVED = {"rank_correlation", "top_k_overlap"}
_UNFIRED = ["reliable", "doubtful"]


def check_consistent(results: Results, plan: Plan, n: int) -> None:
    """Raise `ValueError` for the first number of the results on ``n`` samples that others of them contradict."""
    _check_clean(results.clean, n)
    if results.robustness is not None:
        _check_plan(results.robustness, plan)
        _check_robustness(results.robustness, results.clean, n)
    if results.corruptions is not None:
        _check_corruptions(results.corruptions, n)
    if results.interpretability is not None:
        _check_moved(results.interpretability)
    attacks = [curve.attack for curve in results.robustness.curves] if results.robustness else []
    for sample in results.explanations:
        _check_explained(sample, attacks, n)


def _check_clean(clean: CleanMetrics, n: int) -> None:
    matrix = clean.confusion_matrix
    hits, supports, predicted = _diagonal(matrix), [*map(sum, matrix)], [*map(sum, zip(*matrix, strict=True))]
    _equal("the sum of clean.confusion_matrix", sum(supports), n)
    _check_share("clean.accuracy", clean.accuracy, sum(hits), n, clean.accuracy_interval)
    for one, right, support, answers in zip(clean.per_class, hits, supports, predicted, strict=True):
        what = f"clean.per_class of {one.name!r:.40}:"
        _equal(f"{what} support", one.support, support)
        _near(f"{what} recall", one.recall, right / support if support else None)
        _near(f"{what} precision", one.precision, right / max(answers, 1) if support else None)
        _near(f"{what} f1", one.f1, 2 * right / (answers + support) if support else None)
    for name in ("precision", "recall", "f1"):
        scores = [score for one in clean.per_class if (score := getattr(one, name)) is not None]
        _near(f"clean.{name}", getattr(clean, name), sum(scores) / len(scores))
    _equal("samples in clean.calibration", sum(one.n for one in clean.calibration), n)
    right_ones = sum(one.n * (one.accuracy or 0.0) for one in clean.calibration)
    _near("clean.accuracy by clean.calibration", clean.accuracy, right_ones / n)


def _check_plan(robustness: Robustness, plan: Plan) -> None:
    _equal("norm", robustness.norm, plan.norm)
    _equal("eps", robustness.eps, plan.eps)
    _equal("radii", robustness.radii, plan.curve)
    made = [curve.attack for curve in robustness.curves]
    _equal("attacks", ", ".join(made), ", ".join(attack for attack in plan.attacks if attack in made))


def _check_robustness(robustness: Robustness, clean: CleanMetrics, n: int) -> None:
    worst, at, right = robustness.worst_case, robustness.index, sum(_diagonal(clean.confusion_matrix))
    for curve in (*robustness.curves, worst):
        for share, count, interval in zip(curve.accuracy, curve.robust, curve.interval, strict=True):
            _check_share(f"accuracy of {curve.attack}", share, count, n, interval)
        if any(one > other for one, other in zip(worst.robust, curve.robust, strict=True)):
            raise ValueError(f"expected no more robust samples in the worst case than under {curve.attack}, got more")
        if robustness.attacks and robustness.radii[0] == 0:
            _equal(f"robust samples of {curve.attack} at radius 0", curve.robust[0], right)
    for row, curve in zip(robustness.attacks, robustness.curves, strict=False):  # none in the first version
        if robustness.radii[0] == 0:
            _equal(f"samples broken by {row.attack}", row.broken, curve.robust[0] - curve.robust[at])
    if robustness.proved is not None:
        _check_proved(robustness.proved, worst.robust[at], at, n)
    if robustness.per_class:
        _check_classes(robustness, clean)
    if robustness.checks is not None:
        _check_verdict(robustness.checks)
    if robustness.minimal is not None:
        found = sum(distance is not None for distance in robustness.minimal.distances)
        _equal("minimal.found", robustness.minimal.found, found)
        _equal("the sum of minimal.counts", sum(robustness.minimal.counts), found)


def _check_proved(proved: Proved, robust: int, at: int, n: int) -> None:
    for share, count, interval in zip(proved.accuracy, proved.count, proved.interval, strict=True):
        _check_share("proved.accuracy", share, count, n, interval)
    if proved.count[at] > robust:
        raise ValueError(f"expected at most {robust} proved samples, which are robust, got {proved.count[at]}")


def _check_classes(robustness: Robustness, clean: CleanMetrics) -> None:
    """The table by class and the confusion matrix under attack."""
    attacked, before = robustness.confusion_matrix, clean.confusion_matrix
    for place, one in enumerate(robustness.per_class):
        what = f"robustness.per_class of {one.name!r:.40}:"
        _equal(f"{what} support", one.support, sum(before[place]))
        _equal(f"{what} samples in the confusion matrix", sum(attacked[place]), one.support)
        _equal(f"{what} correct", one.correct, before[place][place])
        if one.robust > attacked[place][place]:
            raise ValueError(f"expected {what} robust at most {attacked[place][place]}, got {one.robust}")
        if one.support:
            _check_share(f"{what} accuracy", one.accuracy, one.robust, one.support, one.interval)
        else:
            _equal(f"{what} accuracy", (one.accuracy, one.interval), _NO_SHARE)
    at = robustness.index
    robust = sum(one.robust for one in robustness.per_class)
    _equal("robust samples of all classes", robust, robustness.worst_case.robust[at])
    if robustness.proved is not None:
        proved = sum(one.proved for one in robustness.per_class)
        _equal("proved samples of all classes", proved, robustness.proved.count[at])


def _check_verdict(checks: SelfChecks) -> None:
    """By what fired alone: that most were skipped has not always counted."""
    statuses = {one.status for one in checks.outcomes}
    possible = ["unreliable"] if "fail" in statuses else ["doubtful"] if "warning" in statuses else _UNFIRED
    if checks.verdict not in possible:
        raise ValueError(f"expected the verdict {' or '.join(possible)} of these self-checks, got {checks.verdict}")


def _check_corruptions(found: Corruptions, n: int) -> None:
    if found.n > n:
        raise ValueError(f"expected at most {n} corrupted samples, got {found.n}")
    for name, mean, row in zip(found.names, found.by_name, found.accuracy, strict=True):
        _near(f"corruptions.by_name of {name!r:.40}", mean, _mean(row))
    _near("corruptions.mean", found.mean, _mean(found.by_name))


def _check_moved(found: Interpretability) -> None:
    for curve in found.curves:
        if not curve.points or any(not point.figures.keys() >= _MOVED for point in curve.points):
            raise ValueError(f"expected {' and '.join(sorted(_MOVED))} of {curve.explainer} at some radii, got others")


def _check_explained(sample: ExplainedSample, attacks: Sequence[str], n: int) -> None:
    what = f"explained sample {sample.id}"
    if sample.index >= n:
        raise ValueError(f"expected {what} as one of {n}, got number {sample.index}")
    if (sample.attack is None) != (sample.attacked is None):
        raise ValueError(f"expected {what} attacked by an attack, or neither, got one of both")
    if sample.attack is not None and sample.attack not in attacks:
        known = ", ".join(attacks) or "none"
        raise ValueError(f"expected {what} attacked by one of {known:.80}, got {sample.attack!r:.80}")
    if sample.attacked is not None:
        if sample.distance is None:
            raise ValueError(f"expected a distance of {what} from its attacked input, got none")
        methods = [[one.explainer for one in view.maps] for view in (sample.clean, sample.attacked)]
        if methods[0] != methods[1]:
            raise ValueError(f"expected the same maps of {what} before and after the attack, got others")


def _check_share(what: str, share: float | None, count: int, n: int, interval: Interval | None) -> None:
    """A share of ``n`` and its 95 % interval, as they follow from the count."""
    _near(what, share, count / n)
    for stated, end in zip(interval or _NO_SHARE, wilson_interval(count, n), strict=True):
        _near(f"{what}, its interval", stated, end)


def _near(what: str, stated: float | None, found: float | None) -> None:
    if stated is None or found is None:
        _equal(what, stated, found)
    elif not math.isclose(stated, found, rel_tol=_ROUNDING, abs_tol=_ROUNDING):
        raise ValueError(f"expected {what} to be {found:.6g}, as its counts say, got {stated:.6g}")


def _equal(what: str, stated: object, found: object) -> None:
    if stated != found:
        raise ValueError(f"expected {what} to be {found!s:.80}, as the rest says, got {stated!s:.80}")


def _diagonal(matrix: Sequence[Sequence[int]]) -> list[int]:
    return [row[place] for place, row in enumerate(matrix)]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
