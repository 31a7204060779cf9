"""One sample through two models: what each says of it, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from xaibench.drawing.labels import name_label
from xaibench.pages.shared import cached
from xaibench.pages.shared.cached import subject_rows
from xaibench.pages.shared.links import link_button
from xaibench.pages.shared.options import choose_one
from xaibench.pages.shared.text import plain
from xaibench.pages.shared.views import says, show_explanations, show_probabilities, view_of

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.data import Data

__all__ = ["show_sample"]

_ICON = ":material/search_insights:"
_METHODS = ("saliency", "integrated_gradients")
_EXCERPT = 600
"""Characters of a text above its explanations."""


def show_sample(first: str, second: str) -> None:
    """A row of the first model's data, by default one of which the two say different things."""
    from xaibench.types import model_inputs

    st.subheader("One sample through both")
    model, data = subject_rows(first)
    other, others = subject_rows(second)
    if (model.task, model.class_names) != (other.task, other.class_names) or data.digest != others.digest:
        st.info("They were not made for the same task, classes and data, so no sample goes through both.")
        return
    keys = [(cached.identity(one), data.digest) for one in (model, other)]
    said = [cached.probabilities(one, data, key).argmax(dim=1) for one, key in zip((model, other), keys, strict=True)]
    place = _choose(data, said)
    inputs = data.inputs[place : place + 1]
    if model.task == "text":
        st.caption(plain(str(inputs[0])[:_EXCERPT]))
    views = {name: view_of(one, model_inputs(one, inputs), _METHODS) for name, one in ((first, model), (second, other))}
    row = str(int(data.ids[place]))
    columns = st.columns(2, gap="large")
    for side, (column, (name, view)) in enumerate(zip(columns, views.items(), strict=True)):
        with column:
            st.markdown(f"**{plain(name)}** says {plain(says(model, view))}")
            link_button("Explain it", "explain", key=f"explain {side}", icon=_ICON, model=name, sample=row)
    show_probabilities(model, views, key="probabilities")
    if model.task == "text":  # each reads words of its own
        for column, one, (name, view) in zip(columns, (model, other), views.items(), strict=True):
            with column:
                show_explanations(one, data, {name: view}, key=f"why {name}")
    else:
        show_explanations(model, data, views, key="why")
    for name, view in views.items():
        for method, reason in view.refused.items():
            st.caption(plain(f"{name_label(method)} of {name} is left out: {reason}"))


def _choose(data: Data, said: list[Tensor]) -> int:
    """The position of the chosen row; rows that divide the models come first."""
    divided = (said[0] != said[1]).tolist()
    order = sorted(range(len(data)), key=lambda place: not divided[place])
    ids = data.ids.tolist()
    names = data.class_names

    def told(place: int) -> str:
        text = f"{ids[place]}: {names[int(data.labels[place])]}"
        both = [names[int(one[place])] for one in said]
        return f"{text}; they say {both[0]} and {both[1]}" if divided[place] else text

    label = f"Sample: the {sum(divided)} of {len(data)} on which they differ come first"
    return ids.index(
        choose_one(st.selectbox, label, {ids[place]: told(place) for place in order}, key="sample", stated=True)
    )
