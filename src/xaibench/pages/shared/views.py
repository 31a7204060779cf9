"""What a model says of an input and why, drawn for one input or for several versions of it side by side."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.drawing.edits import AROUND, LONG
from xaibench.drawing.labels import edited, method_label
from xaibench.errors import InputError
from xaibench.pages.shared import cached
from xaibench.pages.shared.charts import STILL, described, paired_bars
from xaibench.pages.shared.pictures import gallery, legend, method_heading, overlay, shaded_words
from xaibench.reading import percent

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.data import Data
    from xaibench.explainers import Attribution
    from xaibench.types import Classifier

__all__ = ["View", "feature_names", "says", "show_change", "show_explanations", "show_probabilities", "view_of"]

_FEWEST_CLASSES, _MOST_CLASSES = 2, 5
_LEAST = 0.001
"""Probability below which a class is not worth a bar."""
_MOST_FEATURES = 10
_CHARTS = 2
"""Bar charts in a row."""


@dataclass(frozen=True, kw_only=True)
class View:
    """An input (1, ...), the probabilities (classes,) that the model gives it, and an explanation by method.

    ``refused`` says of the other methods why they cannot explain it.
    """

    x: Tensor
    probabilities: Tensor
    explanations: Mapping[str, Attribution]
    refused: Mapping[str, str]

    @property
    def prediction(self) -> int:
        """The most probable class."""
        return int(self.probabilities.argmax())

    @property
    def confidence(self) -> float:
        """The probability of the prediction."""
        return float(self.probabilities.max())


def view_of(
    model: Classifier,
    x: Tensor,
    methods: Sequence[str] = (),
    *,
    target: int | None = None,
    checked: Container[str] = (),
) -> View:
    """What the model says of an input (1, ...), and why by each of ``methods`` (specs), each computed once.

    ``target`` is the class to explain, None for the predicted one. Explanations come with their quick checks; those of
    methods in ``checked`` with all.
    """
    key = (cached.identity(model), cached.fingerprint(x))
    probabilities = cached.said(model, x, key)
    explanations, refused = {}, {}
    for method in methods:
        try:
            explained = int(probabilities.argmax()) if target is None else target
            explanations[method] = cached.explained(model, x, explained, method, key, checked=method in checked)
        except InputError as error:  # also of settings that do not fit
            refused[method] = str(error)
    return View(x=x, probabilities=probabilities, explanations=explanations, refused=refused)


def says(model: Classifier, view: View) -> str:
    """The prediction and its probability: ``3, 97.2 %``."""
    return f"{model.class_names[view.prediction]}, {percent(view.confidence)}"


def feature_names(data: Data, count: int) -> tuple[str, ...]:
    """Names of a table's features."""
    return data.feature_names or tuple(f"feature {index}" for index in range(count))


def show_probabilities(model: Classifier, views: Mapping[str, View], *, key: str = "probabilities") -> None:
    """Bars of the classes that matter, one series for each view."""
    names = model.class_names
    most = [max(float(view.probabilities[index]) for view in views.values()) for index in range(len(names))]
    top = sorted(range(len(names)), key=lambda index: -most[index])[:_MOST_CLASSES]
    top = [index for place, index in enumerate(top) if place < _FEWEST_CLASSES or most[index] >= _LEAST]
    series = {label: [float(view.probabilities[index]) for index in top] for label, view in views.items()}
    shown = [names[index] for index in top]
    chart = paired_bars(shown, series, limits=(0.0, 1.0))
    st.plotly_chart(chart, key=key, config=STILL, alt=described(shown, series))


def show_change(model: Classifier, data: Data, before: Tensor, after: Tensor, *, key: str = "change") -> None:
    """Bars of what was changed in a table's row, (1, features) each, as a share of each feature's range."""
    span = before.new_tensor(model.bounds.span)
    names = feature_names(data, before.shape[1])
    change = ((after - before) / span)[0]
    _show_bars(names, {"change": change}, axis="share of the feature's range", key=key)
    if (moved := int((change != 0).sum())) > _MOST_FEATURES:
        st.caption(f"The {_MOST_FEATURES} that moved most, of {moved} that moved.")


