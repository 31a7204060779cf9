"""Compare: what hardening or compression changed, or how any models and reports stand side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.pages.shared.address import keep, put
from xaibench.pages.shared.options import choose_one, choose_several
from xaibench.pages.shared.text import plain
from xaibench.places import inside, reports_home

if TYPE_CHECKING:
    from xaibench.pages.compare.sources import Source

__all__ = ["show"]

_MOST = 8
"""Sources side by side: more lines than colours and dashes tell apart."""
_FEWEST_SAMPLES, _MOST_SAMPLES, _USUAL_SAMPLES = 50, 500, 200
_SHOWN_PAIRS = 8


def show() -> None:
    """The page: two or more sources at the top, what is known of them below, and a way to measure what is not."""
    from xaibench.pages.compare.sources import cards, pairs, sources

    st.header("What did it win, and what did it cost?")
    known = sources()
    if len(known) < 2:
        st.info(
            "There are no two models or reports to compare. `xaibench train` makes a model, `xaibench harden` another."
        )
        return
    suggested = pairs(cards())
    first, second = suggested[0] if suggested else tuple(list(known)[:2])
    _suggest(suggested)
    a, b, more = _choose(known, first, second)
    chosen = list(dict.fromkeys([a, b, *more]))
    if len(chosen) < 2:
        st.info("Choose two that differ.")
    elif len(chosen) > 2:
        from xaibench.pages.compare.standings import show_standings

        show_standings([known[key] for key in chosen])
    else:
        _show_two(known[a], known[b])


def _suggest(suggested: list[tuple[str, str]]) -> None:
    """Buttons for models and what was made of them."""
    if not suggested:
        return
    with st.expander("Before and after hardening or compression"), st.container(horizontal=True):
        for one, other in suggested[:_SHOWN_PAIRS]:
            st.button(
                plain(f"{one} → {other}"),
                key=f"pair {one} {other}",
                on_click=put,
                kwargs={"a": one, "b": other, "more": ""},
            )


def _choose(known: Mapping[str, Source], first: str, second: str) -> tuple[str, str, list[str]]:
    left, right, rest = st.columns([1, 1, 1.4], gap="medium")
    labels = {key: source.label for key, source in known.items()}
    a = choose_one(left.selectbox, "From", labels, key="a", default=first, stated=True)
    b = choose_one(right.selectbox, "To", labels, key="b", default=second, stated=True)
    others = "Add others for a table of all"
    return a, b, choose_several(rest.multiselect, "And", labels, key="more", most=_MOST - 2, placeholder=others)


def _show_two(first: Source, second: Source) -> None:
    from xaibench.pages.compare.evidence import find_evidence
    from xaibench.pages.compare.pair import show_pair

    evidence, why = find_evidence(first, second)
    if evidence is not None:
        show_pair(evidence)
    else:
        st.info(plain(why))
    if first.kind == second.kind == "model":
        from xaibench.pages.compare.sample import show_sample

        show_sample(first.name, second.name)
    _start(first, second)


def _start(first: Source, second: Source) -> None:
    from xaibench.pages.shared.running import launch, show_job
    from xaibench.pages.shared.runs import COMPARISON

    st.subheader("Measure it anew")
    st.caption(
        "On the same samples: accuracy unchanged and under attack, nearest adversarial examples, transfer, corruptions,"
        " explanations before and after, size and speed, each with a test. Some minutes, also when you leave the page."
    )
    with st.form("compare", border=False):
        left, middle, right = st.columns([2, 1, 1.2], vertical_alignment="bottom", gap="medium")
        n = left.slider("Samples", _FEWEST_SAMPLES, _MOST_SAMPLES, _USUAL_SAMPLES, step=50)
        quick = middle.toggle("Accuracy alone", help="Clean and under attack, without explanations and corruptions.")
        pressed = right.form_submit_button("Compare them", icon=":material/compare_arrows:", width="stretch")
    if pressed:
        from xaibench.jobs import start

        names = [
            source.name if source.kind == "model" else str(reports_home() / source.name) for source in (first, second)
        ]
        arguments = ("compare", *names, "--n", str(n), *(["--quick"] if quick else []))
        digest = hashlib.sha256("\0".join(arguments).encode()).hexdigest()[:8]
        out = inside(reports_home(), f"compare-{first.name[:35]}-{second.name[:35]}-{digest}")
        title = f"{first.label} against {second.label}"
        launch(lambda: start((*arguments, "--out", str(out)), kind="compare", title=title, out=out), key=COMPARISON)
    if run := keep(COMPARISON):
        show_job(run)
