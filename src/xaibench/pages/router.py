"""The app's pages and their order; ``streamlit run`` starts here."""

from __future__ import annotations

import threading
import time
from importlib import import_module

import streamlit as st

from xaibench.errors import InputError
from xaibench.pages.shared.address import address
from xaibench.pages.shared.charts import prepare
from xaibench.pages.shared.links import TARGET
from xaibench.pages.shared.text import problem

__all__ = ["FIRST", "main"]

_SECTIONS = {
    "Look": (("models", "Models", "apps"), ("explain", "Explain", "search_insights"), ("attack", "Attack", "bolt")),
    "Measure": (
        ("robustness", "Robustness", "shield"),
        ("explanations", "Explanations", "leaderboard"),
        ("compare", "Compare", "compare_arrows"),
    ),
    "Improve and keep": (("harden", "Harden", "fitness_center"), ("reports", "Reports", "description")),
}
FIRST = "models"
_FIRST_NEEDED = (
    *("torch", "xaibench.zoo", "sklearn.datasets", "xaibench.data", "xaibench.attacks", "xaibench.explainers"),
    *("torch._dynamo", "accelerate.utils.memory"),
)
# Seconds in which a reader who begins with a PyTorch model is not slowed by TensorFlow's ten seconds of imports. (A
# comment: of the file that it is started with, Streamlit shows bare strings on the page.)
_REST = 20.0

_STYLE = """<style>
.stMainBlockContainer { padding-top: 3.5rem; padding-bottom: 3rem; }
</style>"""


def main() -> None:
    """Set the window up and show the page that its address names."""
    st.set_page_config(page_title="xaibench", page_icon="🔎", layout="wide")
    st.html(_STYLE)
    pages = {
        name: st.Page(_Shown(name), title=title, icon=f":material/{icon}:", url_path=name, default=name == FIRST)
        for section in _SECTIONS.values()
        for name, title, icon in section
    }
    sections = {title: [pages[name] for name, _, _ in section] for title, section in _SECTIONS.items()}
    current = st.navigation(sections)
    target = st.session_state.pop(TARGET, None)
    if target is not None and pages[target] is not current:
        st.switch_page(pages[target])
    with address(current.url_path or FIRST):
        current.run()
    _warm_up()


class _Shown:
    """A page by name, imported when it is shown."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self) -> None:
        if self.__name__ != FIRST:
            prepare()
        try:
            import_module(f"xaibench.pages.{self.__name__}.page").show()
        except InputError as error:
            st.error(problem(error))


@st.cache_resource(show_spinner=False)
def _warm_up() -> threading.Thread:
    """Import what the first analysis needs while the reader still looks at the first page; once per process."""

    def load() -> None:
        for name in _FIRST_NEEDED:
            import_module(name)
        time.sleep(_REST)
        import_module("keras")

    thread = threading.Thread(target=load, name="warm-up", daemon=True)
    thread.start()
    return thread


if __name__ == "__main__":
    main()
