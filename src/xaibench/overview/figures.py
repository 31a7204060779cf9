"""Pictures of overviews: Plotly figures from their data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from xaibench.drawing.charts import error_bars, laid_out, names_down, verbatim
from xaibench.drawing.colours import BLUE, PALETTE
from xaibench.errors import InputError
from xaibench.overview.embedding import EmbeddingMap
from xaibench.overview.importance import GlobalImportance
from xaibench.overview.swarm import Beeswarm

__all__ = ["importance_figure", "map_figure", "swarm_figure"]


def importance_figure(found: GlobalImportance, *, most: int = 15) -> Any:
    """Horizontal bars of the ``most`` important features with their intervals, most important on top."""
    import plotly.graph_objects as go

    top = found.top(most)
    mean, low, high = (part[top] for part in (found.mean, found.low, found.high))
    ends = (torch.where(end.isnan(), mean, end).tolist() for end in (low, high))
    intervals = list(zip(*ends, strict=True))
    figure = go.Figure(
        go.Bar(
            x=mean.tolist(),
            y=[found.names[place] for place in top.tolist()],
            orientation="h",
            marker_color=BLUE,
            error_x=error_bars(mean.tolist(), intervals),
            hovertemplate="%{y}: %{x:.4g}<extra></extra>",
        )
    )
    figure.update_xaxes(title=f"{found.measure},\n{100 * found.confidence:g} % intervals", zeroline=True)
    figure.update_yaxes(**names_down())
    return laid_out(figure, height=86 + 26 * len(top), showlegend=False)


def swarm_figure(found: Beeswarm) -> Any:
    """One line of points for each feature, coloured by the rank of the feature's own value."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for k, name in enumerate(found.names):
        figure.add_scatter(
            x=found.attribution[:, k].tolist(),
            y=(k + found.offset[:, k]).tolist(),
            mode="markers",
            name=name,
            marker={
                "size": 5,
                "color": found.rank[:, k].tolist(),
                "colorscale": "RdBu_r",
                "cmin": 0,
                "cmax": 1,
                "showscale": k == 0,
                "colorbar": {"title": "value", "tickvals": [0, 1], "ticktext": ["low", "high"]},
            },
            text=[f"{value:.4g}" for value in found.value[:, k].tolist()],
            hovertemplate="%{fullData.name} = %{text}: %{x:.4g}<extra></extra>",
        )
    ticks = list(range(len(found.names)))
    figure.update_yaxes(tickvals=ticks, ticktext=list(found.names), range=[len(ticks) - 0.5, -0.5])
    figure.update_yaxes(showgrid=False, zeroline=False)
    figure.update_xaxes(title="attribution", zeroline=True)
    return laid_out(figure, height=80 + 30 * len(ticks), showlegend=False)


def map_figure(
    found: EmbeddingMap, labels: Tensor, class_names: Sequence[str], other_labels: Tensor | None = None
) -> Any:
    """The points of a map by class: dots, and crosses for the others.

    ``labels`` (n,) and ``other_labels`` (m,), by default the same, are classes. Raises `InputError` where they are not
    as many as the points.
    """
    import plotly.graph_objects as go

    sets = [("", found.points, labels, "circle")]
    if found.others is not None:
        sets.append((", attacked", found.others, labels if other_labels is None else other_labels, "x"))
    figure = go.Figure()
    for suffix, points, classes, symbol in sets:
        if classes.shape != points.shape[:1]:
            raise InputError(f"expected a class for each of {len(points)} points, got {tuple(classes.shape)}")
        for place, name in enumerate(class_names):
            some = points[(classes == place).cpu()]
            if len(some):
                figure.add_scatter(
                    x=some[:, 0].tolist(),
                    y=some[:, 1].tolist(),
                    mode="markers",
                    name=f"{name}{suffix}",
                    marker={"color": PALETTE[place % len(PALETTE)], "symbol": symbol, "size": 7, "opacity": 0.75},
                )
    named = {"pca": "principal axes", "tsne": "t-SNE"}[found.method]
    figure.update_layout(
        height=480,
        margin={"l": 0, "r": 12, "t": 30, "b": 8},
        title={"text": f"{named}, trustworthiness {found.trustworthiness:.2f}", "font": {"size": 13}},
    )
    figure.update_yaxes(scaleanchor="x", showticklabels=False)
    figure.update_xaxes(showticklabels=False)
    return verbatim(figure)