def show_explanations(
    model: Classifier,
    data: Data,
    views: Mapping[str, View],
    *,
    opacity: float = 1.0,
    absolute: bool = False,
    key: str = "why",
) -> None:
    """Explanations method by method, those of several views side by side: maps over the image, shaded words, or bars.

    ``opacity`` is that of the maps, from 0 to 1; ``absolute`` shows sizes alone.
    """
    first = next(iter(views.values()))
    methods = [method for method in first.explanations if all(method in view.explanations for view in views.values())]
    cells = [
        _Cell(
            method=method,
            when=when if len(views) > 1 else "",
            x=view.x,
            attribution=view.explanations[method],
            signed=not absolute and any(bool((each.explanations[method].values < 0).any()) for each in views.values()),
        )
        for method in methods
        for when, view in views.items()
    ]
    if not cells:
        return
    meaning = legend(signed=any(cell.signed for cell in cells), unsigned=not all(cell.signed for cell in cells))
    if model.task != "tabular":
        st.caption(meaning)
    elif len(views) == 1:
        st.caption(f"{meaning} Beside each feature stands its value.")
    if model.task == "image":
        st.html(gallery(cell.picture(model, opacity) for cell in cells))
    elif model.task == "text":
        _show_texts(model, cells)
    else:
        _show_tables(model, data, cells, key=key)


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """One explanation of one view."""

    method: str
    when: str
    x: Tensor
    attribution: Attribution
    signed: bool

    @property
    def values(self) -> Tensor:
        """Attributions of the one input, their sizes alone where no signs are shown."""
        values = self.attribution.values[0].detach().cpu()
        return values if self.signed else values.abs()

    def heading(self, model: Classifier) -> str:
        return method_heading(self.attribution, self.method, self.when, model.class_names)

    def picture(self, model: Classifier, opacity: float) -> str:
        target = model.class_names[int(self.attribution.target[0])]
        alt = f"{method_label(self.method)} {self.when}: what speaks for {target}".replace(" :", ":")
        bounds = model.bounds.extent
        return overlay(self.x[0], self.values, alt, bounds=bounds, opacity=opacity, signed=self.signed) + self.heading(
            model
        )

    def words(self, model: Classifier, marked: Container[int] = (), shown: Container[int] | None = None) -> str:
        return shaded_words(model.tokens(self.x)[0], self.values, signed=self.signed, marked=marked, shown=shown)


def _show_texts(model: Classifier, cells: Sequence[_Cell]) -> None:
    """Shaded words; of two versions of a text with their differences marked, and of a long one what lies near them."""
    texts = {cell.when: model.tokens(cell.x)[0] for cell in cells}
    marked = {
        when: {place for other in texts.values() for place, odd in enumerate(edited(words, other)) if odd}
        for when, words in texts.items()
    }
    near = {place + step for places in marked.values() for place in places for step in range(-AROUND, AROUND + 1)}
    length = max(sum(map(bool, words)) for words in texts.values())
    parts = [None] if not near or length <= LONG else [near, None]
    for shown in parts:
        html = "".join(cell.heading(model) + cell.words(model, marked[cell.when], shown) for cell in cells)
        with st.expander("The whole texts") if shown is None and len(parts) > 1 else st.container():
            st.html(html)


def _show_tables(model: Classifier, data: Data, cells: Sequence[_Cell], *, key: str) -> None:
    names = feature_names(data, cells[0].x.shape[1])
    methods = list(dict.fromkeys(cell.method for cell in cells))
    for start in range(0, len(methods), _CHARTS):
        for column, method in zip(st.columns(_CHARTS, gap="large"), methods[start:], strict=False):
            with column:
                own = [cell for cell in cells if cell.method == method]
                for cell in own:
                    st.html(cell.heading(model))
                series = {cell.when or "attribution": cell.values for cell in own}
                told: Sequence[str] = names
                if len(own) == 1:
                    told = [f"{name} = {value:.4g}" for name, value in zip(names, own[0].x[0].tolist(), strict=True)]
                _show_bars(told, series, axis="attribution", key=f"{key} {method}", signed=own[0].signed)


def _show_bars(names: Sequence[str], values: Mapping[str, Tensor], *, axis: str, key: str, signed: bool = True) -> None:
    import torch

    size = torch.stack(list(values.values())).abs().amax(dim=0)
    top = size.argsort(descending=True)[:_MOST_FEATURES].tolist()
    top = [index for index in top if size[index] > 0] or top[:1]
    shown = [names[index] for index in top]
    series = {label: [float(each[index]) for index in top] for label, each in values.items()}
    chart = paired_bars(shown, series, axis=axis, signed=signed)
    st.plotly_chart(chart, key=f"bars {key}", config=STILL, alt=described(shown, series))
