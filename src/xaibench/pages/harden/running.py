"""A training that the app started: how it stands, its curves while they grow, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.pages.harden.curves import Log, alarms, held_out, held_out_chart, loss_chart, said
from xaibench.pages.harden.launch import threat_of
from xaibench.pages.harden.results import outcome_of
from xaibench.pages.shared.charts import STILL
from xaibench.pages.shared.links import link_button
from xaibench.pages.shared.running import show_job
from xaibench.pages.shared.text import plain

if TYPE_CHECKING:
    from xaibench.jobs import Job

__all__ = ["draw_curves", "show_training"]

_EVERY = 2.0
"""Seconds between two looks at the curves: as often as the training writes its log."""
_LOGS = "_harden.logs"


def show_training(job: Job) -> None:
    """The whole view of one training."""
    if job.state == "finished" and job.out is not None:
        _show_outcome(job, job.out)
    show_job(job.id)
    st.fragment(_show_curves, run_every=_EVERY if job.is_alive else None)(job)


def _show_outcome(job: Job, out: Path) -> None:
    before, after = job.arguments[1], out.name
    norm, eps = threat_of(job)
    outcome = outcome_of(job.result, before=before, after=after, norm=norm, eps=eps)
    st.markdown(f"#### {plain(after)} is among the models.")
    if outcome is not None:
        st.markdown(plain(outcome.sentence))
        st.caption(plain(outcome.source))
    with st.container(horizontal=True):
        link_button("Explain it", "explain", key="harden-explain", icon=":material/search_insights:", model=after)
        link_button("Attack it", "attack", key="harden-attack", icon=":material/bolt:", model=after)
        link_button(
            "Compare the two", "compare", key="harden-compare", icon=":material/compare_arrows:", a=before, b=after
        )


def _show_curves(job: Job) -> None:
    if job.out is None:
        return
    log = _log(job, job.out)
    log.look()
    draw_curves(log.epochs, log.steps)


def draw_curves(epochs: list[dict], steps: list[dict] | None = None) -> None:
    """Held-out accuracy and training loss side by side, and the alarms of the training."""
    for alarm in alarms(epochs):
        st.warning(plain(alarm), icon=":material/warning:")
    lines, unit = (steps, "step") if steps else (epochs, "epoch")
    if not lines:
        st.caption("The curves begin with the first step.")
        return
    charts = st.columns(2) if held_out(epochs) else [st.container()]
    if held_out(epochs):
        with charts[0]:
            st.plotly_chart(held_out_chart(epochs), alt=said(epochs), config=STILL)
    with charts[-1]:
        text = f"Training loss: {lines[0]['loss']:.3g} at {unit} {lines[0][unit]}, {lines[-1]['loss']:.3g} at the end"
        st.plotly_chart(loss_chart(lines, unit=unit), alt=text, config=STILL)
    if lines[0].get("eps", 0) < lines[-1].get("eps", 0):
        st.caption("The radius grows from zero in the first part of a training, and the training loss with it.")


def _log(job: Job, out: Path) -> Log:
    """What this session has read of a training's log so far; that of a finished one lies in its model's folder."""
    working = out / ".training" / "log.jsonl"
    path = working if working.exists() else out / "log.jsonl"
    logs: dict[str, Log] = st.session_state.setdefault(_LOGS, {})
    known = logs.get(job.id)
    if known is None or known.path != path:
        logs.clear()  # one training is looked at at a time
        known = logs[job.id] = Log(path)
    return known
