"""The data as the model sees them: samples in a plane, before and after an attack, and the one that was picked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from xaibench.drawing.labels import name_label
from xaibench.errors import UnsupportedError, first_line
from xaibench.pages.explanations import computed
from xaibench.pages.explanations.map_chart import map_chart
from xaibench.pages.explanations.points import SHOWN, Attack, Points, choose_attack, edits_of, points_of
from xaibench.pages.shared import cached
from xaibench.pages.shared.address import put
from xaibench.pages.shared.links import go_to
from xaibench.pages.shared.options import choose_one
from xaibench.pages.shared.pictures import changed_words, figure, gallery
from xaibench.pages.shared.radii import written
from xaibench.pages.shared.text import plain
from xaibench.reading import percent

if TYPE_CHECKING:
    from xaibench.overview import EmbeddingMap
    from xaibench.types import Classifier

__all__ = ["show_map"]

_EXCERPT = 400
"""Characters of a text beside the map."""
_HEIGHT = 260
"""Pixels of a text with its edits, within which it scrolls."""
_LAYOUTS = {"pca": "PCA", "tsne": "t-SNE"}


def show_map(name: str) -> None:
    """The map beside the picked point."""
    model, data = cached.subject_rows(name)
    with st.sidebar:
        layout = choose_one(
            st.radio,
            "Layout",
            _LAYOUTS,
            key="layout",
            horizontal=True,
            help="PCA keeps the widest directions of the layer before the last; t-SNE keeps neighbours together, and"
            " its distances between groups mean nothing.",
        )
        attack = choose_attack(model, data)
    points = points_of(model, data, attack)
    key = computed.key_of(model, data)
    done = (attack.spec, attack.eps, len(points.attacked)) if attack and points.attacked is not None else None
    try:
        found = computed.embedded(model, data, points.attacked, layout, SHOWN, done, key)
    except UnsupportedError as error:
        st.info(plain(first_line(error)))
        return
    st.markdown(_in_words(points, attack))
    edits = edits_of(model, points)
    chart, side = st.columns([3, 1.3], gap="medium")
    with side:
        place = _choose_point(points)
        _show_point(model, points, place, edits.get(place))
        _show_links(name, points, place, attack)
    with chart:
        _show_chart(found, points, place, edits)


def _in_words(points: Points, attack: Attack | None) -> str:
    n, right = len(points.data), int(points.right.sum())
    text = f"#### {right} of {n} samples are classified correctly"
    if points.after is None or attack is None:
        return text
    fooled = int(points.fooled.sum())
    name = plain(name_label(attack.name))
    if points.struck == right:
        return (
            f"{text}; {right - fooled} still are after {name} within {plain(attack.reach)}\n"
            f"Lines lead from the {fooled} that are fooled to where the model sees them then."
        )
    return (
        f"{text}; {name} fools {fooled} of the {points.struck} it was tried on\n"
        f"Within {plain(attack.reach)}. Lines lead from these {fooled} to where the model sees them then."
    )


def _show_chart(found: EmbeddingMap, points: Points, place: int, edits: Mapping[int, str]) -> None:
    chart = map_chart(found, points, place, edits)
    alt = (
        f"Map of {len(points.data)} samples by class, {int((~points.right).sum())} of them wrong"
        + (f", and of the {int(points.fooled.sum())} that the attack fools" if points.after is not None else "")
        + "; the list of points beside it opens the same ones"
    )
    st.plotly_chart(
        chart,
        key="map",
        on_select=_picked,
        selection_mode="points",
        config={"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]},
        alt=alt,
    )
    kept = (
        f"Its axes show {percent(float(found.explained.sum()))} of the variance. "
        if found.explained is not None
        else ""
    )
    st.caption(
        f"{_LAYOUTS[found.method]} of what enters the last layer. {kept}Trustworthiness {found.trustworthiness:.2f}:"
        " the share of neighbourhoods that are real. Crossed out: samples that the model gets wrong."
        + (" Hollow: fooled ones, where the attack took them." if points.after is not None else "")
        + " Click a point to open it."
    )


def _picked() -> None:
    """A click on the map picks the sample of its address."""
    state: Any = st.session_state.get("map")
    chosen = state.selection.points if state else []
    if chosen:
        put(sample=str(chosen[0]["customdata"][0]))


def _choose_point(points: Points) -> int:
    """The position of the picked sample; the list does by keyboard what a click on the map does."""
    ids = points.data.ids.tolist()
    names = points.data.class_names
    fooled = points.fooled.nonzero().flatten().tolist()
    first = ids[fooled[0]] if fooled else ids[0]

    told = {}
    for place, row in enumerate(ids):
        note = " ✗ wrong" if not points.right[place] else " → fooled" if points.fooled[place] else ""
        told[row] = f"{row}: {names[int(points.data.labels[place])]}{note}"
    return ids.index(choose_one(st.selectbox, "Point", told, key="sample", default=first, stated=True))


def _show_point(model: Classifier, points: Points, place: int, edits: str | None) -> None:
    names = points.data.class_names
    said = points.probabilities[place]
    now = f"{names[int(said.argmax())]}, {percent(float(said.max()))}"
    label = names[int(points.data.labels[place])]
    then, attacked = names[int(points.then[place])], points.attacked_at(place)
    if model.task == "image":
        from xaibench.drawing.pictures import photo

        bounds = model.bounds.extent
        side = max(points.data.inputs.shape[2:])  # type: ignore[union-attr]
        cells = [figure(photo(points.data.inputs[place], bounds), f"Before: {now}", side=side)]  # type: ignore[arg-type]
        if attacked is not None:
            cells.append(figure(photo(attacked[0], bounds), f"After: {then}", side=side))
        st.html(gallery(cells))
        st.caption(plain(f"It is {label}."))
        return
    line = f"**{plain(now)}**; it is {plain(label)}."
    if attacked is not None:
        line += f" After the attack: **{plain(then)}**."
    elif points.after is not None:
        line += " It was not attacked."
    st.markdown(line)
    if edits is not None:
        st.markdown(f"Changed: {plain(edits)}")
    if model.task == "text":
        text = str(points.data.inputs[place])
        if attacked is None:
            st.caption(plain(text[:_EXCERPT] + ("…" if len(text) > _EXCERPT else "")))
            return
        from xaibench.types import model_inputs

        before = model.tokens(model_inputs(model, points.data.inputs[place : place + 1]))[0]
        with st.container(height=_HEIGHT):
            st.html(changed_words(before, model.tokens(attacked)[0]))


def _show_links(name: str, points: Points, place: int, attack: Attack | None) -> None:
    row = str(int(points.data.ids[place]))
    here = {"model": name, "sample": row}
    st.button(
        "Explain it", icon=":material/search_insights:", on_click=go_to, args=("explain",), kwargs=here, width="stretch"
    )
    if attack is not None:
        here |= {"attack": attack.name, "norm": attack.norm, "eps": written(attack.eps)}
    st.button("Attack it", icon=":material/bolt:", on_click=go_to, args=("attack",), kwargs=here, width="stretch")
