"""Attack: what it takes to change a model's mind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.errors import UnsupportedError
from xaibench.pages.shared import cached
from xaibench.pages.shared.address import forget, part, put
from xaibench.pages.shared.radii import written
from xaibench.pages.shared.text import plain
from xaibench.reading import percent

if TYPE_CHECKING:
    from xaibench.pages.attack.choices import Plan
    from xaibench.pages.shared.subject import Subject
    from xaibench.robustness import Strike

__all__ = ["show"]

_BLACK_BOX = ("square", "hop_skip_jump", "salt_and_pepper", "character_edits")
"""Attacks that need no gradients, the first that come to mind for each norm and task."""
_EXPLANATIONS = 2
"""Methods shown before and after, unless the reader chooses others."""
_HARDLY = 0.001
"""A step of what `percent` says: confidences nearer to each other may read alike."""


def show() -> None:
    """The page: the sample at the side, the attack and what it did in the middle."""
    st.header("What does it take to break it?")
    from xaibench.pages.attack.first import first_row
    from xaibench.pages.shared.choices import choose_explanations
    from xaibench.pages.shared.subject import choose_subject

    subject = choose_subject(first=first_row)
    if subject is None:
        return
    if subject.model.num_classes < 2:
        st.info("A model of one class has no other class to be driven to.")
        return
    if subject.label is not None and subject.label != subject.prediction:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown("The model gets this sample wrong as it is; an attack makes it change its mind once more.")
            st.button("Show one that it gets right", key="right one", on_click=_show_right)
    methods = choose_explanations(subject, _EXPLANATIONS, key="explained")
    _attack(subject, methods)


@part
def _attack(subject: Subject, methods: tuple[str, ...]) -> None:
    """What runs again when a choice of the attack changes."""
    from xaibench.pages.attack.choices import choose_plan
    from xaibench.pages.attack.edges import least_break
    from xaibench.pages.attack.strikes import strike_at

    finding = st.container()
    plan = choose_plan(subject)
    place = st.empty()
    try:
        strike = strike_at(subject, plan, plan.eps, place)
    except UnsupportedError as error:
        _refuse(plan, error)
        return
    with place.container():
        least = None if strike.broken else least_break(subject, plan, strike)
    place.empty()
    with finding:
        _say(subject, plan, strike)
        if not strike.broken:
            _say_least(subject, plan, least)
    if not strike.broken and least is not None and least[1].broken:
        _results(subject, plan, replace(plan, eps=least[0]), least[1], methods)
    else:
        _results(subject, plan, plan, strike, methods)


def _results(subject: Subject, plan: Plan, shown: Plan, strike: Strike, methods: tuple[str, ...]) -> None:
    """What the attack did at the radius of ``shown``: the plan's, or the breaking point where the plan does nothing."""
    from xaibench.pages.attack.choices import reach
    from xaibench.pages.attack.curves import show_course
    from xaibench.pages.attack.downloads import show_downloads
    from xaibench.pages.attack.edges import show_edge
    from xaibench.pages.attack.figures import show_figures
    from xaibench.pages.attack.notice import show_notice
    from xaibench.pages.attack.sights import show_sight
    from xaibench.pages.shared.views import View, show_probabilities

    sight, chart = st.columns([2.2, 1], gap="large")
    with sight:
        show_sight(subject, strike)
    with chart:
        views = {"before": View(x=strike.x, probabilities=strike.before, explanations={}, refused={})}
        if strike.broken:
            views["after"] = View(x=strike.found, probabilities=strike.after, explanations={}, refused={})
        show_probabilities(subject.model, views)
    show_figures(subject, shown, strike)
    if strike.broken:
        show_downloads(subject, shown, strike)
    st.subheader("How the attack went")
    if shown is not plan:
        st.caption(f"Within {plain(reach(shown))}, as all above; not within the epsilon that was chosen.")
    rival = int(strike.after.argmax()) if strike.broken else None
    show_course(subject.model.class_names, strike.trajectory, key="course", rival=rival)
    edge = st.container()
    show_notice(subject, strike, methods)
    with edge:  # last, for it takes the longest
        show_edge(subject, plan, strike)


