"""A sample before and after, as images, words or bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from xaibench.pages.shared.charts import paired_bars, percent
from xaibench.pages.shared.pictures import attribution_figure, figure, shaded_words
from xaibench.report.labels import name_label

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.data import Data
    from xaibench.explainers import Attribution
    from xaibench.pages.explain.page import View
    from xaibench.types import Classifier

__all__ = ["show_image", "show_table", "show_text"]

_FEWEST_CLASSES, _MOST_CLASSES = 2, 5
_LEAST = 0.001
"""Probability below which a class is not worth a bar."""
_MOST_FEATURES = 10
_COLUMNS = 6
_LEGEND = "Blue speaks for the class, orange against it; violet is strength without a sign."


def show_image(model: Classifier, clean: View, broken: View | None) -> None:
    """Pictures of the sample, the change and the outcome beside the probabilities; then why, before and after."""
    from xaibench.report.pictures import perturbation_picture, photo

    names, bounds = model.class_names, (float(model.bounds.lower), float(model.bounds.upper))  # type: ignore[arg-type]
    side = max(clean.x.shape[2:])
    original, change, outcome, chart = st.columns(4, gap="medium")
    original.html(figure(photo(clean.x[0], bounds), f"Before: {_says(clean, names)}", side=side))
    if broken is not None:
        delta = (broken.x - clean.x)[0].detach().cpu()
        times = (bounds[1] - bounds[0]) / float(delta.abs().amax())
        colours = "blue is brighter, orange is darker" if len(delta) == 1 else "grey is no change"
        added = f"What was added, magnified {times:.0f} times: {colours}"
        change.html(figure(perturbation_picture(delta), added, side=side))
        outcome.html(figure(photo(broken.x[0], bounds), f"After: {_says(broken, names)}", side=side))
    with chart:
        _show_probabilities(clean, broken, names)
    if clean.explanations:
        _show_maps(clean, broken, names)


def _show_maps(clean: View, broken: View | None, names: tuple[str, ...]) -> None:
    st.subheader("Why")
    st.caption(_LEGEND)
    views = {"before": clean, **({"after": broken} if broken else {})}
    cells = [(method, when) for method in clean.explanations for when in views]
    for start in range(0, len(cells), _COLUMNS):
        for column, (method, when) in zip(st.columns(_COLUMNS, gap="medium"), cells[start:], strict=False):
            shown, signed = views[when], any(_signed(view.explanations[method]) for view in views.values())
            caption = f"{name_label(method)} {when}, for {names[shown.prediction]}{_gap(shown.explanations[method])}"
            column.html(attribution_figure(shown.explanations[method].values[0], caption, signed=signed))


def _signed(attribution: Attribution) -> bool:
    return bool((attribution.values < 0).any())


def _gap(attribution: Attribution) -> str:
    """By how much an explanation misses the sum that it promises."""
    if attribution.completeness_gap is None:
        return ""
    return f"; completeness gap {abs(float(attribution.completeness_gap[0])):.2g}"


def show_text(model: Classifier, clean: View) -> None:
    """The words, shaded by each explanation, beside the probabilities."""
    words = model.tokens(clean.x)[0]
    text, chart = st.columns([3, 1.5], gap="large")
    with text:
        st.caption(_LEGEND)
        for method, attribution in clean.explanations.items():
            st.markdown(f"**{name_label(method)}**, for {model.class_names[clean.prediction]}{_gap(attribution)}")
            st.html(shaded_words(words, attribution.values[0], signed=_signed(attribution)))
        if not clean.explanations:
            st.write(" ".join(filter(None, words)))
    with chart:
        _show_probabilities(clean, None, model.class_names)


def show_table(model: Classifier, data: Data, clean: View, broken: View | None) -> None:
    """Bars: probabilities, the change in each feature, and what each contributes before and after."""
    names = data.feature_names or tuple(f"feature {index}" for index in range(clean.x.shape[1]))
    left, right = st.columns(2, gap="large")
    with left:
        _show_probabilities(clean, broken, model.class_names)
    if broken is not None:
        with right:
            _show_change(model, names, clean.x[0], broken.x[0])
    columns = st.columns(max(2, len(clean.explanations)), gap="large")
    for column, (method, before) in zip(columns, clean.explanations.items(), strict=False):
        values = {"before": before.values[0]}
        if broken is not None:
            values["after"] = broken.explanations[method].values[0]
        with column:
            st.markdown(f"**{name_label(method)}**{_gap(before)}")
            _show_bars(names, values, axis="attribution to the predicted class", key=method)


def _show_change(model: Classifier, names: tuple[str, ...], before: Tensor, after: Tensor) -> None:
    span = before.new_tensor(model.bounds.span)
    st.markdown("**What was changed**, as a share of each feature's range")
    _show_bars(names, {"change": (after - before) / span}, axis="", key="change")


def _show_bars(names: tuple[str, ...], values: dict[str, Tensor], *, axis: str, key: str) -> None:
    import torch

    size = torch.stack(list(values.values())).abs().amax(dim=0)
    top = size.argsort(descending=True)[:_MOST_FEATURES].tolist()
    series = {label: [float(each[index]) for index in top] for label, each in values.items()}
    chart = paired_bars([names[index] for index in top], series, axis=axis)
    st.plotly_chart(chart, key=f"bars {key}", config={"displayModeBar": False}, alt=_described(names, top, series))


def _show_probabilities(clean: View, broken: View | None, names: tuple[str, ...]) -> None:
    views = {"before": clean} if broken is None else {"before": clean, "after": broken}
    most = [max(float(view.probabilities[index]) for view in views.values()) for index in range(len(names))]
    top = sorted(range(len(names)), key=lambda index: -most[index])[:_MOST_CLASSES]
    top = [index for place, index in enumerate(top) if place < _FEWEST_CLASSES or most[index] >= _LEAST]
    series = {label: [float(view.probabilities[index]) for index in top] for label, view in views.items()}
    chart = paired_bars([names[index] for index in top], series, limits=(0.0, 1.0))
    st.plotly_chart(chart, key="probabilities", config={"displayModeBar": False}, alt=_described(names, top, series))


def _described(names: tuple[str, ...], top: list[int], series: dict[str, list[float]]) -> str:
    """A chart in words."""
    return "; ".join(
        f"{names[index]}: " + ", ".join(f"{values[place]:.3g} {label}" for label, values in series.items())
        for place, index in enumerate(top)
    )


def _says(view: View, names: tuple[str, ...]) -> str:
    return f"{names[view.prediction]}, {percent(float(view.probabilities.max()))}"
