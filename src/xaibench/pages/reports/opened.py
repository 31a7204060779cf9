"""One report, opened: its summary, its page, its files to hand on, and whether its claims are true."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.errors import InputError
from xaibench.pages.reports.frame import framed
from xaibench.pages.reports.shelf import Item
from xaibench.pages.shared import finished
from xaibench.pages.shared.address import keep
from xaibench.pages.shared.limits import MEGABYTE
from xaibench.pages.shared.links import link_button
from xaibench.pages.shared.running import launch
from xaibench.pages.shared.text import plain, problem

if TYPE_CHECKING:
    from xaibench.jobs import Job

__all__ = ["show_opened"]

_HEIGHT = 900
_LARGEST_PAGE = 20 * MEGABYTE
_LARGEST_ZIP = 200 * MEGABYTE
_VERIFIED = "verified"
"""The run that verifies, in the address."""
_COLOURS = {"reliable": "blue", "doubtful": "orange", "unreliable": "orange"}


def show_opened(item: Item) -> None:
    """The parts, the page last: it is long."""
    st.subheader(plain(item.name), anchor=False)
    if item.kind == "report":
        _summary(item)
    elif item.kind == "comparison":
        st.markdown(plain(item.verdict))
    _downloads(item)
    if item.kind == "report" and item.document is not None:
        _verify(item, item.document)
    if item.page is None:
        st.info("Its page, index.html, is missing: the numbers are in report.json.")
    elif item.page.stat().st_size > _LARGEST_PAGE:
        st.info("Its page is too large to be shown here: download it, and open it in a browser.")
    else:
        st.iframe(framed(item.page.read_text(encoding="utf-8", errors="replace"), item.name), height=_HEIGHT)


def _summary(item: Item) -> None:
    """The verdict and its reason; the sentences are at the top of the page below."""
    from xaibench.evaluate.headline import headline

    found = headline(finished.report(item.name))
    if found.verdict is not None:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(f"self-checks: {item.verdict}", color=_COLOURS.get(item.verdict, "gray"))
            st.markdown(plain(found.reason), width="content")


def _downloads(item: Item) -> None:
    with st.container(horizontal=True):
        page, document = item.page, item.document
        if page is not None:
            st.download_button(
                "Page (HTML)",
                page.read_bytes,
                f"{item.name}.html",
                "application/octet-stream",
                icon=":material/download:",
                on_click="ignore",
            )
        if document is not None and document.is_file():
            st.download_button(
                "Numbers (JSON)",
                document.read_bytes,
                f"{item.name}.json",
                "application/json",
                icon=":material/download:",
                on_click="ignore",
            )
        if sum(path.stat().st_size for path in item.files) <= _LARGEST_ZIP:
            st.download_button(
                "Everything (ZIP)",
                lambda: _packed(item.name, item.files),
                f"{item.name}.zip",
                "application/zip",
                icon=":material/folder_zip:",
                on_click="ignore",
            )
        if item.kind == "report":
            link_button("Its numbers in detail", "robustness", key="to-numbers", width="content", evaluation=item.name)


def _packed(name: str, files: tuple[Path, ...]) -> bytes:
    """The files in one folder, as an archive."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, f"{name}/{path.name}")
    return target.getvalue()


def _verify(item: Item, document: Path) -> None:
    """A button that checks every claim again, in a process of its own, and what it found line by line."""
    from xaibench.homes import model_names
    from xaibench.jobs import find, start

    if finished.report(item.name).plan.model not in model_names():
        st.caption("It can be verified where its model is: `xaibench verify` in a terminal there.")
        return
    folder = str(document.parent)
    if st.button("Verify its claims", icon=":material/fact_check:", help="Derives every number again from the model"):
        launch(lambda: start(("verify", folder), kind="verify", title=f"Verify {item.name}"), key=_VERIFIED)
    name = keep(_VERIFIED)
    if not name:
        return
    try:
        job = find(name)
    except InputError:
        return
    if job.kind != "verify" or job.arguments[1:] != (folder,):
        return
    if _has_changed(item, document, job):
        st.info("The report has changed since it was verified: verify it again.")
    else:
        st.fragment(_claims, run_every=1.0 if job.is_alive else None)(name, job.is_alive)


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


def _verdict(job: Job, held: int) -> str:
    if job.is_alive:
        return f"Verifying: {held} groups of claims hold so far."
    if job.state == "finished":
        return (
            f"**Every claim holds** of the page, the numbers and the examples as they lie here: {held} groups were"
            " derived again and agree."
        )
    if job.state == "stopped":
        return f"**Stopped** before every claim was checked: {held} groups held until then."
    return f"**It could not be verified**: {problem(job.message)}"
