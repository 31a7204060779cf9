"""Small pieces of HTML without scripts or style sheets: figures, shaded words, bars of features and tables.

Every text is escaped here. Colours are those of the report: blue for, orange against, violet where there is no sign.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "OUTLINE",
    "attribution_figure",
    "badge",
    "card",
    "facts",
    "feature_bars",
    "figure",
    "gallery",
    "legend",
    "paragraph",
    "shaded_words",
    "table",
]

_FOR, _AGAINST, _STRONG = "18,110,190", "200,100,10", "120,80,190"
OUTLINE = "outline:1px solid rgba(128,128,128,0.35);outline-offset:-1px"
"""The edge of a picture, as a style: a white one has it on a white page, and it takes no room."""
_SMALL = 64
"""Pictures below this many pixels a side are enlarged without smoothing."""
_NARROWEST = 11
"""Width, in letters' heights, below which pictures of a gallery do not shrink: two stand side by side on a phone."""
_CLOSE = 8
"""The same for a few pictures that belong together: a sample, a change of it, and what came of it."""
_FEATURES = 10
_BADGES = {
    "trusted": (_FOR, "✓"),
    "reliable": (_FOR, "✓"),
    "doubtful": (_AGAINST, "?"),
    "unreliable": (_STRONG, "✗"),
    "unchecked": ("128,128,128", "–"),
}


def figure(source: str, caption: str, *, side: int) -> str:
    """A picture (a data URI) of ``side`` pixels with a caption, which also stands in for it where it cannot be seen."""
    text = escape(caption)
    rendering = "pixelated" if side < _SMALL else "auto"
    return (
        f'<figure style="margin:0"><img src="{source}" alt="{text}"'
        f' style="width:100%;image-rendering:{rendering};border-radius:0.5rem;{OUTLINE};display:block">'
        f'<figcaption style="opacity:0.75;font-size:0.875rem;margin-top:0.4rem">{text}</figcaption></figure>'
    )


def attribution_figure(values: Tensor, caption: str, *, signed: bool) -> str:
    """Attributions (channels, height, width) as a figure: blue for, orange against; violet where they have no sign."""
    from xaibench.drawing.pictures import collapse, map_picture

    picture = map_picture(collapse(values, signed=signed), signed=signed)
    return figure(picture, caption, side=max(values.shape[1:]))


def shaded_words(
    words: Sequence[str],
    values: Tensor,
    *,
    signed: bool,
    marked: Container[int] = (),
    shown: Container[int] | None = None,
) -> str:
    """Words as HTML on grounds in the colour and strength of their attributions (length,); padding is left out.

    Those at the places ``marked`` are underlined; for what is not ``shown``, if that is given, there are three dots.
    """
    positive = _FOR if signed else _STRONG
    shares = (values / values.abs().amax().clamp_min(1e-30)).tolist()
    spans: list[str] = []
    for place, (word, share) in enumerate(zip(words, shares, strict=True)):
        if shown is not None and place not in shown:
            spans += ["…"] * (bool(word) and spans[-1:] != ["…"])
        elif word:
            mark = ";text-decoration:underline 2px;font-weight:600" if place in marked else ""
            spans.append(
                f'<span style="background:rgba({_AGAINST if share < 0 else positive},{0.8 * abs(share) ** 0.7:.2f});'
                f'border-radius:0.2rem;padding:0.05rem 0.15rem{mark}">{escape(word)}</span>'
            )
    return f'<p style="line-height:1.9;overflow-wrap:anywhere">{" ".join(spans)}</p>'


