"""Taking parts of an input away, by a click or by importance, to see the prediction move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from xaibench.drawing.labels import method_label
from xaibench.pages.shared.address import chosen, forget, keep, miss, part, put
from xaibench.pages.shared.charts import STILL
from xaibench.pages.shared.options import choose_one
from xaibench.pages.shared.text import plain
from xaibench.pages.shared.views import View, feature_names, show_probabilities, view_of
from xaibench.reading import percent

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.explainers.baselines import BaselineName
    from xaibench.pages.explain.parts import Parts
    from xaibench.pages.shared.subject import Subject

__all__ = ["show_removal"]

_CUTS = {"superpixels": "Of like colour", "grid": "Cells of a grid"}
_FILLS: dict[str, dict[BaselineName, str]] = {
    "image": {"min": "black", "mean": "the mean colour", "max": "white"},
    "tabular": {"mean": "their mean", "min": "their lowest value", "max": "their highest value"},
    "text": {"auto": "nothing"},
}
"""What stands in the place of what was taken away; the first is usual."""
_SEGMENTS = (9, 16, 25, 36, 64, 100)
_FEW = 16
"""Pixels a side up to which a picture is cut into 16 regions, else 36."""
_MOST_NAMED = 4
_ZERO_WIDTH = "\u200b"


@part
def show_removal(subject: Subject, methods: tuple[str, ...], target: int | None) -> None:
    """The parts of the input, and the prediction with and without those that were taken away."""
    task = subject.model.task
    controls = st.container(horizontal=True, vertical_alignment="bottom", gap="medium")
    with controls:
        parts = _choose_parts(subject)
    removed = _removed(parts, subject)
    view = view_of(subject.model, subject.x, methods, target=target)
    with controls:
        _show_buttons(subject, parts, view, removed)
    before = View(x=subject.x, probabilities=subject.probabilities, explanations={}, refused={})
    views = {"whole": before}
    if removed:
        views["without"] = view_of(subject.model, parts.without(removed))
    left, right = st.columns([1, 1.4] if task == "image" else [1.4, 1], gap="large")
    with left:
        if task == "image":
            _show_regions(subject, parts, removed)
        _show_pills(subject, parts, removed)
    with right:
        st.markdown(_sentence(subject, parts, views, removed))
        show_probabilities(subject.model, views, key="removal")


def _choose_parts(subject: Subject) -> Parts:
    from xaibench.pages.explain.parts import parts_of

    cut, segments = "superpixels", 1
    if subject.model.task == "image":
        cut = choose_one(st.selectbox, "Regions", _CUTS, key="cut", width=170)
        usual = 16 if max(subject.x.shape[2:]) <= _FEW else 36
        segments = choose_one(st.selectbox, "About how many", _SEGMENTS, key="parts", default=usual, width=150)
    fills = {name: meaning.capitalize() for name, meaning in _fills(subject).items()}
    fill = choose_one(st.selectbox, "In their place", fills, key="fill", width=190)
    return parts_of(subject.model, subject.x, cut=cut, segments=segments, fill=fill)


def _fills(subject: Subject) -> dict[BaselineName, str]:
    """What can stand in the place of what is taken away."""
    model = subject.model
    fills = dict(_FILLS[model.task])
    if model.task == "text":
        return {**fills, **({} if model.vocabulary.unknown is None else {"unknown": "an unknown word"})}
    low, high = model.bounds.tensors(subject.x)
    finite = {"min": bool(low.isfinite().all()), "max": bool(high.isfinite().all())}
    return {name: meaning for name, meaning in fills.items() if finite.get(name, True)}


def _scope(parts: Parts, subject: Subject) -> str:
    """What numbers of parts refer to: this input, cut up so."""
    return f"{subject.key[1][:6]}x{len(parts.names)}"


def _removed(parts: Parts, subject: Subject) -> tuple[int, ...]:
    """The parts that were taken away, by the address: ``3fa94cx16-0-7``; what is of another input is forgotten."""
    text = chosen("removed")
    found = [int(number) for number in text.split("-")[1:] if number.isdecimal() and len(number) < 5]
    removed = tuple(dict.fromkeys(number for number in found if number < len(parts.names)))
    if text != _written(parts, subject, removed):
        miss("removed", "Parts taken away")
        forget("removed")
        removed = ()
    keep("removed")
    return removed


def _written(parts: Parts, subject: Subject, removed: tuple[int, ...]) -> str:
    """Parts that are taken away, as the address has them."""
    return "-".join([_scope(parts, subject), *map(str, removed)]) if removed else ""


def _take_away(parts: Parts, subject: Subject, removed: tuple[int, ...]) -> None:
    put(removed=_written(parts, subject, removed))


def _show_buttons(subject: Subject, parts: Parts, view: View, removed: tuple[int, ...]) -> None:
    """Taking away by importance, and putting back."""
    if view.explanations:
        methods = {method: method_label(method) for method in view.explanations}
        method = choose_one(st.selectbox, "Importance by", methods, key="order", width=220)
        values = view.explanations[method].values.detach().cpu()
        st.button(
            "Remove the most important",
            key="removal.one",
            on_click=_remove_one,
            args=(parts, subject, values, removed),
            disabled=len(removed) == len(parts.names),
        )
        st.button(
            "Until it changes its mind",
            key="removal.until",
            on_click=_remove_until,
            args=(parts, subject, values, removed),
            disabled=len(removed) == len(parts.names),
        )
    st.button("Restore", key="removal.restore", on_click=_take_away, args=(parts, subject, ()), disabled=not removed)


def _remove_one(parts: Parts, subject: Subject, values: Tensor, removed: tuple[int, ...]) -> None:
    left = [number for number in parts.by_importance(values) if number not in removed]
    _take_away(parts, subject, (*removed, *left[:1]))


def _remove_until(parts: Parts, subject: Subject, values: Tensor, removed: tuple[int, ...]) -> None:
    _take_away(parts, subject, parts.until_changed(subject.model, parts.by_importance(values), removed))


def _show_regions(subject: Subject, parts: Parts, removed: tuple[int, ...]) -> None:
    from xaibench.pages.explain.regions import region_chart, region_of

    model = subject.model
    bounds = model.bounds.extent
    index = parts.index[0, 0]
    key = f"regions {keep('removed')} {subject.key[1][:12]}"

    def clicked() -> None:
        region = region_of(st.session_state[key], index)
        if region is not None:
            rest = tuple(number for number in removed if number != region)
            _take_away(parts, subject, rest if region in removed else (*removed, region))

    st.plotly_chart(
        region_chart(parts.without(removed)[0], index, removed, bounds),
        key=key,
        width="content",
        on_select=clicked,
        selection_mode="points",
        config=STILL,
        alt=f"The input in {len(parts.names)} regions, {len(removed)} of them taken away",
    )
    st.caption("Click a region to take it away, again to put it back.")


def _show_pills(subject: Subject, parts: Parts, removed: tuple[int, ...]) -> None:
    """The parts by name, to be chosen with the mouse or the keyboard."""
    labels = _labels(subject, parts)
    key = f"removal.parts {_scope(parts, subject)}"
    st.session_state[key] = sorted(removed)
    st.pills(
        {"image": "Regions taken away", "text": "Click the words to take away", "tabular": "Features to replace"}[
            subject.model.task
        ],
        range(len(labels)),
        selection_mode="multi",
        format_func=labels.__getitem__,
        key=key,
        wrap=True,
        on_change=lambda: _take_away(parts, subject, tuple(st.session_state[key])),
    )


def _labels(subject: Subject, parts: Parts) -> list[str]:
    """Names of the parts, told apart by invisible letters where words occur twice."""
    names = feature_names(subject.data, len(parts.names)) if subject.model.task == "tabular" else parts.names
    seen: dict[str, int] = {}
    labels = []
    for name in names:
        seen[name] = seen.get(name, -1) + 1
        labels.append(plain(name) + _ZERO_WIDTH * seen[name])
    return labels


def _sentence(subject: Subject, parts: Parts, views: dict[str, View], removed: tuple[int, ...]) -> str:
    """What taking the parts away does to the prediction."""
    names, task = subject.model.class_names, subject.model.task
    whole = views["whole"]
    if not removed:
        what = {"image": "a region", "text": "a word", "tabular": "a feature"}[task]
        said = f"**{plain(names[whole.prediction])}** with {percent(whole.confidence)}"
        return f"It says {said}. Take {what} away to see what it was worth."
    without = views["without"]
    said = f"**{plain(names[without.prediction])}** ({percent(without.confidence)})"
    what = _what(subject, parts, removed)
    if without.prediction != whole.prediction:
        return f"{what} it says {said} instead of **{plain(names[whole.prediction])}** ({percent(whole.confidence)})."
    return f"{what} it still says {said}; it was {percent(whole.confidence)} before."


def _what(subject: Subject, parts: Parts, removed: tuple[int, ...]) -> str:
    task, count = subject.model.task, len(removed)
    if task == "image":
        return f"Without {'the region' if count == 1 else f'the {count} regions'}"
    names = _labels(subject, parts)
    listed = ", ".join(names[number].rstrip(_ZERO_WIDTH) for number in removed[:_MOST_NAMED])
    more = f" and {count - _MOST_NAMED} more" if count > _MOST_NAMED else ""
    return f"Without {listed}{more}" if task == "text" else f"With {listed}{more} replaced"
