"""Reports: what has been measured, to open and hand on."""

from __future__ import annotations

import streamlit as st

__all__ = ["show"]


def show() -> None:
    """The page."""
    st.header("Reports")
