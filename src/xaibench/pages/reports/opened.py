"""One report, opened: its summary, its page, its files to hand on, and whether its claims are true."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import streamlit as st

from xaibench.pages.reports.frame import framed
from xaibench.pages.reports.shelf import Item
from xaibench.pages.reports.verified import show_verified
from xaibench.pages.shared import finished
from xaibench.pages.shared.limits import MEGABYTE
from xaibench.pages.shared.links import link_button
from xaibench.pages.shared.text import plain

__all__ = ["show_opened"]

_HEIGHT = 900
_LARGEST_PAGE = 20 * MEGABYTE
_LARGEST_ZIP = 200 * MEGABYTE
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
        show_verified(item, item.document)
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
