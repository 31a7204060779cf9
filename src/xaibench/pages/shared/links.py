"""Going from one page to another with choices made."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from xaibench.pages.shared.address import put

__all__ = ["TARGET", "Kind", "follow", "go_to", "link_button"]

Kind = Literal["primary", "secondary", "tertiary"]
TARGET = "_link.target"
"""Where in the session the router finds the page to go to."""


def go_to(page: str, **choices: str) -> None:
    """Callback of buttons: go to the page of this address (``"attack"``), with choices as its address has them."""
    put(**choices)
    st.session_state[TARGET] = page


def follow() -> None:
    """Go where a button led: in a part of a page that runs alone the router, which goes there first, does not run."""
    if TARGET in st.session_state:
        st.rerun()


def link_button(
    label: str,
    page: str,
    *,
    key: str,
    icon: str | None = None,
    kind: Kind = "secondary",
    width: Literal["stretch", "content"] = "stretch",
    told: str | None = None,
    **choices: str,
) -> None:
    """A button that leads to a page, also out of a part of a page that runs alone; a pointer is ``told`` more of it."""
    st.button(
        label, key=key, icon=icon, type=kind, on_click=go_to, args=(page,), kwargs=choices, width=width, help=told
    )
    follow()
