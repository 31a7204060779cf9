"""The training samples that a model sees as most like the one in question."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from xaibench.errors import UnsupportedError
from xaibench.pages.shared import cached
from xaibench.pages.shared.address import part
from xaibench.pages.shared.pictures import figure, gallery
from xaibench.pages.shared.text import plain, problem
from xaibench.pages.shared.views import feature_names

if TYPE_CHECKING:
    from xaibench.data import Data
    from xaibench.examples import Neighbours
    from xaibench.pages.shared.subject import Subject

__all__ = ["show_alike"]

_NEAREST = 8
_EXCERPT = 300


@part
def show_alike(subject: Subject) -> None:
    """The nearest training samples in the space in which the model's last layer decides."""
    card = subject.model.card
    if card is None:
        return
    try:
        data = cached.samples(subject.model, card.data.name, card.data.train_split, subject.key[0])
        found = cached.alike(subject.model, subject.x, data, min(_NEAREST, len(data)), (*subject.key, data.digest))
    except UnsupportedError as error:
        st.caption(problem(error))
        return
    names, prediction = subject.model.class_names, subject.prediction
    index, labels = found.index[0].tolist(), data.labels[found.index[0]]
    same = int((labels == prediction).sum())
    verdict = "so the prediction has company" if same > len(index) / 2 else "so the prediction is a doubtful one"
    st.markdown(
        f"Of the {len(index)} nearest of {len(data)} training samples **{same}** are labelled"
        f" **{plain(names[prediction])}**, as it says here, {verdict}."
    )
    st.caption("Near by the cosine of what enters the last layer, the nearest first.")
    _show(subject, data, found)


def _show(subject: Subject, data: Data, found: Neighbours) -> None:
    names, task = subject.model.class_names, subject.model.task
    places, distances = found.index[0].tolist(), found.distance[0].tolist()
    captions = [
        f"{names[int(data.labels[place])]}, distance {distance:.2g} (row {int(data.ids[place])})"
        for place, distance in zip(places, distances, strict=True)
    ]
    if task == "image":
        side = max(subject.x.shape[2:])
        pictures = [cached.thumbnail(data, place, (data.digest, place)) for place in places]
        st.html(gallery(figure(uri, caption, side=side) for uri, caption in zip(pictures, captions, strict=True)))
    elif task == "text":
        for place, caption in zip(places, captions, strict=True):
            text = str(data.inputs[place])
            st.markdown(f"**{plain(caption)}**  \n{plain(text[:_EXCERPT])}{'…' if len(text) > _EXCERPT else ''}")
    else:
        rows = {
            "this one": subject.x[0].tolist(),
            **{f"row {int(data.ids[place])}": data.inputs[place].tolist() for place in places},
        }
        labels = [names[subject.prediction], *(names[int(data.labels[place])] for place in places)]
        columns = feature_names(data, subject.x.shape[1])
        table = {"sample": list(rows), "class": labels, "distance": [0.0, *distances]}
        table.update({name: [values[place] for values in rows.values()] for place, name in enumerate(columns)})
        st.dataframe(table, hide_index=True)
