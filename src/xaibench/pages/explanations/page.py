"""Explanations: which methods to believe, and the data at a glance."""

from __future__ import annotations

import streamlit as st

__all__ = ["show"]


def show() -> None:
    """The page."""
    st.header("Explanations")
