"""Pictures with captions, and shaded words, as HTML; the colours are those of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING

from xaibench.drawing.edits import changed_words
from xaibench.drawing.html import OUTLINE, attribution_figure, badge, figure, gallery, legend, shaded_words
from xaibench.drawing.labels import method_label

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.explainers import Attribution, Trust

__all__ = [
    "attribution_figure",
    "changed_words",
    "figure",
    "gallery",
    "legend",
    "method_heading",
    "overlay",
    "shaded_words",
]

_SMALL = 64
"""Pictures below this many pixels a side are enlarged without smoothing."""


def overlay(x: Tensor, values: Tensor, alt: str, *, bounds: tuple[float, float], opacity: float, signed: bool) -> str:
    """Attributions over the image (channels, height, width) that they explain, in colours as `attribution_figure`."""
    from xaibench.drawing.pictures import collapse, map_picture, photo

    style = (
        f"width:100%;height:100%;display:block;border-radius:0.5rem;{OUTLINE};object-fit:fill;"
        f"image-rendering:{'pixelated' if max(x.shape[1:]) < _SMALL else 'auto'}"
    )
    above = map_picture(collapse(values, signed=signed), signed=signed)
    return (
        f'<div style="position:relative;aspect-ratio:{x.shape[2]}/{x.shape[1]}">'
        f'<img src="{photo(x, bounds)}" alt="" style="{style}">'
        f'<img src="{above}" alt="{escape(alt)}" style="{style};position:absolute;inset:0;opacity:{opacity:.2f}"></div>'
    )


def method_heading(attribution: Attribution, method: str, when: str, class_names: Sequence[str]) -> str:
    """Above or below an explanation: by which method, for which class, how far to trust it and why, and its cost."""
    trust = attribution.trust.at(0)
    verdict = "unchecked" if _passed_so_far(trust) else trust.verdict
    gap = attribution.completeness_gap
    facts = [
        f"for {class_names[int(attribution.target[0])]}",
        *([] if gap is None else [f"completeness gap {abs(float(gap[0])):.2g}"]),
        f"{attribution.cost.seconds:.2g} s",
    ]
    title = f"{method_label(method)} {when}".strip()
    return (
        f'<div style="margin:0.4rem 0 0.1rem;overflow-wrap:anywhere"><b>{escape(title)}</b> {badge(verdict)}</div>'
        f'<div style="opacity:0.75;font-size:0.85rem;line-height:1.4;overflow-wrap:anywhere">'
        f"{escape(', '.join(facts))}: {escape(trust.reason)}</div>"
    )


def _passed_so_far(trust: Trust) -> bool:
    """Whether nothing speaks against an explanation but that the checks which explain again were not made."""
    import torch

    if trust.stability is not None or trust.randomisation is not None or trust.untested:
        return False
    return replace(trust, stability=torch.ones(1), randomisation=torch.zeros(1)).verdict == "trusted"
