"""Long work as a page shows it: how far it is, how long it still takes, and the buttons to stop it or go on."""

from __future__ import annotations

import shlex
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.errors import InputError
from xaibench.pages.shared.address import chosen, forget, put
from xaibench.pages.shared.text import plain, problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from xaibench.jobs import Forecast, Job, Stage

__all__ = ["RUN", "launch", "show_job", "show_jobs", "when"]

RUN = "run"
"""The key of a run in the address."""

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


def show_jobs(kind: str, *, key: str = RUN, most: int = 8) -> None:
    """The latest runs of a kind, each with a button that opens it (its id goes to ``key`` of the address)."""
    from xaibench.jobs import jobs

    found = jobs(kind)
    if not found:
        st.caption("No runs yet.")
    for job in found[:most]:
        with st.container(horizontal=True, vertical_alignment="center"):
            _badge(job)
            st.button(
                plain(job.title),
                key=f"open-{job.id}",
                type="tertiary",
                help=f"Show this run of {when(job.created)}",
                on_click=put,
                kwargs={key: job.id},
            )
            if not job.is_alive:
                st.button(
                    "Remove",
                    key=f"remove-{job.id}",
                    icon=":material/close:",
                    type="tertiary",
                    help="Take it off this list; what it wrote stays",
                    on_click=_remove,
                    args=(job, key),
                )


def when(moment: float) -> str:
    """A moment, in seconds since the epoch, in local time.

    >>> import os, time; os.environ["TZ"] = "UTC"; time.tzset()
    >>> when(0)
    '1 January 1970, 00:00'
    """
    told = time.localtime(moment)
    return f"{told.tm_mday} {time.strftime('%B %Y, %H:%M', told)}"


def _draw(job_id: str, was_alive: bool) -> None:
    from xaibench.jobs import find

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
    if job.state == "waiting":
        st.caption(_queue(job))
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

    whole = "" if left is None else _whole(left, of_others=job.expected is None)
    if stage is None:
        return " · ".join(filter(None, ["Putting together" if job.stages else "Beginning", whole, ran]))
    in_stage = None if whole else job.seconds_left
    most = "" if job.most_stages in (None, len(job.stages)) else f" of up to {job.most_stages}"
    parts = [
        f"Stage {len(job.stages)}{most}, {stage_label(stage.name)}: {stage.done} of {stage.total}",
        stage.info,
        whole or ("" if in_stage is None else f"about {show_time(in_stage)} left in this stage"),
        ran,
    ]
    return " · ".join(filter(None, parts))


def _whole(left: Forecast, *, of_others: bool) -> str:
    """How long the whole still takes, with what that is judged by where it is not the model itself."""
    from xaibench.cli.stages import show_time

    if left.high < _HARDLY_LEFT:
        return ""
    low, high = show_time(left.low), show_time(left.high)
    if left.is_least:
        return f"at least {low} left"
    return f"{low} to {high} left, judged by other models" if of_others and low != high else f"about {high} left"


def _queue(job: Job) -> str:
    from xaibench.jobs import jobs

    ahead = [
        other
        for other in jobs()
        if other.state == "running" or (other.state == "waiting" and (other.queued, other.id) < (job.queued, job.id))
    ]
    if not ahead:
        return "Its turn comes now."
    return f"Waits for {len(ahead)} other {'run' if len(ahead) == 1 else 'runs'}: one after the other has the machine."


def _buttons(job: Job) -> None:
    from xaibench.jobs import resume, stop

    if job.is_alive:
        if st.button("Stop", key=f"stop-{job.id}", icon=":material/stop:", disabled=job.stopping):
            _try(lambda: stop(job))
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


def _remove(job: Job, key: str) -> None:
    from xaibench.jobs import remove

    if chosen(key) == job.id:
        forget(key)
    with suppress(InputError):  # another session has removed or resumed it: the list shows how it stands
        remove(job)
