"""Explanations: which methods to believe, how easily their maps are moved, and the data as the model sees them."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from xaibench.pages.shared.options import choose_view
from xaibench.pages.shared.subject import choose_model

__all__ = ["show"]


def show() -> None:
    """The page: one view at a time, so that nothing is computed for those that are not looked at."""
    st.header("Which explanations can be believed?")
    names = {view: name for view, (name, _) in _VIEWS.items()}
    view = choose_view("View", names, key="look", label_visibility="collapsed")
    model = choose_model()
    if model is not None:
        _VIEWS[view][1](model)


def _ranking(model: str) -> None:
    from xaibench.pages.explanations.ranking import show_ranking

    show_ranking(model)


def _quality(model: str) -> None:
    from xaibench.pages.explanations.quality import show_quality

    show_quality(model)


def _movement(model: str) -> None:
    from xaibench.pages.explanations.movement import show_movement

    show_movement(model)


def _map(model: str) -> None:
    from xaibench.pages.explanations.data_map import show_map

    show_map(model)


def _overall(model: str) -> None:
    from xaibench.pages.explanations.overall import show_overall

    show_overall(model)


_VIEWS: dict[str, tuple[str, Callable[[str], None]]] = {
    "ranking": ("Ranking of methods", _ranking),
    "quality": ("Quality", _quality),
    "attacked": ("Under attack", _movement),
    "map": ("Map of the data", _map),
    "overall": ("What matters overall", _overall),
}
