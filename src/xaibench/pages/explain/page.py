"""Explain: what a model says of one sample, why, and what it would take to hear something else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.drawing.labels import method_label
from xaibench.pages.shared.address import part
from xaibench.pages.shared.links import link_button
from xaibench.pages.shared.options import choose_number, choose_view
from xaibench.pages.shared.text import plain
from xaibench.pages.shared.views import View, show_explanations, show_probabilities, view_of
from xaibench.reading import percent

if TYPE_CHECKING:
    from xaibench.pages.shared.subject import Subject

__all__ = ["show"]

_TABS = {
    "remove": "Take parts away",
    "change": "What would change its mind?",
    "alike": "Which training samples resemble it?",
}
_VALUES = {"signed": "Signed", "sizes": "Absolute"}
_CHECKED = "_explain.checked"
"""Where in the session it stands which explanations have been checked in full."""
_MOST_CHECKED = 500
_PATIENCE = 1.0
"""Seconds of checks that are made unasked; the slower ones wait for the reader to ask."""


def show() -> None:
    """The page."""
    st.header("Why did it say that?")
    from xaibench.pages.shared.choices import choose_explained_class, choose_explanations
    from xaibench.pages.shared.subject import choose_subject

    subject = choose_subject()
    if subject is None:
        return
    target = choose_explained_class(subject.model)
    methods = choose_explanations(subject)
    _say(subject)
    _show_sample(subject)
    _why(subject, methods, target)
    _closer(subject, methods, target)
    if _check(subject, methods, target, patience=_PATIENCE):
        st.rerun()


def _say(subject: Subject) -> None:
    """The finding in a sentence."""
    names, label = subject.model.class_names, subject.label
    verdict = ""
    if label is not None:
        right = subject.prediction == label
        verdict = ", which is right" if right else f", and is wrong: it is **{plain(names[label])}**"
    confidence = percent(float(subject.probabilities.max()))
    st.markdown(f"#### It says **{plain(names[subject.prediction])}** with {confidence}{verdict}.")
    if subject.model.card and subject.model.card.summary:
        st.caption(plain(subject.model.card.summary))


def _show_sample(subject: Subject) -> None:
    """The input beside the probabilities; texts and rows are shown by their explanations."""
    model = subject.model
    seen = {"probability": View(x=subject.x, probabilities=subject.probabilities, explanations={}, refused={})}
    left, right = st.columns([1, 2], gap="large")
    with left:
        if model.task == "image":
            from xaibench.drawing.pictures import photo
            from xaibench.pages.shared.pictures import figure

            bounds = model.bounds.extent
            where = f"row {subject.row} of {subject.data.name}" if subject.row is not None else "your own picture"
            with st.container(width=260):
                st.html(figure(photo(subject.x[0], bounds), f"The input: {where}", side=max(subject.x.shape[2:])))
        elif model.task == "text":
            st.caption(f"The model reads {sum(map(bool, model.tokens(subject.x)[0]))} words of the text.")
        else:
            where = "your own values" if subject.row is None else f"row {subject.row} of {subject.data.name}"
            st.caption(f"The input: {plain(where)}, {subject.x.shape[1]} features.")
        link_button(
            "Attack this sample",
            "attack",
            key="explain.attack",
            icon=":material/bolt:",
        )
    with right:
        show_probabilities(model, seen)


@part
def _why(subject: Subject, methods: tuple[str, ...], target: int | None) -> None:
    """The explanations side by side, and how they are drawn; moving these controls computes nothing."""
    st.subheader("Why")
    view = view_of(subject.model, subject.x, methods, target=target, checked=_checked(subject, target))
    if not methods:
        st.info("Choose explanations at the side.")
    opacity, absolute = 1.0, False
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
        if view.explanations:
            absolute = choose_view("Values", _VALUES, key="values") == "sizes"
        if view.explanations and subject.model.task == "image":
            shown = choose_number(
                st.slider, "Opacity of the maps", 0, 100, key="opacity", default=80, format="%d %%", width=260
            )
            opacity = shown / 100
    show_explanations(subject.model, subject.data, {"": view}, opacity=opacity, absolute=absolute)
    waiting = [method for method in view.explanations if method not in _checked(subject, target)]
    if waiting:
        st.button(
            f"Check {', '.join(map(method_label, waiting))} too, under noise and against random weights",
            key="explain.check",
            on_click=_check,
            args=(subject, methods, target),
            help="A method that looks at the model gives another map for random weights, and a steady one the same"
            " after a little noise. This explains several times more, which takes some seconds here.",
        )
    for reason in view.refused.values():
        st.caption(plain(f"Left out: {reason}"))


def _checked(subject: Subject, target: int | None) -> frozenset[str]:
    """Methods whose explanations of this have been checked in full."""
    done = st.session_state.get(_CHECKED, {})
    return frozenset(done.get((*subject.key, target), ()))


def _check(subject: Subject, methods: tuple[str, ...], target: int | None, *, patience: float = float("inf")) -> bool:
    """Check explanations in full, the cheapest first, until ``patience`` seconds are over; whether any was checked."""
    view = view_of(subject.model, subject.x, methods, target=target)
    waiting = [method for method in view.explanations if method not in _checked(subject, target)]
    costs = {method: view.explanations[method].cost for method in waiting}
    start, before = time.monotonic(), _checked(subject, target)
    done = set(before)
    for method in sorted(waiting, key=lambda method: costs[method].forward + costs[method].backward):
        if time.monotonic() - start > patience:
            break
        done.add(method)
        view_of(subject.model, subject.x, [method], target=target, checked=done)
    kept = st.session_state.setdefault(_CHECKED, {})
    kept[*subject.key, target] = done
    while len(kept) > _MOST_CHECKED:
        kept.pop(next(iter(kept)))
    return done > before


def _closer(subject: Subject, methods: tuple[str, ...], target: int | None) -> None:
    """What else can be asked about the sample, one question at a time, computed when it is asked."""
    from xaibench.pages.explain.alike import show_alike
    from xaibench.pages.explain.change import show_change_of_mind
    from xaibench.pages.explain.remove import show_removal

    tab = choose_view("Look closer", _TABS, key="closer")
    if tab == "remove":
        show_removal(subject, methods, target)
    elif tab == "change":
        show_change_of_mind(subject)
    else:
        show_alike(subject)
