"""One run as a page starts and shows it: how it stands, the buttons to stop it or go on, and what it said."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.errors import InputError
from xaibench.pages.shared.address import put
from xaibench.pages.shared.links import follow
from xaibench.pages.shared.progress import progress_share, progress_words
from xaibench.pages.shared.runs import RUN, badge, show_queue, stop_button, when
from xaibench.pages.shared.text import plain, problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from xaibench.jobs import Job

__all__ = ["launch", "show_job"]

_EVERY = 1.0
"""Seconds between two looks at a run that is alive."""
_LOG_LINES = 40
_PATIENCE = "10 s"
"""After which a run that was asked to stop is ended by force."""
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
            badge(job)
            st.markdown(f"**{plain(job.title)}**", width="content")
        _state(job)
        with st.container(horizontal=True):
            _buttons(job)
        with st.expander("Details"):
            _details(job)


def _state(job: Job) -> None:
    from xaibench.cli.stages import show_time

    ran = f"{show_time(job.seconds)} so far" if job.is_alive else f"after {show_time(job.seconds)}"
    if job.stopping:
        st.caption(f"Stopping, {ran}: it ends in {_PATIENCE} at the latest.")
    elif job.state == "waiting":
        show_queue(job)
    elif job.state == "running":
        stage, left = job.stage, job.left
        st.progress(progress_share(job, stage, left), text=plain(progress_words(job, stage, left, ran)))
    elif job.state == "finished":
        st.caption(f"Finished {ran}.")
    elif job.state == "stopped":
        st.caption(f"Stopped {ran}. What it had finished is kept, and Resume goes on from there.")
    elif job.state == "interrupted":
        st.warning(problem(f"Interrupted {ran}: {job.message}. Resume goes on from what it had finished."))
    else:
        st.error(problem(f"Failed {ran}: {job.message}"))


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
