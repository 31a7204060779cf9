"""The samples that attacks broke, the most easily broken first, each with the way to try it oneself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.pages.shared.finished import adversarials
from xaibench.pages.shared.links import link_button
from xaibench.pages.shared.text import plain

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.evaluate.hardness import Robustness
    from xaibench.report import Report

__all__ = ["Broken", "broken_samples", "show_broken"]

_MOST = 10
_WIDTH = 172
"""Pixels of one sample: two beside each other on a telephone."""


@dataclass(frozen=True)
class Broken:
    """A sample, the smallest radius at which an attack broke it, and how."""

    place: int
    row: int
    label: int
    prediction: int
    radius: float
    attack: str


def broken_samples(robustness: Robustness, tensors: dict[str, Tensor]) -> tuple[Broken, ...]:
    """All samples that broke at epsilon or below it, by radius, then by row."""
    found: dict[int, tuple[int, str]] = {}
    for curve in robustness.curves:
        at = tensors[f"broken_at/{curve.attack}"].tolist()
        for place, position in enumerate(at):
            if 0 < position <= robustness.index and position < found.get(place, (len(robustness.radii), ""))[0]:
                found[place] = position, curve.attack
    samples = [
        Broken(
            place=place,
            row=int(tensors["ids"][place]),
            label=int(tensors["labels"][place]),
            prediction=int(tensors[f"predictions/{attack}"][place]),
            radius=robustness.radii[position],
            attack=attack,
        )
        for place, (position, attack) in found.items()
    ]
    return tuple(sorted(samples, key=lambda one: (one.radius, one.row)))


def show_broken(name: str, report: Report, robustness: Robustness) -> None:
    """The samples that broke first, with their pictures, and a button to the attack on each."""
    tensors = adversarials(name)
    if tensors is None:
        st.caption("The report has come without adversarial examples that can be shown.")
        return
    found = broken_samples(robustness, tensors)
    if not found:
        st.markdown("No sample was broken at this radius.")
        return
    if len(found) == 1:
        st.markdown("The one broken sample:")
    else:
        some = f"{_MOST} of the {len(found)}" if len(found) > _MOST else f"All {len(found)}"
        st.markdown(f"{some} broken samples, those that fall at the smallest radii first:")
    with st.container(horizontal=True):
        for one in found[:_MOST]:
            with st.container(border=True, width=_WIDTH):
                _show(report, robustness, tensors, one)


def _show(report: Report, robustness: Robustness, tensors: dict[str, Tensor], one: Broken) -> None:
    from xaibench.drawing.labels import method_label
    from xaibench.reading import format_radius

    names = report.model.class_names
    before, after = names[one.label], names[one.prediction]
    if report.model.task == "image":
        st.html(_pictures(report, tensors, one, f"row {one.row}: {before}", after))
    words = " word edited" if robustness.norm == "words" else ""
    st.markdown(
        plain(f"Row {one.row}: {before} → {after} at {format_radius(one.radius)}{words}, by {method_label(one.attack)}")
    )
    link_button(
        "Try it",
        "attack",
        key=f"try-{one.row}",
        icon=":material/bolt:",
        model=report.plan.model,
        sample=str(one.row),
        norm=robustness.norm,
        eps=repr(one.radius),
    )


def _pictures(report: Report, tensors: dict[str, Tensor], one: Broken, clean: str, after: str) -> str:
    from html import escape

    from xaibench.drawing.html import OUTLINE
    from xaibench.drawing.pictures import photo

    low, high = report.model.bounds
    bounds = (low, high) if isinstance(low, float) and isinstance(high, float) else (0.0, 1.0)
    images = (
        (tensors["inputs"][one.place], f"{clean}, unchanged"),
        (tensors[f"adversarials/{one.attack}"][one.place], f"{clean}, attacked: taken for {after}"),
    )
    shown = "".join(
        f'<img src="{photo(image.float(), bounds)}" alt="{escape(text)}" title="{escape(text)}"'
        f' style="width:50%;{OUTLINE};image-rendering:{"pixelated" if max(image.shape[1:]) < 64 else "auto"}">'
        for image, text in images
    )
    return f'<div style="display:flex;gap:4px;border-radius:0.4rem;overflow:hidden">{shown}</div>'
