"""Runs as pages name, list and stop them: long work, each in a process of its own."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.errors import InputError
from xaibench.pages.shared.address import chosen, forget
from xaibench.pages.shared.links import link_button
from xaibench.pages.shared.text import plain, problem

if TYPE_CHECKING:
    from xaibench.jobs import Job

__all__ = [
    "COMPARISON",
    "RANKING",
    "RUN",
    "VERIFIED",
    "badge",
    "live_run",
    "show_jobs",
    "show_queue",
    "stop_button",
    "when",
]

RUN, COMPARISON, RANKING, VERIFIED = "run", "comparison", "ranking_run", "verified"
"""Keys of runs in the address: of the Robustness and Harden pages, and of those that show more than one run."""

_LOOKS = {
    "waiting": ("hourglass_empty", "gray"),
    "running": ("play_circle", "blue"),
    "finished": ("check_circle", "blue"),
    "failed": ("error", "orange"),
    "stopped": ("stop_circle", "gray"),
    "interrupted": ("power_off", "orange"),
}
_REFUSED = "_runs.refused"
"""Where in the session the reason lies why a run did not stop."""


def show_jobs(kind: str | None = None, *, most: int = 8) -> None:
    """The latest runs of a kind, or of all, each with a button that opens it on its page."""
    from xaibench.jobs import jobs

    found = jobs(kind)
    if not found:
        st.caption("No runs yet.")
    for job in found[:most]:
        with st.container(horizontal=True, vertical_alignment="center"):
            badge(job)
            _link(job, "open")
            if job.is_alive:
                stop_button(job, key=f"end-{job.id}")
            else:
                st.button(
                    "Remove",
                    key=f"remove-{job.id}",
                    icon=":material/close:",
                    type="tertiary",
                    help="Take it off this list; what it wrote stays",
                    on_click=_remove,
                    args=(job,),
                )


def live_run(kind: str, model: str) -> Job | None:
    """The newest run of a kind on a model that waits or runs; None where there is none."""
    from xaibench.jobs import jobs

    return next((job for job in jobs(kind) if job.is_alive and _subject(job) == model), None)


def show_queue(job: Job) -> None:
    """What a waiting run waits for, each with a button that opens it."""
    ahead = _ahead(job)
    if not ahead:
        st.caption("Its turn comes now.")
        return
    runs = "another run" if len(ahead) == 1 else f"{len(ahead)} other runs"
    st.caption(f"Waits for {runs}: one after the other has the machine.")
    for other in ahead:
        with st.container(horizontal=True, vertical_alignment="center"):
            badge(other)
            _link(other, "ahead")


def badge(job: Job) -> None:
    """The state of a run, as an icon and a word."""
    icon, colour = _LOOKS[job.state]
    st.badge("stopping" if job.stopping else job.state, icon=f":material/{icon}:", color=colour)


def stop_button(job: Job, key: str = "") -> None:
    """A button that asks a run to stop; once that is asked, it says so."""
    st.button(
        "Stopping" if job.stopping else "Stop",
        key=key or f"stop-{job.id}",
        icon=":material/stop:",
        disabled=job.stopping,
        help="What it has finished is kept",
        on_click=_stop,
        args=(job,),
    )
    if refused := st.session_state.pop(_REFUSED, None):
        st.error(problem(refused))


def when(moment: float | str) -> str:
    """A moment, in seconds since the epoch or as ISO 8601 writes it, in local time.

    >>> import os, time; os.environ["TZ"] = "UTC"; time.tzset()
    >>> when(0)
    '1 January 1970, 00:00'
    >>> when("2026-03-01T12:30:00+00:00")
    '1 March 2026, 12:30'
    """
    told = time.localtime(datetime.fromisoformat(moment).timestamp() if isinstance(moment, str) else moment)
    return f"{told.tm_mday} {time.strftime('%B %Y, %H:%M', told)}"


def _ahead(job: Job) -> list[Job]:
    """The runs that a waiting one waits for, that which comes next to its end first."""
    from xaibench.jobs import jobs

    found = [
        other
        for other in jobs()
        if other.state == "running" or (other.state == "waiting" and (other.queued, other.id) < (job.queued, job.id))
    ]
    return sorted(found, key=lambda other: (other.state != "running", other.queued, other.id))


def _link(job: Job, key: str) -> None:
    """The title of a run as a button that opens it on its page."""
    page, choices = _place(job)
    if page:
        told = f"Show this run of {when(job.created)}"
        link_button(
            plain(job.title), page, key=f"{key}-{job.id}", kind="tertiary", width="content", help=told, **choices
        )
    else:
        st.markdown(plain(job.title), width="content")


def _subject(job: Job) -> str:
    """The name of the model, or of the report, that a run is about."""
    return Path(job.arguments[1]).name if len(job.arguments) > 1 else ""


def _place(job: Job) -> tuple[str, dict[str, str]]:
    """The page that a run belongs to and what its address says there; no page for a kind that none shows."""
    subject = _subject(job)
    return {
        "report": ("robustness", {"model": subject, RUN: job.id}),
        "harden": ("harden", {"model": subject, RUN: job.id}),
        "compare": ("compare", {COMPARISON: job.id}),
        "rank": ("explanations", {"view": "ranking", "model": subject, RANKING: job.id}),
        "verify": ("reports", {"report": subject, VERIFIED: job.id}),
    }.get(job.kind, ("", {}))


def _stop(job: Job) -> None:
    """Callback: the run is drawn after it, so that it says at once that it stops."""
    from xaibench.jobs import stop

    try:
        stop(job)
    except InputError as error:
        st.session_state[_REFUSED] = str(error)


def _remove(job: Job) -> None:
    from xaibench.jobs import remove

    for key in (RUN, COMPARISON, RANKING, VERIFIED):
        if chosen(key) == job.id:
            forget(key)
    with suppress(InputError):  # another session has removed or resumed it: the list shows how it stands
        remove(job)
