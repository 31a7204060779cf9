"""Any number of models and reports side by side, ranked only among those that answer the same question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from xaibench.drawing.labels import method_label
from xaibench.drawing.ranks import Ranked, order_of
from xaibench.errors import InputError, first_line
from xaibench.pages.compare.charts import curves_chart
from xaibench.pages.compare.sources import Source, judgement
from xaibench.pages.shared import cached, finished
from xaibench.pages.shared.charts import STILL, described, paired_bars
from xaibench.pages.shared.tables import share_table
from xaibench.pages.shared.text import plain
from xaibench.reading import format_threat, percent, radius_axis

if TYPE_CHECKING:
    from xaibench.evaluate import Judgement
    from xaibench.report import Report

__all__ = ["Question", "Standing", "groups", "in_words", "show_standings", "standing"]

_SHARES = ("Under attack", "Proved", "Unchanged")
"""Columns that hold shares."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What accuracies must share to be ranked: samples, threat and attacks."""

    data: str
    split: str
    n: int
    digest: str
    norm: str | None = None
    eps: float | None = None
    attacks: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """For people."""
        where = f"{self.n} samples of {self.data} ({self.split})"
        if self.norm is None or self.eps is None:
            return f"{where}, not attacked"
        by = ", ".join(method_label(attack) for attack in self.attacks)
        return f"{where}, {format_threat(self.norm, self.eps)}, {by}"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One source's accuracies: shares with their 95 % intervals, None where they were not measured."""

    source: Source
    question: Question
    clean: float
    clean_interval: tuple[float, float]
    robust: float | None = None
    interval: tuple[float, float] | None = None
    proved: float | None = None
    radii: tuple[float, ...] = ()
    curve: tuple[float, ...] = ()
    intervals: tuple[tuple[float, float], ...] = ()
    unit: str = ""


def standing(source: Source) -> Standing | str:
    """What is kept of a source, or why nothing is."""
    if source.kind == "report":
        try:
            return _of_report(source, finished.report(source.name))
        except InputError as error:
            return first_line(error)
    card = cached.card(source.name)
    kept = judgement(card)
    if kept is not None:
        return _of_judgement(source, kept)
    for report in finished.reports_of(source.name).values():
        if report.model.digest == card.weights_digest:
            return _of_report(source, report)
    return "nothing is kept of its robust accuracy: evaluate it on the Robustness page"


def _of_judgement(source: Source, found: Judgement) -> Standing:
    from xaibench.metrics import wilson_interval

    return Standing(
        source=source,
        question=Question(
            data=found.data,
            split=found.split,
            n=found.n,
            digest=found.data_digest,
            norm=found.norm,
            eps=found.eps,
            attacks=(found.attack,),
        ),
        clean=found.clean_accuracy,
        clean_interval=wilson_interval(round(found.clean_accuracy * found.n), found.n),
        robust=found.robust_accuracy,
        interval=found.interval,
    )


def _of_report(source: Source, report: Report) -> Standing:
    robustness, data = report.results.robustness, report.data
    question = Question(data=data.name, split=data.split, n=data.n, digest=data.digest)
    clean, around = report.results.clean.accuracy, report.results.clean.accuracy_interval
    if robustness is None:
        return Standing(source=source, question=question, clean=clean, clean_interval=around)
    at, worst = robustness.index, robustness.worst_case
    return Standing(
        source=source,
        question=Question(
            **{name: getattr(question, name) for name in ("data", "split", "n", "digest")},
            norm=robustness.norm,
            eps=robustness.eps,
            attacks=tuple(curve.attack for curve in robustness.curves),
        ),
        clean=clean,
        clean_interval=around,
        robust=worst.accuracy[at],
        interval=worst.interval[at],
        proved=robustness.proved.accuracy[at] if robustness.proved else None,
        radii=robustness.radii,
        curve=worst.accuracy,
        intervals=worst.interval,
        unit=robustness.unit,
    )


def groups(found: Sequence[Standing]) -> list[tuple[Question, list[Standing]]]:
    """Standings that compare, the most robust first; the largest group first."""
    by_question: dict[Question, list[Standing]] = {}
    for one in found:
        by_question.setdefault(one.question, []).append(one)
    for own in by_question.values():
        own.sort(key=lambda one: (-_share(one), -one.clean, one.source.label))
    return sorted(by_question.items(), key=lambda pair: -len(pair[1]))


def _share(one: Standing) -> float:
    """What a source is ranked by."""
    return one.clean if one.robust is None else one.robust


def show_standings(chosen: Sequence[Source]) -> None:
    """A table for each group of sources that compare, and why others stand alone."""
    known: list[Standing] = []
    for source in chosen:
        one = standing(source)
        if isinstance(one, str):
            st.info(plain(f"{source.label}: {one}"))
        else:
            known.append(one)
    ordered = groups(known)
    if not ordered:
        return
    st.markdown(in_words(ordered))
    for place, (question, own) in enumerate(ordered):
        st.markdown(f"**{plain(question.label)}**")
        st.dataframe(
            share_table([_row(one, own) for one in own], _SHARES),
            hide_index=True,
            placeholder="–",
            key=f"standings {place}",
        )
        with_curves = [one for one in own if len(one.radii) > 1]
        if len(with_curves) > 1:
            _show_curves(question, with_curves, place)
        elif len(own) > 1:
            _show_bars(own, place)


def _row(one: Standing, own: Sequence[Standing]) -> dict[str, Any]:
    """A row of the table, without the columns that no source has; equal shares have the same place."""
    place = 1 + sum(_share(other) > _share(one) for other in own)
    row: dict[str, Any] = {"": str(place) if len(own) > 1 else "–", "Model or report": one.source.label}
    if one.robust is not None:
        row["Under attack"] = one.robust
        row["95 % interval"] = " to ".join(map(percent, one.interval or ()))
    if any(other.proved is not None for other in own):
        row["Proved"] = one.proved
    return {**row, "Unchanged": one.clean}


def in_words(ordered: Sequence[tuple[Question, Sequence[Standing]]]) -> str:
    """Who comes first, and what cannot be ranked, as Markdown."""
    largest = ordered[0][1]
    if len(largest) < 2:
        return "#### None of these can be ranked\nEach was measured on other samples, or within another threat."
    order = order_of([_ranked(one) for one in largest], attacked=largest[0].robust is not None)
    head = f"#### {plain(order.head)}\n{plain(order.reason)}"
    if len(ordered) > 1:
        head += " Those with other samples, threats or attacks stand apart, and are not ranked with these."
    return head


def _ranked(one: Standing) -> Ranked:
    return Ranked(name=one.source.label, share=_share(one), interval=one.interval or one.clean_interval)


def _show_bars(own: Sequence[Standing], place: int) -> None:
    names = [one.source.label for one in own]
    series = {"unchanged": [one.clean for one in own]}
    if own[0].robust is not None:
        series["under attack"] = [one.robust or 0.0 for one in own]
    chart = paired_bars(names, series, limits=(0.0, 1.0))
    st.plotly_chart(chart, key=f"bars {place}", config=STILL, alt=described(names, series))


def _show_curves(question: Question, own: Sequence[Standing], place: int) -> None:
    lines = [(one.source.label, one.radii, one.curve, one.intervals) for one in own]
    unit = radius_axis(question.norm or "", own[0].unit)
    alt = described([one.source.label for one in own], {"accuracy at epsilon": [one.robust or 0.0 for one in own]})
    st.plotly_chart(curves_chart(lines, eps=question.eps, unit=unit), key=f"curves {place}", config=STILL, alt=alt)
