"""What an attack cost and how far it went, and whether chance does as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import streamlit as st

from xaibench.drawing.html import facts
from xaibench.pages.attack.choices import reach
from xaibench.pages.attack.strikes import store
from xaibench.pages.shared import cached
from xaibench.pages.shared.text import plain

if TYPE_CHECKING:
    from xaibench.pages.attack.choices import Plan
    from xaibench.pages.shared.subject import Subject
    from xaibench.robustness import Strike

__all__ = ["distances", "show_figures"]

_DRAWS: Final = 100
"""Random changes that are tried: one batch."""


def show_figures(subject: Subject, plan: Plan, strike: Strike) -> None:
    """One line of figures, and a sentence about noise of the same size."""
    looks, passes = strike.trajectory.looks, len(strike.trajectory)
    many = f"{looks:,}" if looks == passes else f"{looks:,} in {passes:,} pass{'es' * (passes > 1)}"
    cost = (("looks at the model", many), ("time", f"{strike.seconds:.2g} s"))
    found = distances(plan, strike) if strike.broken else ()
    st.html(facts((*((f"{name} distance", value) for name, value in found), *cost)))
    if plan.norm == "spatial":
        return
    share = _noise(subject, plan)
    changed = f"{share * _DRAWS:.0f} of {_DRAWS} random changes of at most {reach(plan)} alter what it says"
    end = "" if share or not strike.broken else ": this takes an adversary"
    st.caption(plain(f"{changed}{end}."))


def distances(plan: Plan, strike: Strike) -> tuple[tuple[str, str], ...]:
    """How far what was found is from the clean input, in every norm of the task."""
    from xaibench.evaluate.settle import customary_threat
    from xaibench.reading import norm_label

    if plan.model.task == "text":
        return (("word", f"{float(strike.threat.distance(strike.found, strike.x)):.0f}"),)
    lines = []
    for norm in ("linf", "l2", "l1", "l0"):
        ball = customary_threat(norm, 1, plan.model)
        value = float(ball.distance(strike.found, strike.x))
        lines.append((norm_label(norm), f"{value:.0f} of {strike.x[0].numel()}" if norm == "l0" else f"{value:.4g}"))
    return tuple(lines)


def _noise(subject: Subject, plan: Plan) -> float:
    from xaibench.robustness import noise

    key = (*subject.key, plan.norm, plan.immutable, "noise", plan.eps)
    found: float | None = store().get(key)
    if found is None:
        with cached.one_at_a_time:
            share = noise(subject.model, subject.x, subject.prediction, plan.threat(), draws=_DRAWS)
        found = store().put(key, share)
    return found
