"""How charts are shown; and bars: what the model says before and after an attack, what its features contribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from xaibench.drawing.charts import laid_out, names_down
from xaibench.drawing.colours import BLUE, ORANGE, VIOLET
from xaibench.reading import percent

__all__ = ["STILL", "described", "paired_bars", "prepare"]

STILL = {"displayModeBar": False}
"""How charts are shown: without a bar of tools over them."""

_COLOURS = (BLUE, ORANGE)


def prepare() -> None:
    """Import pandas whole before Plotly, which takes what another session has imported half as it is."""
    import_module("pandas")


def paired_bars(
    names: Sequence[str],
    series: Mapping[str, Sequence[float]],
    *,
    limits: tuple[float, float] | None = None,
    axis: str = "",
    signed: bool = True,
) -> Any:
    """Horizontal bars, one group per name from the top down, one colour per series, as a Plotly figure.

    ``limits`` bound the axis; (0, 1) reads as percent. Of one series alone, negative values have the other colour,
    and values that are not ``signed`` that of no side.
    """
    import plotly.graph_objects as go

    shares = limits == (0.0, 1.0)
    figure = go.Figure(
        [
            go.Bar(
                name=label,
                y=list(names),
                x=list(values),
                orientation="h",
                marker_color=colour if shares or len(series) > 1 else [_looks(value, signed) for value in values],
                text=[percent(value) if shares else f"{value:.3g}" for value in values],
                textposition="outside",
                textfont={"size": 13},
                textangle=0,
                cliponaxis=False,
                hovertemplate="%{y}: %{text}<extra>%{fullData.name}</extra>",
            )
            for (label, values), colour in zip(series.items(), _COLOURS, strict=False)
        ]
    )
    figure.update_yaxes(**names_down())
    figure.update_xaxes(
        range=_room(series, limits), showticklabels=not shares, showgrid=not shares, zeroline=True, title=axis or None
    )
    return laid_out(
        figure,
        height=60 + (18 * len(series) + 10) * len(names),
        margin_r=36,
        bargap=0.3,
        bargroupgap=0.1,
        showlegend=len(series) > 1,
    )


def _looks(value: float, signed: bool) -> str:
    return _COLOURS[value < 0] if signed else VIOLET


def described(names: Sequence[str], series: Mapping[str, Sequence[float]]) -> str:
    """A chart in words.

    >>> described(["cat", "dog"], {"before": [0.9, 0.1], "after": [0.2, 0.8]})
    'cat: 0.9 before, 0.2 after; dog: 0.1 before, 0.8 after'
    """
    return "; ".join(
        f"{name}: " + ", ".join(f"{values[place]:.3g} {label}" for label, values in series.items())
        for place, name in enumerate(names)
    )


def _room(series: Mapping[str, Sequence[float]], limits: tuple[float, float] | None) -> list[float]:
    """The axis with room for the figures at the ends of the bars."""
    values = [0.0, *(limits or ()), *(value for each in series.values() for value in each)]
    low, high = min(values), max(values)
    room = 0.35 * (high - low)
    return [low - room * (low < 0), high + room * (high > 0)]