def feature_bars(names: Sequence[str], values: Tensor, *, signed: bool) -> str:
    """The features (features,) of largest attribution as bars, the largest first."""
    share = (values.double() / values.double().abs().amax().clamp_min(1e-300)).tolist()
    rows = []
    for place in sorted(range(len(share)), key=lambda place: -abs(share[place]))[:_FEATURES]:
        colour = (_AGAINST if share[place] < 0 else _FOR) if signed else _STRONG
        rows.append(
            f'<div style="overflow-wrap:anywhere">{escape(names[place])}</div>'
            f'<div><span style="display:inline-block;vertical-align:middle;height:0.8rem;border-radius:0.2rem;'
            f'width:{70 * abs(share[place]):.1f}%;background:rgb({colour})"></span>'
            f' <span style="font-size:0.8rem">{f"{float(values[place]):+.3g}".replace("-", "−")}</span></div>'
        )
    grid = "display:grid;grid-template-columns:minmax(6rem,12rem) 1fr;gap:0.1rem 0.8rem;align-items:center"
    return f'<div style="{grid}">{"".join(rows)}</div>'


def gallery(cells: Iterable[str], *, together: int = 0) -> str:
    """Pieces of HTML side by side, as many in a row as the window has room for.

    So many that belong ``together`` fill a row, also in a narrower window; 0 for pieces of which each stands alone.
    """
    inside = "".join(f'<div style="min-width:0">{cell}</div>' for cell in cells)
    least = f"min({_CLOSE if together else _NARROWEST}rem,45%)"
    if together:  # a little less than its part of the row, for roundings may not push the last one out of it
        least = f"max({least},calc((99.5% - {together - 1}rem)/{together}))"
    columns = f"repeat(auto-fill,minmax({least},1fr))"
    return f'<div style="display:grid;gap:1.25rem 1rem;grid-template-columns:{columns}">{inside}</div>'


def badge(verdict: str) -> str:
    """A verdict by colour, sign and word."""
    colour, mark = _BADGES[verdict]
    return (
        f'<span style="background:rgba({colour},0.2);border:1px solid rgb({colour});border-radius:1rem;'
        f'padding:0 0.5rem;font-size:0.8rem;white-space:nowrap">{mark} {verdict}</span>'
    )


def paragraph(text: str, *, soft: bool = False) -> str:
    """A text as a paragraph."""
    style = "margin:0.4rem 0;overflow-wrap:anywhere" + (";opacity:0.75;font-size:0.875rem" if soft else "")
    return f'<p style="{style}">{escape(text)}</p>'


def facts(items: Iterable[tuple[str, str]]) -> str:
    """Names and values on one line."""
    return paragraph(" · ".join(f"{name} {value}" for name, value in items), soft=True)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; what is wider than the window scrolls by itself."""
    cell = "padding:0.2rem 0.8rem 0.2rem 0;text-align:left;border-bottom:1px solid rgba(128,128,128,0.3)"
    head = "".join(f'<th scope="col" style="{cell}">{escape(name)}</th>' for name in header)
    body = "".join("<tr>" + "".join(f'<td style="{cell}">{escape(one)}</td>' for one in row) + "</tr>" for row in rows)
    inside = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    style = "border-collapse:collapse;font-size:0.875rem;background:none"
    return f'<div style="overflow-x:auto;margin:0.5rem 0"><table style="{style}">{inside}</table></div>'


def card(title: str, verdict: str | None, *parts: str) -> str:
    """Pieces of HTML below a heading: how a result draws itself in a notebook."""
    mark = "" if verdict is None else f" {badge(verdict)}"
    frame = "font-family:system-ui,sans-serif;line-height:1.5;max-width:60rem;padding:0.5rem 0"
    heading = f'<div style="font-size:1.05rem;overflow-wrap:anywhere"><b>{escape(title)}</b>{mark}</div>'
    return f'<div style="{frame}">{heading}{"".join(parts)}</div>'


def legend(*, signed: bool, unsigned: bool) -> str:
    """What the colours of explanations mean."""
    parts = ["Blue speaks for the class, orange against it"] * signed + ["violet is strength without a sign"] * unsigned
    line = "; ".join(parts)
    return f"{line[:1].upper()}{line[1:]}."
