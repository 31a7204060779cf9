"""Robust accuracy as a bracket: a bar of what is proved, open, broken and wrong, with its shares in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from xaibench.drawing.colours import BLUE, ORANGE, PALE_BLUE
from xaibench.reading import percent

__all__ = ["FILLS", "Part", "bar", "bracket", "bracket_parts"]

FILLS = {
    "held": BLUE,
    "open": f"repeating-linear-gradient(135deg,{BLUE} 0 5px,{BLUE}55 5px 10px)",
    "lost": ORANGE,
    "wrong": "#8a93a055",
    "right": PALE_BLUE,
}
"""What fills the parts, by their kind: ``right`` is not attacked yet."""
_LEAST = 1e-12
"""Shares below which a part is none: what rounding leaves."""


@dataclass(frozen=True)
class Part:
    """A share of the samples, and what became of them: ``kind`` is one of `FILLS`."""

    kind: str
    share: float
    label: str


def bracket_parts(*, clean: float, robust: float, proved: float | None) -> tuple[Part, ...]:
    """Accuracies as parts, from proved to wrong from the start, which add up to 1; ``proved`` None was not tried.

    >>> [(part.kind, part.label) for part in bracket_parts(clean=1.0, robust=0.5, proved=0.5)]
    [('held', 'proved to stay right'), ('lost', 'broken by an attack')]
    """
    parts = (
        Part("held", proved or 0.0, "proved to stay right"),
        Part(
            "open",
            robust - (proved or 0.0),
            "not broken by any attack" if proved is None else "neither broken nor proved",
        ),
        Part("lost", clean - robust, "broken by an attack"),
        Part("wrong", 1 - clean, "wrong from the start"),
    )
    return tuple(part for part in parts if part.share > _LEAST)


def bar(parts: Sequence[Part], label: str, *, height: str = "1.6rem", radius: str = "0.5rem") -> str:
    """The parts side by side as HTML; ``label`` is read out in their place."""
    pieces = "".join(
        f'<span style="width:{100 * part.share:.3f}%;background:{FILLS[part.kind]}"></span>' for part in parts
    )
    style = f"display:flex;height:{height};border-radius:{radius};overflow:hidden;gap:2px"
    return f'<div role="img" aria-label="{escape(label)}" style="{style}">{pieces}</div>'


def bracket(parts: Sequence[Part]) -> str:
    """The bar of the parts with a line for each below it, as HTML."""
    rows = "".join(
        f'<li style="display:flex;align-items:baseline;gap:0.45rem;margin:0">'
        f'<span style="flex:none;width:0.8rem;height:0.8rem;border-radius:3px;background:{FILLS[part.kind]}"></span>'
        f"<span><b>{escape(percent(part.share))}</b> {escape(part.label)}</span></li>"
        for part in parts
    )
    return (
        bar(parts, ", ".join(f"{percent(part.share)} {part.label}" for part in parts))
        + '<ul style="list-style:none;padding:0;margin:0.6rem 0 0;display:flex;flex-wrap:wrap;gap:0.2rem 1.6rem;'
        f'font-size:0.9rem">{rows}</ul>'
    )
