"""What the reader wants explained, and by which methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from xaibench.drawing.labels import name_label
from xaibench.errors import UnsupportedError
from xaibench.pages.shared import cached
from xaibench.pages.shared.options import choose_class, choose_several
from xaibench.pages.shared.widgets import method_widgets
from xaibench.patience import OutOfPatienceError

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.pages.shared.subject import Subject
    from xaibench.types import Classifier

__all__ = ["choose_explained_class", "choose_explanations"]

_MOST = 8
"""Explanations at a time: more do not fit a window, and each takes its passes through the model."""


def choose_explanations(subject: Subject, most: int | None = None, *, key: str = "method") -> tuple[str, ...]:
    """Specs of explainers, with their settings; at first those of the task's usual panel that fit the model.

    ``most`` of them, if given. A page with a default of its own keeps the choice under a ``key`` of its own.
    """
    from xaibench.explainers import explainers

    model = subject.model
    with st.sidebar:
        chosen = choose_several(
            st.multiselect,
            "Explanations",
            {name: name_label(name) for name in explainers},
            key=key,
            default=_fitting(model, subject.x, subject.prediction, subject.key[0], subject.key)[:most],
            most=_MOST,
            stated=True,
        )
        if not chosen:
            return ()
        with st.expander("Settings of the explanations"):
            specs = []
            for name in chosen:
                st.markdown(f"**{name_label(name)}**")
                specs.append(str(method_widgets(explainers, name)))
    return tuple(specs)


@st.cache_data(show_spinner="Seeing which explanations fit the model", max_entries=64)
def _fitting(_model: Classifier, _x: Tensor, _target: int, identity: str, _key: tuple[str, str]) -> tuple[str, ...]:
    """The usual methods that neither refuse the model, whose ``identity`` is the key, nor take too long.

    They are tried at one input (1, ...).
    """
    from xaibench.explainers import DEFAULT_PANEL

    found = []
    for name in DEFAULT_PANEL[_model.task]:
        try:
            cached.explained(_model, _x, _target, name, _key)
        except (UnsupportedError, OutOfPatienceError):
            continue
        found.append(name)
    return tuple(found)


def choose_explained_class(model: Classifier) -> int | None:
    """The class whose logit is explained; None for the predicted one."""
    return choose_class(
        st.sidebar.selectbox, "Class to explain", model.class_names, key="why", none="The predicted one"
    )
