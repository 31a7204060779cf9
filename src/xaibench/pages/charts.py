"""Bars: what the model says before and after an attack, and what its features contribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["paired_bars", "percent"]

_COLOURS = ("#6C8EBF", "#D55E00")


def percent(value: float) -> str:
    """A probability as people read it.

    >>> percent(0.98765), percent(0.99999), percent(0.0)
    ('98.8 %', '> 99.9 %', '0.0 %')
    """
    return "> 99.9 %" if 0.9995 <= value < 1 else f"{100 * value:.1f} %"


def paired_bars(
    names: Sequence[str],
    series: Mapping[str, Sequence[float]],
    *,
    limits: tuple[float, float] | None = None,
    axis: str = "",
) -> Any:
    """Horizontal bars, one group per name from the top down, one colour per series, as a Plotly figure.

    ``limits`` bound the axis; (0, 1) reads as percent.
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
                marker_color=colour,
                text=[percent(value) if shares else f"{value:.3g}" for value in values],
                textposition="outside",
                cliponaxis=False,
                hovertemplate="%{y}: %{text}<extra>" + label + "</extra>",
            )
            for (label, values), colour in zip(series.items(), _COLOURS, strict=False)
        ]
    )
    figure.update_layout(
        height=90 + 44 * len(names),
        margin={"l": 0, "r": 56, "t": 8, "b": 8},
        bargap=0.35,
        bargroupgap=0.1,
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        showlegend=len(series) > 1,
    )
    figure.update_yaxes(autorange="reversed", type="category", ticks="", showgrid=False)
    figure.update_xaxes(
        range=[*limits] if limits else None,
        showticklabels=not shares,
        showgrid=not shares,
        zeroline=True,
        title=axis or None,
    )
    return figure
