"""What a report found about robustness: the answer first, the curve, and the details by the reader's choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from xaibench.drawing.bracket import bracket
from xaibench.pages.robustness import details
from xaibench.pages.robustness.broken import show_broken
from xaibench.pages.robustness.charts import curve, curve_text
from xaibench.pages.shared.address import part
from xaibench.pages.shared.charts import STILL
from xaibench.pages.shared.links import link_button
from xaibench.pages.shared.options import choose_view
from xaibench.pages.shared.side_by_side import show_side_by_side
from xaibench.pages.shared.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from xaibench.card import Card
    from xaibench.report import Report

__all__ = ["show_findings"]

_LOOKS = {
    "reliable": ("verified", "blue"),
    "doubtful": ("help", "orange"),
    "unreliable": ("error", "orange"),
    "not checked": ("remove", "gray"),
}


def show_findings(name: str, report: Report, card: Card) -> None:
    """A report on the page; ``card`` is that of the model that it is a report on."""
    from xaibench.evaluate.headline import headline

    found = headline(report)
    st.subheader(_heading(report), anchor=False)
    for sentence in found.sentences[:2]:
        st.markdown(plain(sentence))
    for caveat in report.results.caveats:
        st.warning(plain(f"{caveat.what}. {caveat.meaning}."))
    robustness = report.results.robustness
    if robustness is not None:
        st.html(bracket(found.bracket))
        st.caption(plain(found.caption))
        icon, colour = _LOOKS[found.verdict or "not checked"]
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(found.verdict or "not checked", icon=f":material/{icon}:", color=colour)
            st.markdown(plain(found.reason), width="content")
        st.plotly_chart(curve(robustness), key=f"curve-{name}", config=STILL, alt=curve_text(robustness))
    left, right = st.columns(2)
    with left:
        link_button("Open the whole report", "reports", key="open-report", icon=":material/description:", report=name)
    with right:
        link_button("Harden this model", "harden", key="harden", icon=":material/fitness_center:", model=_model(report))
    if robustness is not None:
        show_side_by_side(_model(report), card, robustness.norm, robustness.eps, shown=name)
        _show_details(name, report)
    for item in report.results.not_measured:
        st.caption(plain(f"Not measured: {item.what}: {item.reason}."))


@part
def _show_details(name: str, report: Report) -> None:
    robustness = report.results.robustness
    assert robustness is not None
    views: dict[str, tuple[str, Callable[[], None]]] = {
        "attacks": ("Attacks", lambda: details.show_attacks(report, robustness))
    }
    if robustness.per_class:
        views["classes"] = ("Classes", lambda: details.show_classes(robustness))
    views["samples"] = ("Broken samples", lambda: show_broken(name, report, robustness))
    if robustness.checks is not None:
        checks = robustness.checks
        views["checks"] = ("Self-checks", lambda: details.show_checks(checks))
    if robustness.minimal is not None:
        minimal = robustness.minimal
        views["distances"] = ("Nearest distances", lambda: details.show_distances(minimal, robustness))
    if report.results.corruptions is not None:
        corruptions = report.results.corruptions
        views["corruptions"] = ("Corruptions", lambda: details.show_corruptions(corruptions))
    chosen = choose_view("Details", {key: label for key, (label, _) in views.items()}, key="section")
    views[chosen][1]()


def _heading(report: Report) -> str:
    from xaibench.reading import format_threat

    robustness = report.results.robustness
    threat = f", {format_threat(robustness.norm, robustness.eps)}" if robustness else ""
    return plain(f"{report.model.name} on {report.data.n} samples of {report.data.name}{threat}")


def _model(report: Report) -> str:
    from xaibench.homes import model_names

    return report.plan.model if report.plan.model in model_names() else report.model.name
