"""Reports: what has been measured, to open and hand on."""

from __future__ import annotations

from collections import Counter
from typing import Any

import streamlit as st

from xaibench.pages.reports.shelf import Item, read_items
from xaibench.pages.shared.address import put
from xaibench.pages.shared.links import link_button
from xaibench.pages.shared.options import choose_one
from xaibench.pages.shared.runs import show_jobs
from xaibench.pages.shared.tables import share_table
from xaibench.pages.shared.text import plain, problem
from xaibench.places import reports_home
from xaibench.reading import counted

__all__ = ["show"]

_NONE = ""
_FEWEST, _MOST = 2, 6
"""Reports that can be compared at once."""
_RUNS = 20
"""The latest runs that are listed."""


def show() -> None:
    """The page: everything at hand in a table, and the one that is open below it."""
    st.header("Reports")
    items = read_items()
    whole = [item for item in items if item.kind is not None]
    if not whole:
        st.info(
            f"There are no reports in `{reports_home().name}` yet. The Robustness page writes one, and so does"
            " `xaibench report MODEL`."
        )
        link_button("Measure a model", "robustness", key="to-robustness", icon=":material/shield:", width="content")
    else:
        counts = Counter(item.kind for item in whole)
        told = [counted(n, kind) for kind, n in counts.items() if kind is not None]
        st.caption(
            f"{', '.join(told).capitalize()}. A click on a column's head sorts; pick rows to open or compare them."
        )
        _pick(_table(whole))
        opened = _choose_open(whole)
    for item in items:
        if item.kind is None:
            st.warning(f"**{plain(item.name)}** cannot be read: {problem(item.reason)}", icon=":material/broken_image:")
    with st.expander("Runs of all pages", icon=":material/history:"):
        show_jobs(most=_RUNS)
    if whole and opened is not None:
        from xaibench.pages.reports.opened import show_opened

        show_opened(opened)


def _table(items: list[Item]) -> list[Item]:
    """All items as a sortable table; gives the picked ones."""
    columns: dict[str, Any] = {
        "Robust": st.column_config.NumberColumn(help="Share that is right and that no attack broke"),
        "Proved": st.column_config.NumberColumn(help="Share that is proved to stay right; – where no proof was tried"),
        "Clean": st.column_config.NumberColumn(help="Accuracy on the samples as they are"),
        "Samples": st.column_config.NumberColumn(help="How many were measured", format="localized"),
        "Self-checks": st.column_config.TextColumn(help="Whether the robust accuracy can be taken at its word"),
    }
    rows = [
        {
            "Name": item.name,
            "Robust": item.robust,
            "Proved": item.proved,
            "Clean": item.clean,
            "Samples": item.n,
            "Self-checks": item.verdict if item.kind == "report" else "",
            "Kind": item.kind,
            "Data": item.data,
            "Threat": item.threat,
            "Date": item.date,
            "Model": item.model,
        }
        for item in items
    ]
    event = st.dataframe(
        share_table(rows, ("Robust", "Proved", "Clean")),
        hide_index=True,
        placeholder="–",
        column_config=columns,
        on_select="rerun",
        selection_mode="multi-row",
        key="table",
        alt="All reports with their accuracies",
    )
    return [items[row] for row in event.selection.rows if row < len(items)]


def _pick(picked: list[Item]) -> None:
    """What can be done with the picked rows."""
    reports = [item for item in picked if item.kind == "report"][:_MOST]
    if not picked:
        return
    with st.container(horizontal=True):
        if len(picked) == 1:
            st.button("Open it", on_click=put, kwargs={"report": picked[0].name}, icon=":material/open_in_full:")
        elif len(reports) >= _FEWEST:
            keys = [f"report:{item.name}" for item in reports]
            link_button(
                f"Compare these {len(reports)}",
                "compare",
                key="to-compare",
                icon=":material/compare_arrows:",
                width="content",
                a=keys[0],
                b=keys[1],
                more=",".join(keys[2:]),
            )
        else:
            st.caption("Comparing takes two reports on models or more.")


def _choose_open(items: list[Item]) -> Item | None:
    by_name = {item.name: item for item in items}
    names = {_NONE: "Choose a report"} | {name: name for name in by_name}
    return by_name.get(choose_one(st.selectbox, "Open", names, key="report"))
