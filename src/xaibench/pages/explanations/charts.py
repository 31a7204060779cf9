"""Charts of the page: bars with intervals, and tables of numbers as colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xaibench.drawing.charts import error_bars, laid_out, names_down, share_axis
from xaibench.drawing.colours import BLUE, GREY, ORANGE, PALE_BLUE

__all__ = ["heat_map", "interval_bars", "movement_lines"]


_STRONG, _PALE = BLUE, PALE_BLUE
_SHADES = ("#f2f5fa", PALE_BLUE, "#4a96d3")
_INK = "#1a1a1a"
"""Numbers on shades, in either theme: even the strongest is light enough for dark ones."""
_CAUSES = {
    "noise": ("random noise", GREY, "dot"),
    "attack": ("attack on the prediction", ORANGE, "dash"),
    "manipulation": ("attack on the explanation", BLUE, "solid"),
}


def interval_bars(
    names: Sequence[str],
    means: Sequence[float],
    intervals: Sequence[tuple[float | None, float | None]],
    *,
    strong: Sequence[bool],
    axis: str,
) -> Any:
    """Horizontal bars from the top down with their intervals; ``strong`` ones are darker."""
    import plotly.graph_objects as go

    ends = [
        (mean if low is None else low, mean if high is None else high)
        for mean, (low, high) in zip(means, intervals, strict=True)
    ]
    figure = go.Figure(
        go.Bar(
            x=list(means),
            y=list(names),
            orientation="h",
            marker_color=[_STRONG if one else _PALE for one in strong],
            error_x=error_bars(means, ends, color=GREY, thickness=1.5, width=4),
            customdata=[f"{mean:.3g} ({low:.3g} to {high:.3g})" for mean, (low, high) in zip(means, ends, strict=True)],
            hovertemplate="%{y}: %{customdata}<extra></extra>",
        )
    )
    figure.update_yaxes(**names_down())
    figure.update_xaxes(title=axis, zeroline=True)
    return laid_out(figure, height=70 + 20 * len(names), bargap=0.25)


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    shades: Sequence[Sequence[float | None]],
    texts: Sequence[Sequence[str]],
    *,
    hover: str,
) -> Any:
    """A table whose cells are shaded from pale (0) to blue (1); None stays empty."""
    import plotly.graph_objects as go

    figure = go.Figure(
        go.Heatmap(
            z=[list(row) for row in shades],
            x=list(columns),
            y=list(rows),
            text=[list(row) for row in texts],
            texttemplate="%{text}",
            textfont={"size": 13, "color": _INK},
            colorscale=list(zip((0, 0.5, 1), _SHADES, strict=True)),
            zmin=0,
            zmax=1,
            showscale=False,
            xgap=3,
            ygap=3,
            hovertemplate=hover,
        )
    )
    figure.update_yaxes(**names_down())
    figure.update_xaxes(type="category", side="top", ticks="", showgrid=False, automargin=True)
    return laid_out(figure, height=90 + 38 * len(rows))


def movement_lines(curves: Sequence[Any], figure_name: str, *, unit: str) -> Any:
    """What is left of one method's maps by radius, a line with its band for each cause; ``curves`` as reports hold."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for curve in sorted(curves, key=lambda curve: list(_CAUSES).index(curve.cause)):
        label, colour, dash = _CAUSES[curve.cause]
        estimates = [point.figures[figure_name] for point in curve.points]
        figure.add_scatter(
            x=[0.0, *(point.radius for point in curve.points)],
            y=[1.0, *(one.mean for one in estimates)],
            error_y=error_bars([1.0, *(one.mean for one in estimates)], [(1.0, 1.0), *(one.ends for one in estimates)]),
            mode="lines+markers",
            name=label,
            line={"color": colour, "dash": dash},
            customdata=[0, *(point.n for point in curve.points)],
            hovertemplate="%{y:.2f} at %{x:.3g}, %{customdata} samples<extra>%{fullData.name}</extra>",
        )
    if figure_name == "top_k_overlap":
        figure.update_yaxes(**share_axis(low=-0.05, high=1.05))
    else:
        figure.update_yaxes(range=[-0.05, 1.05], tickformat=".1f")
    figure.update_xaxes(title=unit, rangemode="tozero")
    return laid_out(figure, height=300)
