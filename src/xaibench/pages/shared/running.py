"""Long work as a page shows it: how far it is, how long it still takes, and the buttons to stop it or go on."""

from __future__ import annotations

import shlex
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.errors import InputError
from xaibench.pages.shared.address import chosen, forget, put
from xaibench.pages.shared.links import follow, link_button
from xaibench.pages.shared.text import plain, problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from xaibench.jobs import Forecast, Job, Stage

__all__ = ["COMPARISON", "RANKING", "RUN", "VERIFIED", "launch", "show_job", "show_jobs", "stop_button", "when"]

RUN, COMPARISON, RANKING, VERIFIED = "run", "comparison", "ranking_run", "verified"
"""Keys of runs in the address: of the Robustness and Harden pages, and of those that show more than one run."""

_EVERY = 1.0
"""Seconds between two looks at a run that is alive."""
_LOOKS = {
    "waiting": ("hourglass_empty", "gray"),
    "running": ("play_circle", "blue"),
    "finished": ("check_circle", "blue"),
    "failed": ("error", "orange"),
    "stopped": ("stop_circle", "gray"),
    "interrupted": ("power_off", "orange"),
}
_LOG_LINES = 40
_HARDLY_LEFT = 0.5
"""Seconds below which nothing is said to be left."""
_PATIENCE = "10 s"
"""After which a run that was asked to stop is ended by force."""
_REFUSED = "_running.refused"
"""Where in the session the reason lies why a run did not stop."""
_GONE = "That run is not here any more: it has been removed."


def launch(begin: Callable[[], Job], *, key: str = RUN) -> bool:
    """Start a run, and let ``key`` of the address name it; what hinders it is said in a line, and gives False."""
    try:
        with st.spinner("Starting"):
            job = begin()
    except InputError as error:
        st.error(problem(error))
        return False
    put(**{key: job.id})
    return True


def show_job(job_id: str) -> None:
    """How a run stands, looked at anew every second while it is alive; when it ends, the whole page is drawn again."""
    from xaibench.jobs import find

    try:
        alive = find(job_id).is_alive
    except InputError:
        st.info(_GONE)
        return
    st.fragment(_draw, run_every=_EVERY if alive else None)(job_id, alive)


def show_jobs(kind: str | None = None, *, most: int = 8) -> None:
    """The latest runs of a kind, or of all, each with a button that opens it on its page."""
    from xaibench.jobs import jobs

    found = jobs(kind)
    if not found:
        st.caption("No runs yet.")
    for job in found[:most]:
        with st.container(horizontal=True, vertical_alignment="center"):
            _badge(job)
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


def _draw(job_id: str, was_alive: bool) -> None:
    from xaibench.jobs import find

    follow()  # the run that a link named may have ended meanwhile, and the link with it
    try:
        job = find(job_id)
    except InputError:
        st.info(_GONE)
        return
    if was_alive and not job.is_alive:
        st.rerun()
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            _badge(job)
            st.markdown(f"**{plain(job.title)}**", width="content")
        _state(job)
        with st.container(horizontal=True):
            _buttons(job)
        with st.expander("Details"):
            _details(job)


def _badge(job: Job) -> None:
    icon, colour = _LOOKS[job.state]
    st.badge("stopping" if job.stopping else job.state, icon=f":material/{icon}:", color=colour)


def _state(job: Job) -> None:
    from xaibench.cli.stages import show_time

    ran = f"{show_time(job.seconds)} so far" if job.is_alive else f"after {show_time(job.seconds)}"
    if job.stopping:
        st.caption(f"Stopping, {ran}: it ends in {_PATIENCE} at the latest.")
    elif job.state == "waiting":
        _queue(job)
    elif job.state == "running":
        stage = job.stage
        left = job.left
        st.progress(_share(job, stage, left), text=plain(_progress(job, stage, left, ran)))
    elif job.state == "finished":
        st.caption(f"Finished {ran}.")
    elif job.state == "stopped":
        st.caption(f"Stopped {ran}. What it had finished is kept, and Resume goes on from there.")
    elif job.state == "interrupted":
        st.warning(problem(f"Interrupted {ran}: {job.message}. Resume goes on from what it had finished."))
    else:
        st.error(problem(f"Failed {ran}: {job.message}"))


def _share(job: Job, stage: Stage | None, left: Forecast | None) -> float:
    """How much is done: of the whole where it is known how long that takes, else of the stage under way."""
    if left is not None and not left.is_least:
        return job.seconds / max(job.seconds + (left.low + left.high) / 2, 1e-9)
    return min(1.0, stage.done / stage.total) if stage is not None and stage.total else 0.0


