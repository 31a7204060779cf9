"""All that is known about one model: what it is, how it was trained, what was measured, where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from xaibench.drawing.charts import laid_out, share_axis
from xaibench.drawing.colours import BLUE, GREY, ORANGE
from xaibench.errors import InputError
from xaibench.intake import is_added, remove_added
from xaibench.pages.models.faces import accuracy, facts, robust_sentence, size
from xaibench.pages.models.shelf import Entry
from xaibench.pages.shared.address import forget
from xaibench.pages.shared.charts import STILL, prepare
from xaibench.pages.shared.figures import threats
from xaibench.pages.shared.links import TARGET, link_button
from xaibench.pages.shared.side_by_side import show_side_by_side
from xaibench.pages.shared.text import plain, problem
from xaibench.reading import percent

if TYPE_CHECKING:
    from xaibench.card import Card

__all__ = ["show_details"]

_SHOWN_CLASSES = 12
_CURVES = {
    "accuracy": "while training",
    "validation_accuracy": "held out",
    "validation_robust_accuracy": "held out, attacked",
}
_COLOURS = {"accuracy": GREY, "validation_accuracy": BLUE, "validation_robust_accuracy": ORANGE}


def show_details(entry: Entry) -> None:
    """A dialog over the gallery; closing it takes it out of the address."""
    st.dialog(plain(entry.title)[:100], width="large", on_dismiss=_close)(_dialog)(entry)


def _close() -> None:
    forget("details")


def _dialog(entry: Entry) -> None:
    card = entry.card
    assert card is not None
    if card.summary:
        st.markdown(plain(card.summary))
    with st.container(horizontal=True):
        for label, page in (
            ("Explain", "explain"),
            ("Attack", "attack"),
            ("Measure", "robustness"),
            ("Harden", "harden"),
        ):
            link_button(label, page, key=f"to-{page}", width="content", model=entry.name, details="")
    st.html(facts(_facts(entry, card)))
    measured = st.container()
    if figure := _history(card):
        st.plotly_chart(figure, key="history", config=STILL, alt="Accuracy after each epoch of its training")
    st.code(f'import xaibench\n\nmodel = xaibench.load_model("{entry.name}")', language="python")
    with st.expander("Its description: `config.json`"):
        st.json(card.model_dump(mode="json"), expanded=1)
    if is_added(entry.folder):
        _removal(entry)
    with measured:  # last, for reading reports takes what is loaded in the background
        for norm, eps in threats(entry.name, card):
            show_side_by_side(entry.name, card, norm, eps)
    if TARGET in st.session_state:
        st.rerun()


def _facts(entry: Entry, card: Card) -> dict[str, str]:
    params = card.architecture.settings
    classes = ", ".join(card.class_names[:_SHOWN_CLASSES])
    more = len(card.class_names) - _SHOWN_CLASSES
    found = accuracy(card)
    n = card.metrics.get(card.data.test_split, {}).get("n")
    rows = {
        "Input": " × ".join(map(str, card.input_shape))
        + {"image": " (channels, height, width)", "text": " tokens", "tabular": " features"}[card.task],
        "Classes": f"{len(card.class_names)}: {classes}" + (f", and {more} more" if more > 0 else ""),
        "Architecture": card.architecture.name
        + (f" ({', '.join(f'{key} {value}' for key, value in params.items())})" if params else ""),
        "Data": f"{card.data.name}: "
        + (f"trained on {card.data.train_split}, " if card.data.digest else "")  # of others' models nobody knows it
        + f"measured on {card.data.test_split}",
        "Accuracy": "not measured" if found is None else percent(found) + (f" of {n:,} samples" if n else ""),
    }
    rows |= {
        f"Robust accuracy{'' if i == 0 else f' {i + 1}'}": robust_sentence(one) for i, one in enumerate(card.robustness)
    }
    rows["Made by"] = _maker(entry, card)
    rows["Weights"] = f"{size(entry.mb)}, digest {card.weights_digest[:12] or 'unknown'}"
    return rows


def _maker(entry: Entry, card: Card) -> str:
    if is_added(entry.folder):
        return "somebody who added it through this page"
    if card.compression:
        return "; ".join(f"compressing {step.source} by {step.method}" for step in card.compression)
    objective = card.recipe.get("objective", {})
    name = objective.get("name", "standard") if isinstance(objective, dict) else str(objective)
    epochs = card.recipe.get("epochs")
    return f"xaibench train, objective {name}" + (f", {epochs} epochs" if epochs else "")


def _history(card: Card) -> Any:
    """Accuracies by epoch, as a Plotly figure; None where the training kept none."""
    curves = {
        key: [(line.get("epoch"), line[key]) for line in card.history if isinstance(line.get(key), int | float)]
        for key in _CURVES
    }
    if not any(curves.values()):
        return None
    prepare()
    import plotly.graph_objects as go

    figure = go.Figure(
        [
            go.Scatter(
                x=[epoch for epoch, _ in points],
                y=[value for _, value in points],
                name=_CURVES[key],
                mode="lines",
                text=[percent(value) for _, value in points],
                hovertemplate="epoch %{x}: %{text}<extra>%{fullData.name}</extra>",
                line={"color": _COLOURS[key], "dash": "dot" if key == "accuracy" else "solid"},
            )
            for key, points in curves.items()
            if points
        ]
    )
    figure.update_yaxes(**share_axis("accuracy", low=0.0))
    figure.update_xaxes(title="epoch")
    return laid_out(figure, height=240)


def _removal(entry: Entry) -> None:
    with st.popover("Remove it", icon=":material/delete:"):
        st.markdown("Its folder is deleted; reports on it stay.")
        if st.button("Remove it for good", type="primary"):
            try:
                remove_added(entry.folder)
            except InputError as error:
                st.error(problem(error))
                return
            forget("details")
            st.rerun()
