"""What the reader wants explained, and by which methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from xaibench.drawing.labels import name_label
from xaibench.pages.shared.address import choose
from xaibench.pages.shared.widgets import method_widgets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xaibench.types import Classifier

__all__ = ["choose_explained_class", "choose_explanations"]

_MOST = 8
"""Explanations at a time: more do not fit a window, and each takes its passes through the model."""


def choose_explanations(
    model: Classifier, default: Sequence[str] | None = None, *, key: str = "method"
) -> tuple[str, ...]:
    """Specs of explainers, with their settings; at first the usual panel of the task, or ``default``.

    A page with a default of its own keeps the choice under a ``key`` of its own.
    """
    from xaibench.explainers import DEFAULT_PANEL, explainers

    names = explainers.names()
    with st.sidebar:
        chosen = choose(
            st.multiselect,
            "Explanations",
            names,
            key=key,
            default=[name for name in default or DEFAULT_PANEL[model.task] if name in names],
            read=lambda text: [name for name in text.split(",") if name],
            write=",".join,
            valid=lambda chosen: set(chosen) <= set(names) and len(chosen) <= _MOST,
            format_func=name_label,
            max_selections=_MOST,
        )
        if not chosen:
            return ()
        with st.expander("Settings of the explanations"):
            specs = []
            for name in chosen:
                st.markdown(f"**{name_label(name)}**")
                specs.append(str(method_widgets(explainers, name)))
    return tuple(specs)


def choose_explained_class(model: Classifier) -> int | None:
    """The class whose logit is explained; None for the predicted one."""
    names = model.class_names
    index = choose(
        st.sidebar.selectbox,
        "Class to explain",
        range(-1, len(names)),
        key="why",
        default=-1,
        read=lambda text: names.index(text) if text else -1,
        write=lambda index: names[index] if index >= 0 else "",
        valid=lambda index: -1 <= index < len(names),
        format_func=lambda index: names[index] if index >= 0 else "The predicted one",
    )
    return None if index < 0 else index
