"""Whether a report's claims are true: the button that checks them again, and what the run found line by line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.errors import InputError
from xaibench.pages.reports.shelf import Item
from xaibench.pages.shared import finished
from xaibench.pages.shared.address import keep
from xaibench.pages.shared.running import launch
from xaibench.pages.shared.runs import VERIFIED, stop_button
from xaibench.pages.shared.text import problem

if TYPE_CHECKING:
    from xaibench.jobs import Job

__all__ = ["show_verified"]


def show_verified(item: Item, document: Path) -> None:
    """A button that checks every claim again, in a process of its own, and what the latest run found.

    A run that the address names comes before later ones; while one is alive, no other begins.
    """
    from xaibench.homes import model_names
    from xaibench.jobs import start

    if finished.report(item.name).plan.model not in model_names():
        st.caption("It can be verified where its model is: `xaibench verify` in a terminal there.")
        return
    folder = str(document.parent)
    if st.button("Verify its claims", icon=":material/fact_check:", help="Derives every number again from the model"):
        launch(lambda: start(("verify", folder), kind="verify", title=f"Verify {item.name}"), key=VERIFIED)
    job = _run_of(folder, keep(VERIFIED))
    if job is None:
        return
    if _has_changed(item, document, job):
        st.info("The report has changed since it was verified: verify it again.")
    else:
        st.fragment(_claims, run_every=1.0 if job.is_alive else None)(job.id, job.is_alive)


def _run_of(folder: str, named: str) -> Job | None:
    """The run of this id, else the latest, that verifies the report in a folder; None where there is none."""
    from xaibench.jobs import jobs

    found = [job for job in jobs("verify") if job.arguments[1:] == (folder,)]
    return next((job for job in found if job.id == named), next(iter(found), None))


def _has_changed(item: Item, document: Path, job: Job) -> bool:
    """Whether any file is another than was verified; where nothing was, whether any was written since.

    What a verification finds first names the document by its digest, and that states those of all other files.
    """
    from xaibench.report.verify import DIGITS

    found = job.result.partition("\n")[0]
    if "digest" not in found and job.state != "finished":
        return any(path.stat().st_mtime > job.queued for path in item.files)
    stated = finished.report(item.name).stated
    return f" {finished.digest(document)[:DIGITS]}," not in found or any(
        finished.digest(document.parent / name) != digest for name, digest in stated.items()
    )


def _claims(name: str, was_alive: bool) -> None:
    from xaibench.jobs import find

    try:
        job = find(name)
    except InputError:  # another session has removed it
        return
    if was_alive and not job.is_alive:
        st.rerun()
    with st.container(border=True):
        lines = [line for line in job.result.splitlines() if line.strip()]
        st.markdown(_verdict(job, len(lines)))
        if lines:
            st.code("\n".join(lines), language=None, wrap_lines=True)
        if job.is_alive:
            stop_button(job)


def _verdict(job: Job, held: int) -> str:
    groups = f"{held} group{'' if held == 1 else 's'} of claims"
    if job.stopping:
        return f"Stopping: {groups} held until then."
    if job.state == "waiting":
        return "Waits for its turn: one run after the other has the machine."
    if job.state == "running":
        return f"Verifying: {groups} hold so far." if held else "Verifying: it loads the model and the samples first."
    if job.state == "finished":
        return (
            f"**Every claim holds** of the page, the numbers and the examples as they lie here: {held} groups were"
            " derived again and agree."
        )
    if job.state == "stopped":
        return f"**Stopped** before every claim was checked: {groups} held until then."
    return f"**It could not be verified**: {problem(job.message)}"
