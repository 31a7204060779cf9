"""All that has been measured of one model's robust accuracy at one radius, and what may make the figures differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from xaibench.pages.shared import finished
from xaibench.reading import counted, listed

if TYPE_CHECKING:
    from xaibench.card import Card, RobustAccuracy
    from xaibench.evaluate import Judgement
    from xaibench.report import Report

__all__ = ["Figure", "figures", "threats", "told"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A robust accuracy with its 95 % interval.

    ``report`` is the name of the report that it stands in, None for one of the model's card or beside it; ``moment``
    when that was finished. ``outcomes`` has a letter for each row of the split that was attacked, where that is known:
    ``r`` robust, ``b`` broken, ``w`` wrong from the start.
    """

    accuracy: float
    interval: tuple[float, float]
    attacks: tuple[str, ...]
    data: str
    split: str
    n: int
    rows: Literal["all", "first", "drawn"]
    weights: str
    report: str | None = None
    moment: str | None = None
    outcomes: Mapping[int, str]
    digest: str | None = None
    """Of the attacked samples, where that is known."""

    @property
    def by(self) -> str:
        """The attack that it is named after: the last one, before which cheaper ones may have gone."""
        from xaibench.drawing.labels import method_label

        return method_label(self.attacks[-1])


def figures(name: str, card: Card, norm: str, eps: float) -> tuple[Figure, ...]:
    """What is known of a model within a threat: its card's figure first, then those of reports, the latest first."""
    kept = {one.summary: one for one in finished.judgements().get(card.name, ())}
    stated = dict.fromkeys((*card.robustness, *kept))
    known = [
        _stated(one, card.data.name, kept.get(one)) for one in stated if one.norm == norm and math.isclose(one.eps, eps)
    ]
    for report, found in finished.reports_of(name).items():
        robustness = found.results.robustness
        if robustness is None or robustness.norm != norm:
            continue
        at = next((at for at, radius in enumerate(robustness.radii) if math.isclose(radius, eps)), None)
        if at is not None:
            known.append(_reported(report, found, card, at))
    return tuple(known)


def threats(name: str, card: Card) -> tuple[tuple[str, float], ...]:
    """Norms and radii within which a model was judged: those of its card first, then those of its reports."""
    found = [(one.norm, one.eps) for one in card.robustness]
    for report in finished.reports_of(name).values():
        robustness = report.results.robustness
        if robustness is not None and not any(
            norm == robustness.norm and math.isclose(eps, robustness.eps) for norm, eps in found
        ):
            found.append((robustness.norm, robustness.eps))
    return tuple(found)


def told(known: Sequence[Figure], weights: str) -> str:
    """What the figures say together: whether they agree, and what may explain it where they do not.

    ``weights`` is the digest of the model as it is: figures of others are left aside. Of more than two the lowest and
    the highest are explained. Empty where fewer than two are left and none is left aside.
    """
    same = [one for one in known if one.weights == weights]
    said = []
    if len(same) < len(known):
        others = counted(len(known) - len(same), "figure")
        said.append(f"Left aside: {others} of other weights than the model has now.")
    if len(same) >= 2:
        low, high = min(same, key=lambda one: one.accuracy), max(same, key=lambda one: one.accuracy)
        if low.accuracy == high.accuracy:
            said.append(_equal(same))
        else:
            overlap = low.interval[1] >= high.interval[0]
            said.append(f"The 95 % intervals {'overlap' if overlap else 'do not overlap'}.")
            said.append(_shared_rows(low, high) or _unshared(low, high, overlap=overlap))
    return " ".join(filter(None, said))


def _equal(same: Sequence[Figure]) -> str:
    """What equal figures say: that they agree only where one attack made them."""
    attacks = list(dict.fromkeys(one.by for one in same))
    if len({one.attacks for one in same}) == 1:
        return "The figures agree."
    by = f", by {listed(attacks)}" if len(attacks) > 1 else ""
    return (
        f"The figures are equal, though different attacks made them{by}: equal shares need not be of the same samples."
    )


