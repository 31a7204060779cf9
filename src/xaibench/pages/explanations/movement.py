"""How far maps move: under random noise, under attacks on the prediction, and under attacks on the map itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.drawing.labels import FIGURES, method_label, name_label
from xaibench.pages.explanations import computed
from xaibench.pages.explanations.charts import movement_lines
from xaibench.pages.shared import cached
from xaibench.pages.shared.address import keep, put
from xaibench.pages.shared.charts import STILL
from xaibench.pages.shared.finished import reports_of
from xaibench.pages.shared.options import choose_one, choose_several
from xaibench.pages.shared.text import plain
from xaibench.reading import percent, radius_axis

if TYPE_CHECKING:
    from xaibench.evaluate.interpreted import ExplanationCurve

__all__ = ["in_words", "show_movement"]

_SAMPLES = 8
"""Samples whose maps are attacked while the reader waits: each costs 20 steps at each of four radii."""
_METHODS = ("saliency", "integrated_gradients")
_MOST_METHODS = 4
_SECONDS = 10
_MEANING = (
    " Bars are 95 % intervals. The attack on the explanation keeps the prediction, and finds a lower bound of what is"
    " possible. Samples join the attack on the prediction as the radius reaches what broke them."
)


def show_movement(name: str) -> None:
    """Charts of what is left of maps by radius, a column for each method."""
    from xaibench.explainers import explainers

    model, data = cached.subject_rows(name)
    with st.sidebar:
        names = {name: name_label(name) for name in explainers}
        methods = choose_several(
            st.multiselect, "Explanations to move", names, key="moved", default=_METHODS, most=_MOST_METHODS
        )
        figures = {name: FIGURES[name] for name in ("top_k_overlap", "rank_correlation")}
        figure = choose_one(st.selectbox, "What is left", figures, key="left")
    if not methods:
        st.info("Choose an explanation at the side.")
        return
    if not keep("move"):
        reported = _reported(name, model.digest)
        if reported is None:
            st.markdown(in_words({}))
            st.markdown(plain(f"No report on {name} as it is now has measured this."))
        else:
            report, curves, unit = reported
            _show(curves, unit, figure)
            st.caption(plain(f"From the report {report}.") + _MEANING)
        st.button(
            f"Measure {', '.join(map(name_label, methods))} on {_SAMPLES} samples now",
            key="move now",
            icon=":material/play_arrow:",
            on_click=put,
            kwargs={"move": "now"},
        )
        st.caption(f"Each takes about {_SECONDS} seconds for a small model, and longer for a larger one.")
        return
    key = computed.key_of(model, data)
    found, refused = computed.each(
        methods,
        lambda method: computed.moved(model, data, name, method, _SAMPLES, key),
        doing=lambda method: f"Moving the maps of {name_label(method)}",
    )
    for method, reason in refused.items():
        st.caption(plain(f"{name_label(method)} is left out: {reason}"))
    if not found:
        return
    unit = next(iter(found.values()))[1]
    _show({method: curves for method, (curves, _) in found.items()}, unit, figure)
    st.caption(f"On {_SAMPLES} samples.{_MEANING} Reports measure more samples.")


def _show(found: Mapping[str, Sequence[ExplanationCurve]], unit: str, figure: str) -> None:
    """The finding, and a chart for each method."""
    st.markdown(in_words(found))
    columns = st.columns(min(len(found), 2))
    for place, (method, curves) in enumerate(found.items()):
        with columns[place % len(columns)]:
            st.markdown(f"**{plain(method_label(method))}**: {FIGURES[figure].lower()}")
            chart = movement_lines(curves, figure, unit=unit)
            st.plotly_chart(chart, key=f"moved {method}", config=STILL, alt=_described(method, curves, figure))


def _reported(name: str, digest: str) -> tuple[str, dict[str, list[ExplanationCurve]], str] | None:
    """The newest report on the model as it is that has measured this: its name, curves by method, and their unit."""
    for report, one in reports_of(name).items():
        measured, robustness = one.results.interpretability, one.results.robustness
        if one.model.digest == digest and robustness is not None and measured is not None and measured.curves:
            found: dict[str, list[ExplanationCurve]] = {}
            for curve in measured.curves:
                found.setdefault(curve.explainer, []).append(curve)
            return report, found, radius_axis(robustness.norm, robustness.unit)
    return None


def in_words(curves: Mapping[str, Sequence[ExplanationCurve]]) -> str:
    """What an attack on the map leaves at the largest radius, as Markdown."""
    left = {
        method: curve.points[-1] for method, own in curves.items() for curve in own if curve.cause == "manipulation"
    }
    if not left:
        return "#### How far maps move under attack"
    share = {method: point.figures["top_k_overlap"].mean for method, point in left.items()}
    hardest, easiest = max(share, key=lambda one: share[one]), min(share, key=lambda one: share[one])
    radius = left[easiest].radius
    text = (
        f"#### An unseen change leaves {percent(share[easiest])} of the top places of {plain(method_label(easiest))}\n"
        f"At a radius of {radius:.3g}, with every prediction kept."
    )
    if len(share) > 1:
        text += f" Of {plain(method_label(hardest))} it leaves {percent(share[hardest])}."
    return text


def _described(method: str, curves: Sequence[ExplanationCurve], figure: str) -> str:
    parts = [
        f"{curve.cause}: "
        + ", ".join(f"{point.figures[figure].mean:.2f} at {point.radius:g}" for point in curve.points)
        for curve in curves
    ]
    return f"{FIGURES[figure]} of {method_label(method)}; " + "; ".join(parts)
