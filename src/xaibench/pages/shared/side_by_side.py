"""The robust accuracies of one model within one threat side by side, with what may explain their differences."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.drawing.colours import BLUE
from xaibench.pages.shared.figures import Figure, figures, told
from xaibench.pages.shared.links import link_button
from xaibench.pages.shared.runs import when
from xaibench.pages.shared.text import plain
from xaibench.reading import format_threat, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xaibench.card import Card

__all__ = ["show_side_by_side"]

_MOST = 8
_STYLE = f"""<style>
.xb-figures {{ border-collapse: collapse; width: 100%; font-size: .875rem; }}
.xb-figures th, .xb-figures td {{ text-align: left; padding: .3rem .9rem .3rem 0; vertical-align: top;
  border-bottom: 1px solid rgba(128,128,128,.25); overflow-wrap: break-word; }}
.xb-figures th {{ font-weight: 600; }}
.xb-figures small {{ opacity: .75; white-space: nowrap; }}
.xb-span {{ position: relative; height: .5rem; margin-top: .25rem; border-radius: .25rem;
  background: rgba(128,128,128,.25); min-width: 5rem; }}
.xb-span i {{ position: absolute; height: 100%; border-radius: .25rem; background: {BLUE}77; }}
.xb-span b {{ position: absolute; width: 4px; margin-left: -2px; top: -.15rem; height: .8rem; border-radius: 2px;
  background: {BLUE}; }}
</style>"""
_ROWS = {"all": "all {n} rows", "first": "the first {n} rows", "drawn": "{n} drawn rows"}


def show_side_by_side(name: str, card: Card, norm: str, eps: float, *, shown: str | None = None) -> None:
    """A table of the figures, and a sentence on their differences; nothing where there are fewer than two.

    ``shown`` is the report that the page shows anyway.
    """
    known = figures(name, card, norm, eps)
    if len(known) < 2:
        return
    listed = known[:_MOST]
    st.markdown(f"**{plain(f'Robust accuracy within {format_threat(norm, eps)}, measured {len(known)} times')}**")
    if said := told(listed, card.weights_digest):
        st.markdown(plain(said))
    st.html(_STYLE + _table(listed, card.weights_digest, shown))
    if len(known) > len(listed):
        sources = "the latest reports" if listed[0].report else "its card and the latest reports"
        st.caption(f"{len(listed)} of {len(known)}: those of {sources}.")
    with st.container(horizontal=True):
        for one in listed:
            if one.report is not None and one.report != shown:
                link_button(
                    f"Open the {_source(one)}",
                    "robustness",
                    key=f"figure-{norm}-{eps:g}-{one.report}",
                    icon=":material/shield:",
                    width="content",
                    model=name,
                    evaluation=one.report,
                    details="",
                )


def _table(known: Sequence[Figure], weights: str, shown: str | None) -> str:
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("Right under attack", "Attack", "Samples", "Found in"))
    return (
        '<div style="overflow-x:auto"><table class="xb-figures">'
        "<caption hidden>Robust accuracies with their 95 % intervals</caption>"
        f"<thead><tr>{heads}</tr></thead>"
        f"<tbody>{''.join(_row(one, weights, shown) for one in known)}</tbody></table></div>"
    )


def _row(one: Figure, weights: str, shown: str | None) -> str:
    low, high = one.interval
    bar = (
        f'<div class="xb-span" aria-hidden="true"><i style="left:{low:.2%};width:{high - low:.2%}"></i>'
        f'<b style="left:{one.accuracy:.2%}"></b></div>'
    )
    marks = [
        *(["shown here"] if one.report is not None and one.report == shown else []),
        *(["other weights"] if one.weights != weights else []),
    ]
    cells = (
        f"<b>{percent(one.accuracy)}</b> <small>({percent(low)} to {percent(high)})</small>{bar}",
        escape(one.by),
        escape(f"{_ROWS[one.rows].format(n=f'{one.n:,}')} of {one.data} ({one.split})"),
        escape(_source(one)) + (f"<br><small>{', '.join(marks)}</small>" if marks else ""),
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _source(one: Figure) -> str:
    return "its card" if one.moment is None else f"report of {when(one.moment)}"
