"""Harden: train a copy that is harder to fool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from xaibench.drawing.labels import name_label
from xaibench.errors import InputError
from xaibench.pages.harden.launch import KIND
from xaibench.pages.shared import cached
from xaibench.pages.shared.address import chosen, put
from xaibench.pages.shared.charts import STILL
from xaibench.pages.shared.options import choose_one
from xaibench.pages.shared.runs import RUN, live_run
from xaibench.pages.shared.text import plain, problem
from xaibench.reading import format_threat, listed

if TYPE_CHECKING:
    from xaibench.card import Card
    from xaibench.jobs import Job
    from xaibench.pages.harden.plan import Plan

__all__ = ["show"]

_NEW = "new"
_NAMED = 3
"""Copies of a model that are named; the others are counted."""
_ERROR = "_harden.error"
"""Where in the session the reason lies why a training did not start."""


def show() -> None:
    """The page: what hardening has done, or the training that the address names, and a new one beside it."""
    from xaibench.pages.shared.subject import choose_model

    st.header("Train a copy that is harder to fool")
    name = choose_model()
    job = _choose_training(name)
    found, new = st.columns([3, 2], gap="large")
    with found:
        if job is not None:
            from xaibench.pages.harden.running import show_training

            show_training(job)
        elif name is not None:
            _show_results(name, cached.card(name))
    if name is not None:
        with new, st.container(border=True):
            st.subheader("A new training")
            _offer(name)


def _choose_training(name: str | None) -> Job | None:
    """The training to look at, from those that the app has started; None for none.

    Where neither the address nor the reader says, it is the one on this model that goes on.
    """
    from xaibench.jobs import jobs

    known = {job.id: job for job in jobs(KIND)}
    if not known:
        return None
    if name is not None and RUN not in st.session_state and not chosen(RUN) and (live := live_run(KIND, name)):
        put(**{RUN: live.id})
    trainings = {run: f"Training of {job.title}" for run, job in known.items()}
    return known.get(choose_one(st.selectbox, "Show", {_NEW: "What hardening did so far"} | trainings, key=RUN))


def _show_results(name: str, card: Card) -> None:
    """What hardening did to this model, or made it; of any model, what it did to the others."""
    from xaibench.pages.harden.results import described, overview, published

    outcomes = published()
    own = next((one for one in outcomes if name in (one.before, one.after)), None)
    if own is not None:
        st.markdown(f"#### {plain(own.headline)}")
        st.caption(plain(own.source))
    _say_others(name if own is None else own.before, shown=None if own is None else own.after)
    _show_history(own.after if own is not None else name, card)
    if outcomes:
        st.subheader("What hardening did to the models here")
        st.plotly_chart(overview(outcomes), alt=described(outcomes), config=STILL)
        st.caption(
            "Accuracy on test rows under the strictest attacks at hand, before and after; a line's length is the gain."
        )


def _say_others(model: str, *, shown: str | None) -> None:
    """Which copies of a model the app has trained besides the one that is shown, and where to look at them."""
    from xaibench.pages.harden.launch import copies_of

    others = [name for name in copies_of(model) if name != shown]
    if others:
        which = f"Hardened copies of {model}{' besides it' if shown is not None else ''}"
        st.markdown(
            f"{plain(which)}: {len(others)} ({plain(listed(others, _NAMED))})."
            " Choose a training under **Show** to see what it did."
        )


def _show_history(name: str, card: Card) -> None:
    """How a hardened model was trained, from its card."""
    from xaibench.pages.harden.running import draw_curves
    from xaibench.zoo import model_names

    if name not in model_names():
        return
    card = card if card.name == name else cached.card(name)
    threat = card.recipe.get("threat")
    if not threat or not card.history:
        return
    objective = card.recipe.get("objective", {}).get("name", "standard")
    words = format_threat(threat["norm"], float(threat["eps"]))
    st.markdown(f"How {plain(name)} was trained: {name_label(objective)} against {plain(words)}.")
    draw_curves([dict(line) for line in card.history])


def _offer(name: str) -> None:
    """The choices of a new training, how long it will take, and its start."""
    from xaibench.pages.harden.launch import seconds_of
    from xaibench.pages.harden.plan import choose_plan

    try:
        plan = choose_plan(name, cached.card(name))
        seconds = seconds_of(plan)
    except InputError as error:
        st.info(problem(error))
        return
    from xaibench.cli.stages import show_time

    st.markdown(f"**About {show_time(seconds)}** on this machine, by one step of it.")
    st.button(
        "Start hardening",
        key="harden-start",
        type="primary",
        icon=":material/play_arrow:",
        width="stretch",
        on_click=_begin,
        args=(plan, seconds),
    )
    if refused := st.session_state.pop(_ERROR, None):
        st.error(problem(refused))
    st.caption("The model itself stays as it is. The copy appears in Models when it is done.")


def _begin(plan: Plan, seconds: float) -> None:
    """Callback: start the training and look at it."""
    from xaibench.pages.harden.launch import start

    try:
        put(**{RUN: start(plan, seconds).id})
    except InputError as error:
        st.session_state[_ERROR] = str(error)