def _progress(job: Job, stage: Stage | None, left: Forecast | None, ran: str) -> str:
    from xaibench.cli.stages import show_time
    from xaibench.drawing.labels import stage_label

    whole = "" if left is None else _whole(left, job.seconds, of_others=job.expected is None)
    if stage is None:
        return " · ".join(filter(None, ["Putting together" if job.stages else "Beginning", whole, ran]))
    in_stage = 0.0 if whole else job.seconds_left or 0.0
    most = "" if job.most_stages in (None, len(job.stages)) else f" of up to {job.most_stages}"
    parts = [
        f"Stage {len(job.stages)}{most}, {stage_label(stage.name)}: {stage.done} of {stage.total}",
        stage.info,
        whole or ("" if in_stage < _HARDLY_LEFT else f"about {show_time(in_stage)} left in this stage"),
        ran,
    ]
    return " · ".join(filter(None, parts))


def _whole(left: Forecast, ran: float, *, of_others: bool) -> str:
    """How long the whole still takes, with what that is judged by where it is not the model itself.

    Other models tell the last stages of a run of ``ran`` seconds badly: once they leave it less than that, their range
    is no more than a lower bound.
    """
    from xaibench.cli.stages import show_time

    if left.high < _HARDLY_LEFT:
        return ""
    low, high = show_time(left.low), show_time(left.high)
    if left.is_least or (of_others and left.high < ran):
        return f"at least {low} left" if left.low >= _HARDLY_LEFT else ""
    judged = ", judged by other models" if of_others else ""
    return f"{low} to {high} left{judged}" if low != high else f"about {high} left{judged}"


def _ahead(job: Job) -> list[Job]:
    """The runs that a waiting one waits for, that which comes next to its end first."""
    from xaibench.jobs import jobs

    found = [
        other
        for other in jobs()
        if other.state == "running" or (other.state == "waiting" and (other.queued, other.id) < (job.queued, job.id))
    ]
    return sorted(found, key=lambda other: (other.state != "running", other.queued, other.id))


def _queue(job: Job) -> None:
    """What a waiting run waits for, each with a button that opens it."""
    ahead = _ahead(job)
    if not ahead:
        st.caption("Its turn comes now.")
        return
    runs = "another run" if len(ahead) == 1 else f"{len(ahead)} other runs"
    st.caption(f"Waits for {runs}: one after the other has the machine.")
    for other in ahead:
        with st.container(horizontal=True, vertical_alignment="center"):
            _badge(other)
            _link(other, "ahead")


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


def _place(job: Job) -> tuple[str, dict[str, str]]:
    """The page that a run belongs to and what its address says there; no page for a kind that none shows."""
    subject = Path(job.arguments[1]).name if len(job.arguments) > 1 else ""
    return {
        "report": ("robustness", {"model": subject, RUN: job.id}),
        "harden": ("harden", {"model": subject, RUN: job.id}),
        "compare": ("compare", {COMPARISON: job.id}),
        "rank": ("explanations", {"view": "ranking", "model": subject, RANKING: job.id}),
        "verify": ("reports", {"report": subject, VERIFIED: job.id}),
    }.get(job.kind, ("", {}))


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


def _stop(job: Job) -> None:
    """Callback: the run is drawn after it, so that it says at once that it stops."""
    from xaibench.jobs import stop

    try:
        stop(job)
    except InputError as error:
        st.session_state[_REFUSED] = str(error)


def _buttons(job: Job) -> None:
    from xaibench.jobs import resume

    if job.is_alive:
        stop_button(job)
    elif job.state != "finished" and st.button("Resume", key=f"resume-{job.id}", icon=":material/play_arrow:"):
        _try(lambda: resume(job))


def _try(act: Callable[[], object]) -> None:
    try:
        act()
    except InputError as error:
        st.error(problem(error))
    else:
        st.rerun()


def _details(job: Job) -> None:
    from xaibench.cli.stages import show_time
    from xaibench.drawing.labels import stage_label

    done = [f"{stage_label(stage.name)} {show_time(stage.seconds)}" for stage in job.stages if stage.is_done]
    if done:
        st.caption(plain("Finished stages: " + ", ".join(done)))
    st.caption(f"Started {when(job.created)}. The same in a terminal:")
    st.code(shlex.join(("xaibench", *job.arguments)), language="shell", wrap_lines=True)
    if log := job.log.strip():
        st.caption("What it said:")
        st.code("\n".join(log.splitlines()[-_LOG_LINES:]), language=None, wrap_lines=True)


def _remove(job: Job) -> None:
    from xaibench.jobs import remove

    for key in (RUN, COMPARISON, RANKING, VERIFIED):
        if chosen(key) == job.id:
            forget(key)
    with suppress(InputError):  # another session has removed or resumed it: the list shows how it stands
        remove(job)
