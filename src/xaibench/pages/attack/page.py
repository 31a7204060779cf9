"""Attack: what it takes to change a model's mind."""

from __future__ import annotations

import streamlit as st

__all__ = ["show"]


def show() -> None:
    """The page."""
    st.header("Attack")
