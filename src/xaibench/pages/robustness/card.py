"""What a model's card says of robustness, where no report does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from xaibench.drawing.bracket import bracket, bracket_parts
from xaibench.pages.shared.text import plain

if TYPE_CHECKING:
    from xaibench.card import Card, RobustAccuracy

__all__ = ["show_card"]


def show_card(card: Card) -> None:
    """The robust accuracies that the card holds of these very weights, each as a sentence and a bar."""
    for one in card.robustness:
        if one.weights_digest == card.weights_digest:
            st.markdown(plain(_sentence(card, one)))
            parts = bracket_parts(clean=one.clean_accuracy, robust=one.robust_accuracy, proved=None)
            st.html(bracket(parts))


def _sentence(card: Card, one: RobustAccuracy) -> str:
    from xaibench.drawing.labels import method_label
    from xaibench.reading import format_threat, percent

    low, high = one.interval
    return (
        f"{card.name} keeps {percent(one.robust_accuracy)} of {one.n} samples right under {method_label(one.attack)}"
        f" within {format_threat(one.norm, one.eps)} (95 % interval {percent(low)} to {percent(high)}); unchanged,"
        f" {percent(one.clean_accuracy)}, says its card."
    )
