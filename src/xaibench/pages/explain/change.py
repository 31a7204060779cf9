"""The smallest change with which a model says something else of the sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from xaibench.errors import UnsupportedError
from xaibench.pages.shared import cached
from xaibench.pages.shared.address import part
from xaibench.pages.shared.options import choose_class
from xaibench.pages.shared.pictures import changed_words, figure, gallery
from xaibench.pages.shared.text import plain, problem
from xaibench.pages.shared.views import View, show_change, show_probabilities, view_of
from xaibench.reading import percent

if TYPE_CHECKING:
    from xaibench.counterfactuals import CounterfactualResult
    from xaibench.pages.shared.subject import Subject

__all__ = ["show_change_of_mind"]

_MOST_EDITS = 12
_UNITS = {"image": "in L2", "tabular": "features", "text": "words"}


@part
def show_change_of_mind(subject: Subject) -> None:
    """A counterfactual: before, after, what differs, and what the model says then."""
    model, names = subject.model, subject.model.class_names
    goal = choose_class(
        st.selectbox, "To hear", names, key="goal", none="Anything else", but=subject.prediction, width=220
    )
    try:
        found = cached.changed(model, subject.x, goal, subject.key)
    except UnsupportedError as error:
        st.caption(problem(error))
        return
    if not bool(found.found[0]):
        wanted = "anything else" if goal is None else names[goal]
        st.markdown(f"No small change was found with which it says **{plain(wanted)}**.")
        return
    before = View(x=subject.x, probabilities=subject.probabilities, explanations={}, refused={})
    after = view_of(model, found.inputs)
    st.markdown(_sentence(subject, found, after))
    left, right = st.columns([1.6, 1], gap="large")
    with left:
        _show_difference(subject, found)
    with right:
        show_probabilities(model, {"before": before, "after": after}, key="change of mind")


def _sentence(subject: Subject, found: CounterfactualResult, after: View) -> str:
    names, task = subject.model.class_names, subject.model.task
    distance = float(found.distance[0])
    size = (
        f"{distance:.3g} in L2"
        if task == "image"
        else f"{int(distance)} {_UNITS[task] if distance > 1 else _UNITS[task][:-1]}"
    )
    return (
        f"A change of {size} is enough: it says **{plain(names[after.prediction])}** ({percent(after.confidence)})"
        f" instead of **{plain(names[subject.prediction])}** ({percent(float(subject.probabilities.max()))})."
        " It is the nearest one found; there may be a nearer one."
    )


def _show_difference(subject: Subject, found: CounterfactualResult) -> None:
    model = subject.model
    if model.task == "image":
        from xaibench.drawing.pictures import magnified, perturbation_picture, photo

        bounds = model.bounds.extent
        delta, side = (found.inputs - found.original)[0].cpu(), max(subject.x.shape[2:])
        st.html(
            gallery(
                [
                    figure(photo(found.original[0], bounds), "Before", side=side),
                    figure(perturbation_picture(delta), f"What changed, {magnified(delta, bounds)}", side=side),
                    figure(photo(found.inputs[0], bounds), "After", side=side),
                ],
                together=3,
            )
        )
    elif model.task == "tabular":
        show_change(model, subject.data, found.original, found.inputs, key="counterfactual")
    if model.task == "text":
        st.html(changed_words(model.tokens(found.original)[0], model.tokens(found.inputs)[0]))
    if model.task != "image":
        edits = found.edits[0]
        listed = [f"- {plain(str(edit))}" for edit in edits[:_MOST_EDITS]]
        st.markdown("\n".join([*listed, *([f"- and {len(edits) - _MOST_EDITS} more"] * (len(edits) > _MOST_EDITS))]))
