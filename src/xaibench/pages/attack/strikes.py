"""Attacks made while the reader watches, each kept once it is through."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import streamlit as st

from xaibench.pages.shared import cached
from xaibench.pages.shared.kept import Kept

if TYPE_CHECKING:
    from collections.abc import Hashable

    from streamlit.delta_generator import DeltaGenerator

    from xaibench.pages.attack.choices import Plan
    from xaibench.pages.shared.subject import Subject
    from xaibench.robustness import Strike, Trajectory

__all__ = ["SECONDS", "key_of", "store", "strike_at"]

SECONDS: Final = 30.0
"""One attack may take as long: a reader waits no longer, and other sessions share the processor."""
_LOOKS: Final = 50_000
"""Points that one attack may ask the model about: ten times what a query attack takes."""
_KEPT: Final = 400
"""Results for all sessions: a page has some twenty, each of up to a few hundred kilobytes."""
_EVERY: Final = 0.3
"""Seconds between two pictures of an attack under way: often enough to see it move."""


@st.cache_resource(show_spinner=False)
def store() -> Kept[Any]:
    """What was found by any session, by `key_of`."""
    return Kept(_KEPT)


def key_of(subject: Subject, plan: Plan, *more: Hashable) -> tuple[Hashable, ...]:
    """All that a result depends on, but for the radius, and ``more``."""
    rules = (plan.norm, str(plan.attack), plan.target, plan.immutable, subject.sample_id)
    return (*subject.key, *rules, *more)


def strike_at(subject: Subject, plan: Plan, eps: float, place: DeltaGenerator | None = None) -> Strike:
    """The attack at a radius; drawn in ``place`` while it runs."""
    from xaibench.attacks import attacks
    from xaibench.robustness import strike

    key = key_of(subject, plan, "strike", eps)
    found: Strike | None = store().get(key)
    if found is not None:
        return found
    return store().put(
        key,
        strike(
            subject.model,
            subject.x,
            subject.prediction,
            plan.threat(eps),
            attacks.create(plan.attack),
            target=plan.target,
            sample_id=subject.sample_id,
            seconds=SECONDS,
            looks=_LOOKS,
            watch=None if place is None else _Watch(subject, place),
            guard=cached.one_at_a_time,
        ),
    )


class _Watch:
    """Draws an attack under way, now and then."""

    def __init__(self, subject: Subject, place: DeltaGenerator) -> None:
        self._subject, self._place, self._last = subject, place, time.monotonic()

    def __call__(self, trajectory: Trajectory) -> None:
        if time.monotonic() - self._last < _EVERY:
            return
        from xaibench.pages.attack.curves import show_course

        with self._place.container():
            st.caption(f"The attack is under way: {trajectory.looks} looks at the model so far.")
            show_course(self._subject.model.class_names, trajectory, key=f"course {len(trajectory)}")
        self._last = time.monotonic()
