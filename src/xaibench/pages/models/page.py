"""Models: the gallery, and one's own."""

from __future__ import annotations

import streamlit as st

from xaibench.pages.models.faces import LEGEND, STYLE, face
from xaibench.pages.models.shelf import Entry, read_shelf
from xaibench.pages.shared.address import chosen, forget, keep, miss, put
from xaibench.pages.shared.links import Kind, link_button
from xaibench.pages.shared.options import choose_one, choose_view
from xaibench.pages.shared.text import plain, problem

__all__ = ["show"]

_FIRST = "digits-cnn"
"""The model that a newcomer is led to: small, quick, and easily fooled."""
_BEGINNINGS: tuple[tuple[str, str, str, Kind], ...] = (
    ("Break it", "attack", "bolt", "primary"),
    ("Ask it why", "explain", "search_insights", "secondary"),
)
_ALL = "All"
_TASKS = {_ALL: _ALL, "image": "Images", "text": "Text", "tabular": "Tables"}
_FRAMEWORKS = {_ALL: _ALL, "torch": "PyTorch", "keras": "Keras", "exported": "torch.export"}
_TRAININGS = {_ALL: _ALL, "plain": "Plain", "robust": "Robust"}
_WHOSE = {_ALL: _ALL, "own": "Yours", "others": "Others"}
_VIEWS = {"gallery": "Gallery", "add": "Add your own"}
_COLUMNS = 3


def show() -> None:
    """The page: where to begin, every model at hand, and the way to add another."""
    st.html(STYLE)
    shelf = read_shelf()
    whole = [entry for entry in shelf if entry.card is not None]
    _hero(whole)
    view = choose_view("View", _VIEWS, key="view", label_visibility="collapsed")
    if view == "add":
        from xaibench.pages.models.adding import show_adding

        show_adding()
        return
    if not whole:
        _empty()
    else:
        _gallery(whole)
    _broken([entry for entry in shelf if entry.card is None])
    for key in ("model", "details"):
        if chosen(key) not in ("", *(entry.name for entry in shelf)):
            miss(key, "Model")
            forget(key)
    opened = keep("details")
    if entry := next((entry for entry in whole if entry.name == opened), None):
        from xaibench.pages.models.details import show_details

        show_details(entry)


def _hero(whole: list[Entry]) -> None:
    st.header("Fool a trained classifier, and see why it falls")
    if not whole:
        return
    first = next((entry for entry in whole if entry.name == _FIRST), whole[0])
    st.markdown(
        f"Pick a model below, or begin with **{plain(first.title)}**: change a sample so little that you would not"
        " notice, and watch it change its mind."
    )
    with st.container(horizontal=True):
        for label, page, icon, kind in _BEGINNINGS:
            link_button(
                label,
                page,
                key=f"hero-{page}",
                icon=f":material/{icon}:",
                kind=kind,
                width="content",
                model=first.name,
            )


def _gallery(whole: list[Entry]) -> None:
    chosen = _filtered(whole)
    if not chosen:
        st.info("No model is of that kind. Choose fewer filters, or train one on the Harden page.")
        return
    st.html(LEGEND)
    for task, title in _TASKS.items():
        entries = [entry for entry in chosen if entry.card is not None and entry.card.task == task]
        entries.sort(key=lambda entry: not entry.own)
        if not entries:
            continue
        st.subheader(title, anchor=False)
        for start in range(0, len(entries), _COLUMNS):
            columns = st.columns(_COLUMNS)
            for column, entry in zip(columns, entries[start : start + _COLUMNS], strict=False):
                with column.container(border=True, height="stretch"):
                    _card(entry)


def _card(entry: Entry) -> None:
    st.html(face(entry))
    with st.container(horizontal=True, gap="small"):
        for label, page in (("Explain", "explain"), ("Attack", "attack")):
            link_button(label, page, key=f"{page}-{entry.name}", model=entry.name)
        st.button(
            "Details",
            key=f"details-{entry.name}",
            type="tertiary",
            on_click=put,
            kwargs={"details": entry.name},
            width="content",
        )


def _filtered(whole: list[Entry]) -> list[Entry]:
    """The models of the kinds that the reader chose; a filter with one option only is not shown."""
    pairs = [(entry, entry.card) for entry in whole if entry.card is not None]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        task = _filter("Task", "task", _TASKS, {card.task for _, card in pairs})
        framework = _filter("Framework", "framework", _FRAMEWORKS, {card.framework for _, card in pairs})
        training = _filter("Training", "training", _TRAININGS, {_training(entry) for entry in whole})
        whose = _filter("Whose", "whose", _WHOSE, {_whose(entry) for entry in whole})
        names = [_ALL, *sorted({card.data.name for _, card in pairs})]
        data = choose_one(st.selectbox, "Data", names, key="trained_on", width=180)
    return [
        entry
        for entry, card in pairs
        if task in (_ALL, card.task)
        and framework in (_ALL, card.framework)
        and training in (_ALL, _training(entry))
        and whose in (_ALL, _whose(entry))
        and data in (_ALL, card.data.name)
    ]


def _filter(label: str, key: str, names: dict[str, str], present: set[str]) -> str:
    options = {name: text for name, text in names.items() if name == _ALL or name in present}
    return _ALL if len(options) == 2 else choose_view(label, options, key=key)


def _training(entry: Entry) -> str:
    return "robust" if entry.is_robust else "plain"


def _whose(entry: Entry) -> str:
    return "own" if entry.own else "others"


def _empty() -> None:
    from xaibench.homes import model_homes

    st.info(
        f"There are no models in `{model_homes()[0].name}` yet. Train one with `xaibench train RECIPE`, name another"
        " folder in `XAIBENCH_MODELS_HOME`, or add your own here."
    )


def _broken(entries: list[Entry]) -> None:
    for entry in entries:
        st.warning(f"**{plain(entry.name)}** cannot be used: {problem(entry.reason)}", icon=":material/broken_image:")
