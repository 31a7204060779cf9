"""The Robustness page: how much of a model's accuracy survives attacks, measured in the background."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.errors import InputError
from xaibench.pages.robustness.card import show_card
from xaibench.pages.robustness.findings import show_findings
from xaibench.pages.robustness.launch import show_launch
from xaibench.pages.shared import cached
from xaibench.pages.shared.address import chosen, forget, keep, put
from xaibench.pages.shared.finished import report, reports_of
from xaibench.pages.shared.options import choose_one
from xaibench.pages.shared.running import show_job
from xaibench.pages.shared.runs import RUN, live_run, show_jobs
from xaibench.pages.shared.subject import choose_model
from xaibench.pages.shared.text import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xaibench.jobs import Job
    from xaibench.report import Report

__all__ = ["show"]

_KIND = "report"


def show() -> None:
    """Draw the page."""
    st.header("How much survives attacks?")
    name = choose_model()
    if name is None:
        return
    found = reports_of(name)
    job = _asked() or _under_way(name, found)
    if job is not None:  # before all else: who has just started it sees that it has begun
        show_job(job.id)
    shown = _choose_report(name, found, job)
    card, latest = cached.card(name), next(iter(found.values()), None)
    with st.expander(
        "Measure" if shown is None else "Measure again",
        icon=":material/play_arrow:",
        expanded=shown is None and job is None,
    ):
        show_launch(name, card, latest)
    if shown is not None:
        show_findings(shown, found[shown], card)
    elif job is None:
        show_card(card)
        st.markdown(
            "There is no report on this model yet. **Start** attacks it in the background with the strongest attacks"
            " that fit, proves what cannot be broken, and says whether the numbers can be trusted; the page may be"
            " closed meanwhile."
        )
    with st.expander("Runs", icon=":material/history:"):
        show_jobs(_KIND)


def _asked() -> Job | None:
    """The run that the address names, if it is one of this page."""
    from xaibench.jobs import find

    if not chosen(RUN):
        return None
    try:
        job = find(chosen(RUN))
    except InputError:
        st.warning("The run that this address names is not here any more.")
        forget(RUN)
        return None
    if job.kind != _KIND:
        return None
    keep(RUN)
    return job


def _under_way(name: str, found: Mapping[str, Report]) -> Job | None:
    """The run on this model that goes on, named in the address from now on: a reload may come before it says so.

    Not beside an earlier report that the reader has chosen.
    """
    if chosen("evaluation") in [*found][1:]:
        return None
    job = live_run(_KIND, name)
    if job is not None:
        put(**{RUN: job.id})
        keep(RUN)
    return job


def _choose_report(name: str, found: Mapping[str, Report], job: Job | None) -> str | None:
    """The report that is shown: that of the run in the address, the one chosen, or the latest."""
    asked = chosen("evaluation")
    if asked and asked not in found:
        try:
            st.info(plain(f"{asked} is a report on {report(asked).model.name}: choose that model to see it."))
        except InputError:
            st.info(plain(f"There is no report {asked} that can be read; below is what there is on {name}."))
        forget("evaluation")
    if not found:
        return None
    own = job.out.name if job is not None and job.out is not None else None
    return choose_one(
        st.sidebar.selectbox,
        "Report",
        {name: _label(one) for name, one in found.items()},
        key="evaluation",
        default=own if own in found else None,
        stated=True,
    )


def _label(report: Report) -> str:
    from xaibench.reading import format_threat

    robustness = report.results.robustness
    threat = format_threat(robustness.norm, robustness.eps) if robustness else "no attack"
    finished = datetime.fromisoformat(report.timings.finished).astimezone()
    return f"{threat}, n {report.data.n}, {finished.day} {finished:%b %H:%M}"
