"""Robust accuracy as a bracket: a bar of what is proved, open, broken and wrong, with its shares in words."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from xaibench.drawing.colours import BLUE, ORANGE

if TYPE_CHECKING:
    from xaibench.report.headline import Part

__all__ = ["bracket"]

_FILLS = {
    "held": BLUE,
    "open": f"repeating-linear-gradient(135deg,{BLUE} 0 5px,{BLUE}55 5px 10px)",
    "lost": ORANGE,
    "wrong": "#8a93a055",
}


def bracket(parts: Sequence[Part]) -> str:
    """The parts of `xaibench.report.headline.headline` as HTML, in its colours."""
    from xaibench.reading import percent

    words = ", ".join(f"{percent(part.share)} {part.label}" for part in parts)
    bars = "".join(
        f'<i style="width:{100 * part.share:.3f}%;background:{_FILLS[part.kind]};height:100%"></i>' for part in parts
    )
    rows = "".join(
        f'<li style="display:flex;align-items:baseline;gap:0.45rem;margin:0">'
        f'<i style="flex:none;width:0.8rem;height:0.8rem;border-radius:3px;background:{_FILLS[part.kind]}"></i>'
        f"<span><strong>{escape(percent(part.share))}</strong> {escape(part.label)}</span></li>"
        for part in parts
    )
    return (
        f'<div role="img" aria-label="{escape(words)}" style="display:flex;height:1.6rem;border-radius:0.5rem;'
        f'overflow:hidden;gap:2px">{bars}</div>'
        '<ul style="list-style:none;padding:0;margin:0.6rem 0 0;display:flex;flex-wrap:wrap;gap:0.2rem 1.6rem;'
        f'font-size:0.9rem">{rows}</ul>'
    )
