"""Robustness: a whole evaluation, watched while it runs."""

from __future__ import annotations

import streamlit as st

__all__ = ["show"]


def show() -> None:
    """The page."""
    st.header("Robustness")
