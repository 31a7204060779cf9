"""Choosing a row of a model's data: by class, by how the model fares with it, by eye."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.pages.shared import cached
from xaibench.pages.shared.address import forget, put
from xaibench.pages.shared.options import choose_class, choose_one
from xaibench.pages.shared.text import plain
from xaibench.reading import percent

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.data import Data
    from xaibench.types import Classifier

__all__ = ["choose_row"]

_KINDS = {
    "all": "All",
    "right": "Right",
    "wrong": "Wrong",
    "mistakes": "Most confident mistakes",
    "fooled": "Most easily fooled",
}
"""Which rows are shown, and in which order, as the address and as people have it."""
_HELP = (
    "Most confident mistakes: wrong ones, the highest probability first. Most easily fooled: right ones, the nearest to"
    " the decision boundary first, by a linear estimate: the margin over the dual norm of its gradient."
)
_ACROSS, _PICTURES, _TEXTS = 5, 15, 4
"""Neighbours to click: pictures in a row of the sidebar and in all, and texts."""
_EXCERPT = 60


def choose_row(model: Classifier, data: Data, said: Tensor, first: int | None = None) -> int | None:
    """The position of a row; None, after saying so, where none is of the wanted kind. ``said``: (n, classes).

    ``first`` is the one to begin with, if it is of that kind.
    """
    with st.sidebar:
        left, right = st.columns(2)
        kind = choose_one(left.selectbox, "Show", _KINDS, key="show", help=_HELP, on_change=forget, args=("sample",))
        label = choose_class(
            right.selectbox, "Class", data.class_names, key="class", none="Any", on_change=forget, args=("sample",)
        )
        places = _ordered(model, data, said, kind, label)
        if not places:
            st.info("There is no such sample among those at hand.")
            return None
        here = _choose_place(data, places, first if first in places else places[0])
        if kind == "fooled":
            _say_distance(model, data, places[here])
        _show_neighbours(data, said, places, here)
    return places[here]


def _ordered(model: Classifier, data: Data, said: Tensor, kind: str, label: int | None) -> list[int]:
    """Positions of the rows of a kind and a class, or any, in order."""
    right = said.argmax(dim=1) == data.labels
    keep = right if kind in ("right", "fooled") else ~right if kind in ("wrong", "mistakes") else right | ~right
    if label is not None:
        keep &= data.labels == label
    places = keep.nonzero().flatten()
    if kind == "mistakes":
        places = places[said.amax(dim=1)[places].argsort(descending=True, stable=True)]
    elif kind == "fooled":
        places = places[_distances(model, data)[places].argsort(stable=True)]
    return [int(place) for place in places]


def _distances(model: Classifier, data: Data) -> Tensor:
    return cached.boundary_distances(model, data, (cached.identity(model), data.digest))


def _choose_place(data: Data, places: list[int], first: int) -> int:
    """Where in the list of rows to choose from the chosen one stands; at first the row at position ``first``."""
    ids = data.ids[places].tolist()
    where = {row: place for place, row in enumerate(ids)}
    label = f"Sample: row of the {data.split} split"
    row = choose_one(st.selectbox, label, ids, key="sample", default=int(data.ids[first]), sticks=True)
    here = where[row]
    steps = (
        ("←", "The sample before", ids[here - 1]),
        ("Random", "Any sample", random.choice(ids)),
        ("→", "The next sample", ids[(here + 1) % len(ids)]),
    )
    for column, (text, meaning, target) in zip(st.columns([1, 2, 1], gap="small"), steps, strict=True):
        column.button(text, help=meaning, on_click=put, kwargs={"sample": str(target)}, width="stretch")
    return here


def _say_distance(model: Classifier, data: Data, place: int) -> None:
    from xaibench.types import Capability

    distance = float(_distances(model, data)[place])
    if Capability.GRADIENTS not in model.capabilities:
        st.caption(f"Ordered by the margin of logits, {distance:.2g} here: the model gives no gradients.")
        return
    unit = {"image": "in every pixel", "tabular": "of its range in every feature", "text": "in L2 of the embeddings"}
    st.caption(f"By a linear estimate a change of {distance:.2g} {unit[model.task]} is enough.")


def _show_neighbours(data: Data, said: Tensor, places: list[int], here: int) -> None:
    """Rows around the chosen one to click: pictures, or the first words of texts; wrong ones are marked."""
    if data.task == "tabular" or len(places) < 2:
        return
    count, across = (_PICTURES, _ACROSS) if data.task == "image" else (_TEXTS, 1)
    start = here // count * count
    shown = places[start : start + count]
    with st.container(key="neighbours", gap="small"):
        st.html(_style(data, said, shown, across))
        columns = [column for _ in range(0, len(shown), across) for column in st.columns(across, gap="xsmall")]
        for column, place in zip(columns, shown, strict=False):
            row, inputs = int(data.ids[place]), data.inputs[place]
            column.button(
                plain(f"{inputs[:_EXCERPT]}…" if isinstance(inputs, str) else f"Row {row}"),
                key=f"neighbour {row}",
                help=_meaning(data, said, place),
                type="primary" if place == places[here] else "secondary",
                on_click=put,
                kwargs={"sample": str(row)},
                width="stretch",
            )


def _meaning(data: Data, said: Tensor, place: int) -> str:
    label, prediction = int(data.labels[place]), int(said[place].argmax())
    read = "" if prediction == label else f", read as {data.class_names[prediction]}"
    return plain(f"Row {int(data.ids[place])}: {data.class_names[label]}{read} ({percent(float(said[place].max()))})")


def _style(data: Data, said: Tensor, shown: list[int], across: int) -> str:
    """How the neighbours look: pictures over their names; a dashed edge where the model is wrong."""
    here = ".st-key-neighbours"
    rules = [
        f"{here} button {{ min-height: 0; padding: 0.2rem; border-width: 2px; }}",
        f"{here} .stColumn {{ min-width: 0; flex: 1 1 0; }} {here} .stHorizontalBlock {{ flex-wrap: nowrap; }}",
    ]
    if across > 1:
        rules.append(
            f"{here} button {{ aspect-ratio: 1; background-size: cover; background-position: center;"
            f" image-rendering: pixelated; }} {here} button * {{ font-size: 0; }}"
        )
    else:
        rules.append(f"{here} button {{ justify-content: start; text-align: start; }}")
    wrong = said[shown].argmax(dim=1) != data.labels[shown]
    for place, odd in zip(shown, wrong.tolist(), strict=True):
        name = f".st-key-neighbour-{int(data.ids[place])} button"
        if across > 1:
            picture = cached.thumbnail(data, place, (data.digest, place))
            rules.append(f"{name} {{ background-image: url({picture}); }}")
        if odd:
            rules.append(f"{name} {{ border: 3px dashed rgb(200,100,10); }}")
    return f"<style>{' '.join(rules)}</style>"
