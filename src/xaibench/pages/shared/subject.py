"""What a page is about: one input of one model, chosen at the side."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.pages.shared import cached
from xaibench.pages.shared.address import choose, put

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.data import Data
    from xaibench.types import Classifier

__all__ = ["Subject", "choose_model", "choose_subject"]

_FIRST_MODEL = "digits-cnn"


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
        """Digests of the model and the input, for caches."""
        return self.model.digest, cached.fingerprint(self.x)


def choose_model() -> str | None:
    """A model's name; None, after saying so, where there is no model."""
    from xaibench.zoo import model_homes, model_names

    names = list(model_names())
    if not names:
        st.info(
            f"There are no models in `{model_homes()[0]}`. Train one with `xaibench train RECIPE`,"
            " or name another folder in `XAIBENCH_MODELS_HOME`."
        )
        return None
    first = _FIRST_MODEL if _FIRST_MODEL in names else names[0]
    return choose(st.sidebar.selectbox, "Model", names, key="model", default=first, valid=names.__contains__)


def choose_subject() -> Subject | None:
    """A model and one of its samples; None, after saying why, where there is none."""
    name = choose_model()
    if name is None:
        return None
    card = cached.card(name)
    model = cached.classifier(name, card.weights_digest)
    data = cached.rows(card.data.name, card.data.test_split)
    said = cached.probabilities(model, data, (model.digest, data.digest))
    place = _choose_row(data, said.argmax(dim=1))
    if place is None:
        return None
    inputs = data.inputs[place : place + 1]
    return Subject(
        name=name,
        model=model,
        data=data,
        x=model.encode(inputs) if model.task == "text" else inputs,  # type: ignore[arg-type]
        probabilities=said[place],
        label=int(data.labels[place]),
        row=int(data.ids[place]),
        text=inputs[0] if isinstance(inputs[0], str) else None,
    )


def _choose_row(data: Data, predictions: Tensor) -> int | None:
    """The position of a sample among the rows; None, after saying so, where none is of the wanted kind."""
    with st.sidebar:
        kinds = ["All", "Wrong ones", *data.class_names]
        kind = choose(st.selectbox, "Show", kinds, key="show", default="All", valid=kinds.__contains__)
        ids = data.ids[_mask(data, predictions, kinds.index(kind))].tolist()
        if not ids:
            st.info("There is no such sample among those at hand.")
            return None
        label = f"Sample: row of the {data.split} split"
        row = choose(st.selectbox, label, ids, key="sample", default=ids[0], read=int, valid=ids.__contains__)
        here = ids.index(row)
        steps = (
            ("←", "The sample before", ids[here - 1]),
            ("Random", "Any sample", random.choice(ids)),
            ("→", "The next sample", ids[(here + 1) % len(ids)]),
        )
        for column, (text, meaning, target) in zip(st.columns([1, 2, 1]), steps, strict=True):
            column.button(text, help=meaning, on_click=put, kwargs={"sample": str(target)}, width="stretch")
    return data.ids.tolist().index(row)


def _mask(data: Data, predictions: Tensor, kind: int) -> Tensor:
    """Which rows (n,) are of a kind: 0 all, 1 wrong ones, 2 and up a class."""
    if kind == 1:
        return predictions != data.labels
    return data.labels == kind - 2 if kind else data.labels >= 0
