"""The app's pages and their order; ``streamlit run`` starts here."""

from __future__ import annotations

import streamlit as st

from xaibench.pages.sample import sample_page

__all__ = ["main"]


def main() -> None:
    """Set the window up and show the page that its address names."""
    st.set_page_config(page_title="xaibench", page_icon="🔎", layout="wide")
    st.html("<style>.stMainBlockContainer { padding-top: 3.5rem; padding-bottom: 3rem; }</style>")
    st.navigation([st.Page(sample_page, title="One sample", icon=":material/search_insights:", default=True)]).run()


if __name__ == "__main__":
    main()
