"""The chart of the map: a colour and a shape for each class, filled before an attack and hollow after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from xaibench.drawing.charts import verbatim
from xaibench.drawing.colours import GREY, PALETTE, SYMBOLS

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.overview import EmbeddingMap
    from xaibench.pages.explanations.points import Points

__all__ = ["map_chart"]

_NAMED = 12
"""Classes that are named in the map, and in its legend: with more there is no room."""


def map_chart(found: EmbeddingMap, points: Points, place: int, edits: Mapping[int, str]) -> Any:
    """Each class by a colour and a shape: filled for samples, hollow after the attack that fooled them.

    Wrong ones are crossed out, and a ring marks the picked one. The row of each point stands in its ``customdata``;
    ``edits`` are what was changed in fooled texts, by position.
    """
    import plotly.graph_objects as go

    chart = go.Figure()
    names, labels = points.data.class_names, points.data.labels
    after = _spread(found, points)
    _add_moves(chart, found.points, after, points)
    for index in range(len(names)):
        own = labels == index
        _add_class(chart, index, found.points, own, points, told=_before(points))
        _add_class(chart, index, after, own & points.fooled, points, told=_after(points, edits), hollow=True)
    _add_crosses(chart, found.points[~points.right])
    _add_ring(chart, found.points[place])
    if len(names) <= _NAMED:
        _add_names(chart, found.points, labels, names)
    chart.update_layout(
        height=520,
        margin={"l": 0, "r": 0, "t": 8, "b": 8},
        legend={"orientation": "h", "y": -0.02, "yanchor": "top", "x": 0},
        dragmode="pan",
        clickmode="event+select",
    )
    chart.update_yaxes(showticklabels=False, ticks="", zeroline=False)
    chart.update_xaxes(showticklabels=False, ticks="", zeroline=False)
    return verbatim(chart)


def _add_class(
    chart: Any,
    index: int,
    where: Tensor,
    which: Tensor,
    points: Points,
    *,
    told: Callable[[int], str],
    hollow: bool = False,
) -> None:
    """Those of a class that ``which`` (n,) marks, at their places in ``where`` (n, 2)."""
    if not bool(which.any()):
        return
    names, symbol = points.data.class_names, SYMBOLS[index % len(SYMBOLS)]
    look = {"symbol": f"{symbol}-open", "line": {"width": 1.6}} if hollow else {"symbol": symbol}
    chart.add_scatter(
        x=where[which, 0].tolist(),
        y=where[which, 1].tolist(),
        mode="markers",
        name=names[index],
        legendgroup=names[index],
        showlegend=len(names) <= _NAMED and not hollow,
        marker={"color": PALETTE[index % len(PALETTE)], "size": 9, "opacity": 0.85, **look},
        customdata=[[int(points.data.ids[row]), told(row)] for row in which.nonzero().flatten().tolist()],
        hovertemplate="%{customdata[0]}: %{customdata[1]}<extra></extra>",
        selected={"marker": {"opacity": 0.85}},
        unselected={"marker": {"opacity": 0.85}},
    )


def _spread(found: EmbeddingMap, points: Points) -> Tensor:
    """Where each sample (n, 2) lies after the attack; NaN for those that were not attacked."""
    after = found.points.new_full(found.points.shape, float("nan"))
    if found.others is not None and points.places is not None:
        after[points.places] = found.others
    return after


def _before(points: Points) -> Callable[[int], str]:
    names = points.data.class_names

    def told(place: int) -> str:
        label, said = (names[int(index[place])] for index in (points.data.labels, points.before))
        return label if label == said else f"{label}, taken for {said}"

    return told


def _after(points: Points, edits: Mapping[int, str]) -> Callable[[int], str]:
    names = points.data.class_names

    def told(place: int) -> str:
        label, said = (names[int(index[place])] for index in (points.data.labels, points.then))
        text = f"{label}, after the attack taken for {said}"
        return f"{text}: {edits[place]}" if place in edits else text

    return told


def _add_moves(chart: Any, before: Tensor, after: Tensor, points: Points) -> None:
    """Lines from the fooled samples to where they went, as one broken line."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for place in points.fooled.nonzero().flatten().tolist():
        (x, y), (u, v) = before[place].tolist(), after[place].tolist()
        xs += [x, u, None]
        ys += [y, v, None]
    if xs:
        chart.add_scatter(
            x=xs,
            y=ys,
            mode="lines",
            line={"color": "rgba(127,127,127,0.45)", "width": 1},
            hoverinfo="skip",
            showlegend=False,
        )


def _add_crosses(chart: Any, where: Tensor) -> None:
    """Thin crosses over the wrong samples, that take no clicks from them."""
    if len(where):
        chart.add_scatter(
            x=where[:, 0].tolist(),
            y=where[:, 1].tolist(),
            mode="markers",
            marker={"symbol": "x-thin", "size": 15, "line": {"width": 2.5, "color": GREY}},
            hoverinfo="skip",
            showlegend=False,
        )


def _add_ring(chart: Any, point: Tensor) -> None:
    chart.add_scatter(
        x=[float(point[0])],
        y=[float(point[1])],
        mode="markers",
        marker={"size": 20, "symbol": "circle-open", "color": GREY, "line": {"width": 3}},
        hoverinfo="skip",
        showlegend=False,
    )


def _add_names(chart: Any, where: Tensor, labels: Tensor, names: tuple[str, ...]) -> None:
    """The name of each class in its middle, so that colour is not alone in telling."""
    for index, name in enumerate(names):
        own = where[labels == index]
        if len(own):
            x, y = own.median(dim=0).values.tolist()
            chart.add_annotation(
                x=x,
                y=y,
                text=name,
                showarrow=False,
                bgcolor="rgba(255,255,255,0.75)",
                font={"color": "#222222", "size": 13, "weight": "bold"},
            )
