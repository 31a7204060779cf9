"""Pictures with captions, and shaded words, as HTML; the colours are those of the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from xaibench.report.labels import method_label

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.explainers import Attribution

__all__ = ["attribution_figure", "figure", "gallery", "legend", "method_heading", "overlay", "shaded_words"]

_FOR, _AGAINST, _STRONG = "18,110,190", "200,100,10", "120,80,190"
_SMALL = 64
"""Pictures below this many pixels a side are enlarged without smoothing."""
_BADGES = {"trusted": (_FOR, "✓"), "doubtful": (_AGAINST, "?"), "unreliable": (_STRONG, "✗")}
_NARROWEST = 11
"""Width, in letters' heights, below which pictures of a gallery do not shrink: two stand side by side on a phone."""


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


def gallery(cells: Iterable[str]) -> str:
    """Pieces of HTML side by side, as many in a row as the window has room for."""
    inside = "".join(f'<div style="min-width:0">{cell}</div>' for cell in cells)
    columns = f"repeat(auto-fill,minmax(min({_NARROWEST}rem,45%),1fr))"
    return f'<div style="display:grid;gap:1.25rem 1rem;grid-template-columns:{columns}">{inside}</div>'


def overlay(x: Tensor, values: Tensor, alt: str, *, bounds: tuple[float, float], opacity: float, signed: bool) -> str:
    """Attributions over the image (channels, height, width) that they explain, in colours as `attribution_figure`."""
    from xaibench.report.pictures import collapse, map_picture, photo

    style = (
        "width:100%;height:100%;display:block;border-radius:0.5rem;object-fit:fill;"
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
    colour, mark = _BADGES[trust.verdict]
    badge = (
        f'<span style="background:rgba({colour},0.2);border:1px solid rgb({colour});border-radius:1rem;'
        f'padding:0 0.5rem;font-size:0.8rem;white-space:nowrap">{mark} {trust.verdict}</span>'
    )
    gap = attribution.completeness_gap
    facts = [
        f"for {class_names[int(attribution.target[0])]}",
        *([] if gap is None else [f"completeness gap {abs(float(gap[0])):.2g}"]),
        f"{attribution.cost.seconds:.2g} s",
    ]
    title = f"{method_label(method)} {when}".strip()
    return (
        f'<div style="margin:0.4rem 0 0.1rem;overflow-wrap:anywhere"><b>{escape(title)}</b> {badge}</div>'
        f'<div style="opacity:0.75;font-size:0.85rem;line-height:1.4;overflow-wrap:anywhere">'
        f"{escape(', '.join(facts))}: {escape(trust.reason)}</div>"
    )


def legend(*, signed: bool, unsigned: bool) -> str:
    """What the colours of explanations mean."""
    parts = ["Blue speaks for the class, orange against it"] * signed + ["violet is strength without a sign"] * unsigned
    line = "; ".join(parts)
    return f"{line[:1].upper()}{line[1:]}."