def _stated(one: RobustAccuracy, data: str, kept: Judgement | None) -> Figure:
    """A figure of a card and what is kept of it; its outcomes go by row where the rows are not a selection."""
    return Figure(
        accuracy=one.robust_accuracy,
        interval=one.interval,
        attacks=(one.attack,),
        data=data,
        split=one.split,
        n=one.n,
        rows=one.rows,
        weights=one.weights_digest,
        outcomes={} if kept is None or one.rows == "drawn" else dict(enumerate(kept.outcomes)),
        digest=None if kept is None else kept.data_digest,
    )


def _reported(name: str, report: Report, card: Card, at: int) -> Figure:
    robustness, data = report.results.robustness, report.data
    assert robustness is not None
    whole = data.name == card.data.name and card.metrics.get(data.split, {}).get("n") == data.n
    return Figure(
        accuracy=robustness.worst_case.accuracy[at],
        interval=robustness.worst_case.interval[at],
        attacks=tuple(curve.attack for curve in robustness.curves),
        data=data.name,
        split=data.split,
        n=data.n,
        rows="all" if report.plan.n is None or whole else "drawn",
        weights=report.model.digest,
        report=name,
        moment=report.timings.finished,
        outcomes=finished.outcomes(name, at),
        digest=data.digest,
    )


def _shared_rows(low: Figure, high: Figure) -> str:
    """What both found on the rows that both attacked; empty where none are known to be the same."""
    rows = low.outcomes.keys() & high.outcomes.keys() if (low.data, low.split) == (high.data, high.split) else set()
    pairs = [(low.outcomes[row], high.outcomes[row]) for row in rows]
    if low.outcomes.keys() == high.outcomes.keys() and low.digest != high.digest:  # other data of the same name
        return ""
    if not pairs or any("w" in pair and set(pair) != {"w"} for pair in pairs):  # the same weights err on the same rows
        return ""
    kept = [sum(pair[side] == "r" for pair in pairs) for side in (0, 1)]
    gap = _points(high.accuracy - low.accuracy)
    by_others = f"the other rows explain the {gap} between them, not the attacks"
    both = f"On the {counted(len(pairs), 'row')} that both attacked"
    if all(one == other for one, other in pairs):
        names = "both" if low.by == high.by else f"{low.by} and {high.by}"
        return f"{both}, {names} leave the same {kept[0]} right: {by_others}."
    found = f"{both}, {low.by} ({low.n} in all) leaves {kept[0]} right, and {high.by} ({high.n}) {kept[1]}"
    if kept[0] >= kept[1]:
        return f"{found}: {by_others}."
    cause = "the attack explains" if low.attacks != high.attacks else "settings of the attack or chance explain"
    if len(pairs) == low.n == high.n:
        return f"{found}: {cause} the {gap} between them, for the rows are the same."
    apart = (kept[1] - kept[0]) / len(pairs)
    if _points(apart) == gap:
        return f"{found}: {cause} the {gap} between them."
    change = "narrow" if apart > high.accuracy - low.accuracy else "widen"
    return f"{found}: {cause} these {_points(apart)}, and the other rows {change} them to {gap}."


def _points(share: float) -> str:
    """A difference of shares for reading."""
    return f"{100 * share:.1f} points"


def _unshared(low: Figure, high: Figure, *, overlap: bool) -> str:
    """What may explain the difference where rows cannot be compared one by one."""
    reasons = ["which samples were drawn"] if overlap else []
    if low.attacks != high.attacks:
        reasons.append(f"the attack ({low.by} or {high.by})")
    if {low.rows, high.rows} == {"first", "drawn"}:
        reasons.append("that the first rows of a split are no random selection")
    if not reasons:
        return ""
    return f"What may explain the difference: {', and '.join(reasons)}."
