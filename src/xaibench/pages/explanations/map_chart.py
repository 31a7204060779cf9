"""The chart of the map: colours and names for classes, shapes for what became of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xaibench.drawing.colours import GREY, PALETTE

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.overview import EmbeddingMap
    from xaibench.pages.explanations.points import Points

__all__ = ["map_chart"]

_NAMED = 12
"""Classes that are named in the map, and in its legend: with more there is no room."""


def map_chart(found: EmbeddingMap, points: Points, place: int) -> Any:
    """Dots for samples, crosses for wrong ones, diamonds after the attack that fooled them; a ring for the picked one.

    The row of each point stands in its ``customdata``.
    """
    import plotly.graph_objects as go

    chart = go.Figure()
    if found.others is not None:
        _add_moves(chart, found, points)
    names, labels = points.data.class_names, points.data.labels
    for index, name in enumerate(names):
        own = labels == index
        kinds = [
            (own & points.right, found.points, "circle", "right"),
            (own & ~points.right, found.points, "x", "wrong"),
        ]
        if found.others is not None:
            kinds.append((own & points.fooled, found.others, "diamond-open", "fooled"))
        for which, where, symbol, kind in kinds:
            if not bool(which.any()):
                continue
            chart.add_scatter(
                x=where[which, 0].tolist(),
                y=where[which, 1].tolist(),
                mode="markers",
                name=name,
                legendgroup=name,
                showlegend=kind == "right" and len(names) <= _NAMED,
                marker={"color": PALETTE[index % len(PALETTE)], "symbol": symbol, "size": 8, "opacity": 0.85},
                customdata=[[row, said] for row, said in _told(points, which, kind)],
                hovertemplate="%{customdata[0]}: %{customdata[1]}<extra></extra>",
                selected={"marker": {"opacity": 0.85}},
                unselected={"marker": {"opacity": 0.85}},
            )
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
    return chart


def _told(points: Points, which: Tensor, kind: str) -> list[tuple[int, str]]:
    """Row, and what is said of it, of some points."""
    names = points.data.class_names
    found = []
    for place in which.nonzero().flatten().tolist():
        label, before = names[int(points.data.labels[place])], names[int(points.before[place])]
        text = label if kind == "right" else f"{label}, taken for {before}"
        if kind == "fooled" and points.after is not None:
            text = f"{label}, after the attack taken for {names[int(points.after[place])]}"
        found.append((int(points.data.ids[place]), _escaped(text)))
    return found


def _escaped(text: str) -> str:
    """Plotly reads some HTML in what hovers."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _add_moves(chart: Any, found: EmbeddingMap, points: Points) -> None:
    """Lines from the fooled samples to where they went, as one broken line."""
    assert found.others is not None
    xs: list[float | None] = []
    ys: list[float | None] = []
    for place in points.fooled.nonzero().flatten().tolist():
        (x, y), (u, v) = found.points[place].tolist(), found.others[place].tolist()
        xs += [x, u, None]
        ys += [y, v, None]
    chart.add_scatter(
        x=xs,
        y=ys,
        mode="lines",
        line={"color": "rgba(127,127,127,0.45)", "width": 1},
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
                text=f"<b>{_escaped(name)}</b>",
                showarrow=False,
                bgcolor="rgba(255,255,255,0.75)",
                font={"color": "#222222", "size": 13},
            )
