"""Any number of models and reports side by side, ranked only among those that answer the same question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.drawing.labels import method_label
from xaibench.errors import InputError, first_line
from xaibench.pages.compare.charts import curves_chart
from xaibench.pages.compare.sources import Source, judgement
from xaibench.pages.shared import cached, finished
from xaibench.pages.shared.charts import STILL, described
from xaibench.pages.shared.text import plain
from xaibench.reading import format_threat, percent, radius_axis

if TYPE_CHECKING:
    from xaibench.evaluate import Judgement
    from xaibench.report import Report

__all__ = ["Question", "Standing", "groups", "show_standings", "standing"]


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
        robust=found.robust_accuracy,
        interval=found.interval,
    )


def _of_report(source: Source, report: Report) -> Standing:
    robustness, data = report.results.robustness, report.data
    question = Question(data=data.name, split=data.split, n=data.n, digest=data.digest)
    clean = report.results.clean.accuracy
    if robustness is None:
        return Standing(source=source, question=question, clean=clean)
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
        own.sort(key=lambda one: (-(one.clean if one.robust is None else one.robust), -one.clean, one.source.label))
    return sorted(by_question.items(), key=lambda pair: -len(pair[1]))


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
            [
                {
                    "": str(rank) if len(own) > 1 else "–",
                    "Model or report": one.source.label,
                    "Unchanged": one.clean,
                    "Under attack": one.robust,
                    "95 % interval": "" if one.interval is None else " to ".join(map(percent, one.interval)),
                    "Proved": one.proved,
                }
                for rank, one in enumerate(own, 1)
            ],
            hide_index=True,
            column_config={
                name: st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1)
                for name in ("Unchanged", "Under attack", "Proved")
            },
            key=f"standings {place}",
        )
        _show_curves(question, [one for one in own if len(one.radii) > 1], place)


def in_words(ordered: Sequence[tuple[Question, Sequence[Standing]]]) -> str:
    """Who comes first, and what cannot be ranked, as Markdown."""
    largest = ordered[0][1]
    if len(largest) < 2:
        return "#### None of these can be ranked\nEach was measured on other samples, or within another threat."
    first, second = largest[:2]
    if first.robust is None or second.robust is None:
        head = f"#### {plain(first.source.label)} is right most often"
    else:
        head = f"#### {plain(first.source.label)} withstands most: {percent(first.robust)}"
        if first.interval and second.interval and second.interval[1] >= first.interval[0]:
            head += f"\nBut the intervals of {plain(first.source.label)} and {plain(second.source.label)} overlap."
    if len(ordered) > 1:
        apart = "Those with other samples, threats or attacks stand apart, and are not ranked with these."
        head += f" {apart}" if "\n" in head else f"\n{apart}"
    return head


def _show_curves(question: Question, own: Sequence[Standing], place: int) -> None:
    if len(own) < 2:
        return
    lines = [(one.source.label, one.radii, one.curve, one.intervals) for one in own]
    unit = radius_axis(question.norm or "", own[0].unit)
    alt = described([one.source.label for one in own], {"accuracy at epsilon": [one.robust or 0.0 for one in own]})
    st.plotly_chart(curves_chart(lines, eps=question.eps, unit=unit), key=f"curves {place}", config=STILL, alt=alt)
