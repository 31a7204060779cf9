"""Charts of a comparison: curves over the radius, accuracies side by side, and differences with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xaibench.drawing.charts import error_bars, laid_out, names_down, share_axis
from xaibench.drawing.colours import BLUE, GREEN, GREY, OLIVE, ORANGE, PINK, VIOLET
from xaibench.reading import percent

if TYPE_CHECKING:
    from xaibench.comparison import Comparison, McNemar, PairedFigure

__all__ = ["COLOURS", "accuracy_bars", "curves_chart", "differences_chart"]

COLOURS = (BLUE, ORANGE, GREEN, PINK, GREY, OLIVE)
"""One for each source, told apart by colour-blind people; dashes and symbols differ too."""
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_SYMBOLS = ("circle", "diamond", "square", "cross", "x", "triangle-up")
_OUTCOMES = {"better": BLUE, "worse": ORANGE, "higher": VIOLET, "lower": VIOLET}
_UNSHOWN = GREY
_BAR = 0.42
"""Of a row's height, so that the label has room above the bar."""


def curves_chart(
    curves: Sequence[tuple[str, Sequence[float], Sequence[float], Sequence[tuple[float, float]]]],
    *,
    eps: float | None,
    unit: str,
) -> Any:
    """Robust accuracy over the radius: a name, radii, accuracies and intervals for each line."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for place, (name, radii, accuracy, intervals) in enumerate(curves):
        figure.add_scatter(
            x=list(radii),
            y=list(accuracy),
            error_y=error_bars(accuracy, intervals),
            name=name,
            mode="lines+markers",
            line={"color": COLOURS[place % len(COLOURS)], "dash": _DASHES[place % len(_DASHES)]},
            marker={"symbol": _SYMBOLS[place % len(_SYMBOLS)], "size": 8},
            text=[percent(value) for value in accuracy],
            hovertemplate="%{text} at %{x:.3g}<extra>%{fullData.name}</extra>",
        )
    if eps is not None:
        figure.add_vline(x=eps, line={"color": GREY, "dash": "dot", "width": 1}, annotation_text="ε")
    figure.update_yaxes(**share_axis(low=0.0))
    figure.update_xaxes(title=unit, rangemode="tozero")
    return laid_out(figure, height=340)


def accuracy_bars(found: Comparison, tests: Sequence[McNemar]) -> Any:
    """Accuracies of both, unchanged and under attack, with their intervals."""
    import plotly.graph_objects as go

    labels = ["unchanged" if test.what == "clean" else "under attack" for test in tests]
    figure = go.Figure(
        [
            go.Bar(
                name=name,
                x=labels,
                y=[test.accuracy[side] for test in tests],
                error_y=error_bars(
                    [test.accuracy[side] for test in tests],
                    [test.interval[side] for test in tests],
                    color=GREY,
                    thickness=1.5,
                    width=4,
                ),
                text=[percent(test.accuracy[side]) for test in tests],
                textposition="inside",
                insidetextanchor="start",
                textfont={"color": "white", "size": 14},
                marker_color=COLOURS[side],
                hovertemplate="%{text} %{x}<extra>%{fullData.name}</extra>",
            )
            for side, name in enumerate(found.names)
        ]
    )
    figure.update_yaxes(**share_axis(low=0.0))
    return laid_out(figure, height=340, bargap=0.35)


def differences_chart(figures: Sequence[PairedFigure], labels: Sequence[str]) -> Any:
    """How much more the second has of each figure, as a share of the first's, coloured by what is shown."""
    import plotly.graph_objects as go

    shares = [(figure.mean[1] - figure.mean[0]) / abs(figure.mean[0]) for figure in figures]
    chart = go.Figure(
        go.Bar(
            x=shares,
            y=list(labels),
            orientation="h",
            width=_BAR,
            marker_color=[_OUTCOMES.get(figure.outcome, _UNSHOWN) for figure in figures],
            text=[
                f"{100 * share:+.0f} % {figure.outcome}".replace("-", "−")
                for share, figure in zip(shares, figures, strict=True)
            ],
            textposition="outside",
            cliponaxis=False,
            customdata=[f"{figure.mean[0]:.3g} → {figure.mean[1]:.3g}" for figure in figures],
            hovertemplate="%{y}: %{customdata}<extra></extra>",
        )
    )
    low, high = min(0.0, *shares), max(0.0, *shares)
    room = 0.6 * max(high - low, 0.01)
    for label in labels:  # above its bar, where it has the whole width of a telephone
        chart.add_annotation(
            x=0, xref="paper", xanchor="left", y=label, yshift=18, text=label, showarrow=False, align="left"
        )
    chart.update_yaxes(**names_down(), showticklabels=False)
    chart.update_xaxes(range=[low - room * (low < 0), high + room * (high > 0)], zeroline=True, showticklabels=False)
    return laid_out(chart, height=48 + 44 * len(figures), margin_t=16, showlegend=False)
