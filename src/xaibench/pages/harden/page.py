"""Harden: train a copy that is harder to fool."""

from __future__ import annotations

import streamlit as st

__all__ = ["show"]


def show() -> None:
    """The page."""
    st.header("Harden")
