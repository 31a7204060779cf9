"""Pictures with captions, and shaded words, as HTML; the colours are those of the report."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["attribution_figure", "figure", "shaded_words"]

_FOR, _AGAINST, _STRONG = "18,110,190", "200,100,10", "120,80,190"
_SMALL = 64
"""Pictures below this many pixels a side are enlarged without smoothing."""


def figure(source: str, caption: str, *, side: int) -> str:
    """A picture (a data URI) of ``side`` pixels with a caption, which also stands in for it where it cannot be seen."""
    text = escape(caption)
    rendering = "pixelated" if side < _SMALL else "auto"
    return (
        f'<figure style="margin:0"><img src="{source}" alt="{text}"'
        f' style="width:100%;image-rendering:{rendering};border-radius:0.5rem;display:block">'
        f'<figcaption style="opacity:0.75;font-size:0.875rem;margin-top:0.4rem">{text}</figcaption></figure>'
    )


def attribution_figure(values: Tensor, caption: str, *, signed: bool) -> str:
    """Attributions (channels, height, width) as a figure: blue for, orange against; violet where they have no sign."""
    from xaibench.report.pictures import collapse, map_picture

    picture = map_picture(collapse(values, signed=signed), signed=signed)
    return figure(picture, caption, side=max(values.shape[1:]))


def shaded_words(words: Sequence[str], values: Tensor, *, signed: bool) -> str:
    """Words as HTML on grounds in the colour and strength of their attributions (length,); padding is left out."""
    positive = _FOR if signed else _STRONG
    shares = (values / values.abs().amax().clamp_min(1e-30)).tolist()
    spans = [
        f'<span style="background:rgba({_AGAINST if share < 0 else positive},{0.8 * abs(share) ** 0.7:.2f});'
        f'border-radius:0.2rem;padding:0.05rem 0.15rem">{escape(word)}</span>'
        for word, share in zip(words, shares, strict=True)
        if word
    ]
    return f'<p style="line-height:1.9;overflow-wrap:anywhere">{" ".join(spans)}</p>'
