"""What a page is about: one input of one model, chosen at the side."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.errors import InputError
from xaibench.pages.shared import cached
from xaibench.pages.shared.address import chosen, forget
from xaibench.pages.shared.browse import choose_row
from xaibench.pages.shared.options import choose_one, choose_view
from xaibench.pages.shared.own import edited_row, typed_text, uploaded_picture

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.data import Data
    from xaibench.types import Classifier

__all__ = ["Subject", "choose_model", "choose_subject"]

First = Callable[["Classifier", "Data", "Tensor"], int | None]
"""From a model, its rows and their probabilities (n, classes) to the position of one of them, or none."""

_FIRST_MODEL = "digits-cnn"
_ROW = re.compile(r"[0-9]{1,9}")
_HERE = "_subject.here"
"""Where in the session the place above the page is kept."""
_FOLDED = 768
"""Pixels of width up to which Streamlit folds the side away."""
_OWN = {"image": "Your picture", "text": "Your text", "tabular": "Your values"}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One input (1, ...) of one model: a row of its data, or the reader's own.

    ``x`` is what attacks and explainers take, token ids for text; ``text`` is then the text itself. ``label`` and
    ``row``, its id in the full split, are None for an input of the reader's own. ``probabilities`` has shape
    (classes,).
    """

    name: str
    model: Classifier
    data: Data
    x: Tensor
    probabilities: Tensor
    label: int | None = None
    row: int | None = None
    text: str | None = None

    @property
    def prediction(self) -> int:
        """The most probable class."""
        return int(self.probabilities.argmax())

    @property
    def sample_id(self) -> int:
        """What seeds the randomness of methods: the row, or 0 for an input of the reader's own."""
        return 0 if self.row is None else self.row

    @cached_property
    def key(self) -> tuple[str, str]:
        """Of the model and the input, for caches."""
        return cached.identity(self.model), cached.fingerprint(self.x)


def choose_model() -> str | None:
    """A model's name; None, after saying so, where there is no model."""
    from xaibench.zoo import model_names

    names = list(model_names())
    if not names:
        st.info(
            "There are no models in the folder of models. Train one with `xaibench train RECIPE`, or name another"
            " folder in `XAIBENCH_MODELS_HOME`."
        )
        return None
    first = _FIRST_MODEL if _FIRST_MODEL in names else names[0]
    name = choose_one(
        st.sidebar.selectbox,
        "Model",
        _titles(names),
        key="model",
        default=first,
        sticks=True,
        on_change=_leave_data,
        args=(chosen("model", first),),
    )
    here = st.empty()
    st.session_state[_HERE] = here
    _say_here(_titles([name])[name])
    return name


def _titles(names: Sequence[str]) -> dict[str, str]:
    """What people call models: those that they added by the names that they typed, beside those of the folders."""
    from xaibench.homes import model_homes, typed_title

    found = {name: typed_title(model_homes()[0] / name) for name in names}
    return {name: f"{title} ({name})" if title else name for name, title in found.items()}


def _say_here(*parts: str) -> None:
    """Where the side is folded away, as on a telephone: what was chosen there, above the page."""
    chosen_here = escape(", ".join(parts))
    st.session_state[_HERE].html(
        f"<style>@media (min-width: {_FOLDED + 1}px) {{ .xai-here {{ display: none; }} }}</style>"
        f'<div class="xai-here"><strong>{chosen_here}</strong>. To choose another, open the side with » above.</div>'
    )


def _leave_data(before: str) -> None:
    """Forget the sample where another model is of other data; of the same, it is what both can be asked about."""
    try:
        same = cached.card(before).data.name == cached.card(st.session_state["model"]).data.name
    except InputError:  # one of them is no longer there
        same = False
    if not same:
        forget("sample")


def choose_subject(first: First | None = None) -> Subject | None:
    """A model and one of its samples, or an input of the reader's own; None, after saying why, where there is none.

    ``first`` gives the position of the row to begin with, where the reader has chosen none; the first without it.
    """
    name = choose_model()
    if name is None:
        return None
    card = cached.card(name)
    model = cached.classifier(name)
    asked = chosen("sample")
    asked_row = int(asked) if _ROW.fullmatch(asked) else None
    data = cached.samples(model, card.data.name, card.data.test_split, cached.identity(model))
    if asked_row is not None and asked_row not in data.ids:
        data = cached.samples(model, card.data.name, card.data.test_split, cached.identity(model), asked_row)
    with st.sidebar:
        sources = {"data": "From the data", "own": _OWN[model.task]}
        source = choose_view("Input", sources, key="input", width="stretch")
    subject = _own(name, model, data) if source == "own" else _row(name, model, data, first)
    if subject is not None:
        where = _OWN[model.task].lower() if subject.row is None else f"row {subject.row} of {data.name}"
        _say_here(_titles([name])[name], where)
    return subject


def _row(name: str, model: Classifier, data: Data, first: First | None = None) -> Subject | None:
    from xaibench.types import model_inputs

    said = cached.probabilities(model, data, (cached.identity(model), data.digest))
    place = choose_row(model, data, said, None if first is None else first(model, data, said))
    if place is None:
        return None
    inputs = data.inputs[place : place + 1]
    return Subject(
        name=name,
        model=model,
        data=data,
        x=model_inputs(model, inputs),
        probabilities=said[place],
        label=int(data.labels[place]),
        row=int(data.ids[place]),
        text=inputs[0] if isinstance(inputs[0], str) else None,
    )


def _own(name: str, model: Classifier, data: Data) -> Subject | None:
    text, x = None, None
    if model.task == "image":
        x = uploaded_picture(model)
        if x is None:
            return None
    elif model.task == "text":
        ids = [str(row) for row in data.ids.tolist()]
        start = ids.index(chosen("sample")) if chosen("sample") in ids else 0
        text = typed_text(str(data.inputs[start]))
        if text is None:
            return None
        x = model.encode([text])
    else:
        row = _row(name, model, data)
        if row is None or row.row is None:
            return None
        x = edited_row(model, data, row.row, row.x)
        if x.equal(row.x):  # nothing is edited: it is what the data say of it
            return row
    said = cached.said(model, x, (cached.identity(model), cached.fingerprint(x)))
    return Subject(name=name, model=model, data=data, x=x, probabilities=said, text=text)
