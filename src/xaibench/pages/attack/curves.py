"""Curves: how an attack went, and what the model says at each radius."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.drawing.charts import laid_out, share_axis
from xaibench.drawing.colours import BLUE, ORANGE, VIOLET
from xaibench.pages.shared.charts import STILL
from xaibench.reading import percent

if TYPE_CHECKING:
    from xaibench.robustness import Strike, Trajectory

__all__ = ["show_course", "show_radii"]

_LABEL, _OTHER, _LOSS = BLUE, ORANGE, VIOLET
_POINTS = 400
"""Passes that are drawn, evenly spread; the last is among them."""
_HEIGHT, _ABOVE = 260, 28
"""Pixels of a chart, and of the room above it for what stands over a line."""


def show_course(names: Sequence[str], trajectory: Trajectory, *, key: str, rival: int | None = None) -> None:
    """The probabilities of the label and of a ``rival``, and the loss, pass by pass.

    The rival is by default the class aimed at, or else the likeliest wrong one in the last pass.
    """
    import plotly.graph_objects as go

    probabilities, losses = trajectory.probabilities, trajectory.losses
    label, rival = trajectory.label, _rival(trajectory) if rival is None else rival
    step = max(1, -(-len(trajectory) // _POINTS))
    drawn = sorted({*range(0, len(trajectory), step), len(trajectory) - 1})
    distances = [f"distance {trajectory.distances[place]:.3g}" for place in drawn]
    hover = "pass %{x}: %{y:.3g}, %{text}<extra></extra>"
    ways = ((label, _LABEL, "solid"), (rival, _OTHER, "dot"))
    confidence = go.Figure(
        [
            go.Scatter(
                x=drawn,
                y=probabilities[drawn, index].tolist(),
                name=_short(names[index]),
                text=distances,
                hovertemplate=hover,
                line={"color": colour, "dash": dash, "width": 2.5},
            )
            for index, colour, dash in ways
        ]
    )
    confidence.update_yaxes(**share_axis("probability"))
    loss = go.Figure(
        go.Scatter(
            x=drawn, y=losses[drawn].tolist(), text=distances, hovertemplate=hover, line={"color": _LOSS, "width": 2.5}
        )
    )
    loss.update_yaxes(title="loss", rangemode="tozero")
    start, end = probabilities[0, label], probabilities[-1, label]
    texts = (
        f"Probability of {names[label]} over {len(trajectory)} passes: from {start:.3g} to {end:.3g};"
        f" of {names[rival]} to {probabilities[-1, rival]:.3g}.",
        f"Cross-entropy over {len(trajectory)} passes: from {losses[0]:.3g} to {losses[-1]:.3g}.",
    )
    for column, figure, text, kind in zip(
        st.columns(2, gap="large"), (confidence, loss), texts, ("confidence", "loss"), strict=True
    ):
        figure.update_xaxes(title="pass through the model", rangemode="tozero")
        laid_out(figure, height=_HEIGHT, margin_t=_ABOVE)
        column.plotly_chart(figure, key=f"{key} {kind}", config=STILL, alt=text)


def show_radii(
    name: str, tried: Sequence[tuple[float, Strike]], eps: float, *, proved: float | None, axis: str, key: str
) -> None:
    """The probability of the label at every radius that was tried, with the chosen one marked."""
    import plotly.graph_objects as go

    points = [(0.0, float(tried[0][1].before[tried[0][1].trajectory.label]), False)]
    points += [(radius, _confidence(radius, strike), strike.broken) for radius, strike in tried]
    figure = go.Figure(
        go.Scatter(
            x=[radius for radius, _, _ in points],
            y=[value for _, value, _ in points],
            mode="lines+markers",
            line={"color": _LABEL, "width": 2.5},
            marker={
                "size": 10,
                "color": [_OTHER if broken else _LABEL for _, _, broken in points],
                "symbol": ["x" if broken else "circle" for _, _, broken in points],
            },
            text=[f"{percent(value)}, {'broken' if broken else 'stands'}" for _, value, broken in points],
            hovertemplate="epsilon %{x:.3g}: %{text}<extra></extra>",
        )
    )
    if proved:
        figure.add_vrect(
            x0=0,
            x1=proved,
            fillcolor=_LABEL,
            opacity=0.15,
            line_width=0,
            annotation_text="proved",
            annotation_position="bottom left",
        )
    figure.add_vline(
        x=eps, line={"color": _OTHER, "dash": "dash"}, annotation_text="epsilon", annotation_position="top"
    )
    figure.update_yaxes(**share_axis(f"probability of {_short(name)}", high=1.08))
    figure.update_xaxes(title=axis, rangemode="tozero")
    laid_out(figure, height=_HEIGHT, margin_t=_ABOVE)
    text = f"Probability of {name} under attack: " + ", ".join(
        f"{percent(value)} at {radius:.3g}" for radius, value, _ in points
    )
    st.plotly_chart(figure, key=key, config=STILL, alt=text)


def _confidence(radius: float, strike: Strike) -> float:
    """The probability of the label at what was found, or the least that the attack brought it to."""
    label = strike.trajectory.label
    return float(strike.after[label]) if strike.broken else strike.trajectory.lowest(radius)


def _rival(trajectory: Trajectory) -> int:
    if trajectory.target is not None:
        return trajectory.target
    last = trajectory.logits[-1].clone()
    last[trajectory.label] = float("-inf")
    return int(last.argmax())


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"
