"""Explanations before and after an attack: did they notice?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import streamlit as st

from xaibench.drawing.labels import method_label
from xaibench.pages.shared.text import plain
from xaibench.pages.shared.views import show_explanations, view_of

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.pages.shared.subject import Subject
    from xaibench.pages.shared.views import View
    from xaibench.robustness import Strike

__all__ = ["agreement", "show_notice"]

_ALIKE: Final = 0.7
_APART: Final = 0.3
"""Rank correlations from which on two explanations look at the same places, and below which at others."""


def show_notice(subject: Subject, strike: Strike, methods: tuple[str, ...]) -> None:
    """Each method before and after, with their rank correlation and what it says.

    Both are explained for the class that is predicted before: of another class, the same map would change its signs.
    """
    st.subheader("Did the explanations notice?" if strike.broken else "Why it says so")
    if not methods:
        st.caption("Choose explanations at the side.")
        return
    views = {"before": view_of(subject.model, subject.x, methods)}
    if strike.broken:
        views["after"] = view_of(subject.model, strike.found.to(subject.x), methods, target=subject.prediction)
        name = plain(subject.model.class_names[subject.prediction])
        st.caption(f"Before and after: what speaks for **{name}** and against it, as the model saw it before.")
        for method in methods:
            if all(method in view.explanations for view in views.values()):
                st.markdown(_sentence(subject, strike, method, views))
    show_explanations(subject.model, subject.data, views)
    for reason in views["before"].refused.values():
        st.caption(plain(f"Left out: {reason}"))


def _sentence(subject: Subject, strike: Strike, method: str, views: dict[str, View]) -> str:
    before, after = (view.explanations[method].values for view in views.values())
    value = agreement(before, after, _unchanged(subject, strike))
    if value >= _ALIKE:
        meaning = "it looks at the same places, and did not notice"
    elif value <= _APART:
        meaning = "it looks elsewhere now, and noticed"
    else:
        meaning = "it moved in part"
    return f"**{plain(method_label(method))}**: rank correlation {value:.2f} between before and after; {meaning}."


def agreement(before: Tensor, after: Tensor, where: Tensor | None) -> float:
    """Spearman's rank correlation of the sizes of two attributions of one input, (1, ...) each."""
    from xaibench.metrics.agreement import magnitudes, rank_correlation

    return float(rank_correlation(magnitudes(before), magnitudes(after), where))


def _unchanged(subject: Subject, strike: Strike) -> Tensor | None:
    """Of a text the words that stayed in their places; None where every place counts."""
    if subject.model.task != "text":
        return None
    x = subject.x.cpu()
    return (x == strike.found) & (x != subject.model.vocabulary.padding)
