"""What Plotly charts have in common: margins, the legend above, axes of shares and of names, intervals.

Maps, which a reader moves, and pictures whose regions are clicked lay themselves out; maps name classes by `verbatim`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

__all__ = ["error_bars", "laid_out", "names_down", "share_axis", "verbatim"]

_MARGIN = {"l": 0, "r": 8, "t": 8, "b": 8}
"""Pixels; Plotly adds what axes and legend need."""
_LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
_TEXTS = ("name", "text", "hovertext", "customdata", "x", "y")
"""Where in a trace texts stand; names of categories are places on an axis too."""
_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def laid_out(figure: Any, *, height: int, **layout: Any) -> Any:
    """A figure of this height in pixels with common margins and legend; ``layout`` is Plotly's, and goes first.

    Its axes stand still, so that a finger that moves over it moves the page, and its texts are `verbatim`.
    """
    verbatim(figure).update_layout(height=height, margin=_MARGIN, legend=_LEGEND)
    figure.update_layout(**layout)
    figure.update_xaxes(fixedrange=True)
    figure.update_yaxes(fixedrange=True)
    return figure


def verbatim(figure: Any) -> Any:
    """A figure whose texts Plotly shows as they are, whatever tags a name holds; called once, when all are in it.

    Templates alone are left as they are: a name comes into them by ``%{y}``, ``%{customdata}``, ``%{fullData.name}``.
    """
    for trace in figure.data:
        told = trace.to_plotly_json()
        trace.update({key: _escaped(told[key]) for key in _TEXTS if key in told})
    for note in figure.layout.annotations:
        note.update({key: _escaped(note[key]) for key in ("text", "x", "y")})
    for axis in (*figure.select_xaxes(), *figure.select_yaxes()):
        axis.update({key: _escaped(axis[key]) for key in ("ticktext", "categoryarray")})
        axis.title.text = _escaped(axis.title.text)
    return figure


def _escaped(value: Any) -> Any:
    """Texts, also those in lists, with their tags for reading and lines for line breaks; all else as it is."""
    if isinstance(value, str):
        return escape(value, quote=False).replace("\n", "<br>")
    return [_escaped(one) for one in value] if isinstance(value, list | tuple) else value


def share_axis(title: str | None = None, *, low: float = -0.03, high: float = 1.03) -> dict[str, Any]:
    """An axis of shares in percent, from none to all, with room for the marks at its ends."""
    return {
        "range": [low, high],
        "tickvals": list(_TICKS),
        "ticktext": [f"{100 * tick:.0f} %" for tick in _TICKS],
        "title": title,
    }


def names_down() -> dict[str, Any]:
    """An axis of names from the top down."""
    return {"autorange": "reversed", "type": "category", "ticks": "", "showgrid": False, "automargin": True}


def error_bars(means: Sequence[float], intervals: Sequence[tuple[float, float]], **looks: Any) -> dict[str, Any]:
    """Intervals, by their ends, as error bars of the means."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - mean for mean, (_, high) in zip(means, intervals, strict=True)],
        "arrayminus": [mean - low for mean, (low, _) in zip(means, intervals, strict=True)],
        "thickness": 1,
        "width": 3,
        **looks,
    }
