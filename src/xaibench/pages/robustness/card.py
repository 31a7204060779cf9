"""What a model's card says of robustness, where no report does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from xaibench.pages.shared.bracket import bracket
from xaibench.pages.shared.text import plain

if TYPE_CHECKING:
    from xaibench.card import Card, RobustAccuracy
    from xaibench.report.headline import Part

__all__ = ["show_card"]


def show_card(card: Card) -> None:
    """The robust accuracies that the card holds of these very weights, each as a sentence and a bar."""
    for one in card.robustness:
        if one.weights_digest == card.weights_digest:
            st.markdown(plain(_sentence(card, one)))
            st.html(bracket(_parts(one)))


def _sentence(card: Card, one: RobustAccuracy) -> str:
    from xaibench.drawing.labels import method_label
    from xaibench.reading import format_threat, percent

    low, high = one.interval
    return (
        f"{card.name} keeps {percent(one.robust_accuracy)} of {one.n} samples right under {method_label(one.attack)}"
        f" within {format_threat(one.norm, one.eps)} (95 % interval {percent(low)} to {percent(high)}); unchanged,"
        f" {percent(one.clean_accuracy)}, says its card."
    )


def _parts(one: RobustAccuracy) -> tuple[Part, ...]:
    from xaibench.report.headline import Part

    parts = (
        Part("open", one.robust_accuracy, "not broken by any attack"),
        Part("lost", one.clean_accuracy - one.robust_accuracy, "broken by an attack"),
        Part("wrong", 1 - one.clean_accuracy, "wrong from the start"),
    )
    return tuple(part for part in parts if part.share > 0)
