"""A sample before and after an attack: pictures, words with their edits marked, or the features that moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from xaibench.drawing.edits import AROUND, LONG
from xaibench.drawing.html import figure, gallery, table
from xaibench.pages.shared.pictures import changed_words
from xaibench.pages.shared.views import feature_names, show_change
from xaibench.reading import percent

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.pages.shared.subject import Subject
    from xaibench.robustness import Strike

__all__ = ["show_sight"]

_MOST_FEATURES = 12
_MEANING = (
    "No attack knows what words mean to a reader. Read it again: where the exchange turns what the text says, another"
    " answer is right, and only where it still says the same was the model fooled."
)


def show_sight(subject: Subject, strike: Strike) -> None:
    """Before, change and after, as the task has them."""
    {"image": _show_image, "text": _show_text, "tabular": _show_table}[subject.model.task](subject, strike)


def _show_image(subject: Subject, strike: Strike) -> None:
    from xaibench.drawing.pictures import magnified, perturbation_picture, photo

    model, x = subject.model, subject.x[0].cpu()
    bounds = model.bounds.extent
    side = max(x.shape[1:])
    before = f"Before: {_said(subject, strike.before)}"
    cells = [figure(photo(x, bounds), before, side=side)]
    if strike.broken:
        found = strike.found[0]
        colours = "blue is brighter, orange is darker" if len(x) == 1 else "grey is no change"
        change = f"The change, {magnified(found - x, bounds)}: {colours}"
        after = f"After: {_said(subject, strike.after)}"
        cells += [
            figure(perturbation_picture(found - x), change, side=side),
            figure(photo(found, bounds), after, side=side),
        ]
    st.html(gallery(cells, together=3))


def _said(subject: Subject, probabilities: Tensor) -> str:
    return f"{subject.model.class_names[int(probabilities.argmax())]}, {percent(float(probabilities.max()))}"


def _show_text(subject: Subject, strike: Strike) -> None:
    before, after = (subject.model.tokens(x)[0] for x in (subject.x, strike.found))
    if not strike.broken or sum(map(bool, before)) <= LONG:
        st.html(changed_words(before, after))
    else:
        st.html(changed_words(before, after, around=AROUND))
        with st.expander("The whole text"):
            st.html(changed_words(before, after))
    if strike.broken:
        st.caption("Struck out: the words of the text. Underlined: what the attack put in their places.")
        st.caption(_MEANING)


def _show_table(subject: Subject, strike: Strike) -> None:
    if not strike.broken:
        st.caption("No change was found, so every feature is as it was.")
        return
    x, found = subject.x.cpu(), strike.found
    span = x.new_tensor(subject.model.bounds.span)
    share = ((found - x) / span)[0]
    names = feature_names(subject.data, x.shape[1])
    moved = [index for index in share.abs().argsort(descending=True).tolist() if float(share[index])]
    top = moved[:_MOST_FEATURES]
    values = [(f"{float(x[0, index]):.4g}", f"{float(found[0, index]):.4g}") for index in top]
    shares = [f"{100 * float(share[index]):+.2g} %".replace("-", "−") for index in top]
    rows = [(names[index], *pair, of) for index, pair, of in zip(top, values, shares, strict=True)]
    st.markdown("**What was changed**")
    show_change(subject.model, subject.data, x, found)
    with st.expander(f"In their own units: {len(moved)} of {len(names)} features moved"):
        st.html(table(("feature", "before", "after", "of its range"), rows))
        if len(moved) > len(rows):
            st.caption(f"The {len(rows)} that moved most.")