def _say(subject: Subject, plan: Plan, strike: Strike) -> None:
    """The finding in a sentence or two."""
    from xaibench.pages.attack.choices import reach

    names = subject.model.class_names
    said = f"It says **{plain(names[subject.prediction])}** with {percent(float(strike.before.max()))}"
    if subject.label is not None and subject.label != subject.prediction:
        st.markdown(f"#### {said}, and is wrong without any attack: it is **{plain(names[subject.label])}**.")
    else:
        st.markdown(f"#### {said}{', which is right' if subject.label is not None else ''}.")
    within = plain(reach(plan))
    if strike.broken:
        now, sure = plain(names[int(strike.after.argmax())]), percent(float(strike.after.max()))
        change = f"at most {within}"
        if plan.norm == "words":
            change = plain(reach(plan, float(strike.threat.distance(strike.found, strike.x))))
        st.markdown(f"#### A change of {change} makes it say **{now}** with {sure}.")
        return
    aim = "alters what it says" if plan.target is None else f"makes it say {plain(names[plan.target])}"
    lowest = strike.trajectory.lowest(plan.eps)
    if float(strike.before.max()) - lowest < _HARDLY:
        rest = ", and hardly moves the model's confidence"
    else:
        rest = f"; it brings it down to {percent(lowest)}"
    st.markdown(f"{plain(plan.label)} finds no change of at most {within} that {aim}{rest}.")
    if strike.stopped:
        st.caption(f"It was stopped after {strike.seconds:.0f} s and {strike.trajectory.looks} looks at the model.")


def _say_least(subject: Subject, plan: Plan, least: tuple[float, Strike] | None) -> None:
    """What it takes instead, and the ways to see it."""
    from xaibench.pages.attack.choices import reach

    breaks = least is not None and least[1].broken
    if least is not None and not breaks:
        st.markdown(f"Nor does it up to **{plain(reach(plan, least[0]))}**, the end of the slider.")
    elif least is not None:
        needed, now = plain(reach(plan, least[0])), plain(subject.model.class_names[int(least[1].after.argmax())])
        st.markdown(f"It takes **{needed}** to make it say **{now}**: that is what is shown here.")
    with st.container(horizontal=True):
        if least is not None and breaks:
            eps = {"eps": written(least[0])}
            st.button("Set epsilon to that", key="to least", type="primary", on_click=put, kwargs=eps)
        easier = _easier(subject)
        if easier is not None and st.button("Show a sample that is easier to break", key="easier"):
            put(sample=str(easier))
            st.rerun()


def _easier(subject: Subject) -> int | None:
    """The row that the page opens with; None where it is on show, and where nearness cannot be told."""
    from xaibench.pages.attack.first import first_row

    model, data = subject.model, subject.data
    if subject.row is None or model.task == "text":
        return None
    place = first_row(model, data, cached.probabilities(model, data, (cached.identity(model), data.digest)))
    row = None if place is None else int(data.ids[place])
    return row if row != subject.row else None


def _show_right() -> None:
    put(show="right")
    forget("sample")


def _refuse(plan: Plan, error: UnsupportedError) -> None:
    """Why the attack cannot be made, and which can."""
    st.info(plain(f"{plan.label} cannot be made here: {error}."))
    from xaibench.attacks.base import attacks_for

    exist = attacks_for(plan.model.task, plan.norm)
    others = [name for name in _BLACK_BOX if name in exist]
    if others and plan.attack.name not in others:
        from xaibench.drawing.labels import name_label

        with st.container(horizontal=True):
            for name in others:
                label = f"Try {name_label(name)}, which needs no gradients"
                st.button(label, key=f"instead {name}", on_click=put, kwargs={"attack": name})
