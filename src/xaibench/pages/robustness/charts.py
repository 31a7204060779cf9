"""What a report says of robustness, as Plotly figures in colours that the colour-blind tell apart, each with a text."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from xaibench.drawing.charts import laid_out, names_down, share_axis
from xaibench.drawing.colours import BLUE, GREEN, OLIVE, ORANGE, PINK, VIOLET

if TYPE_CHECKING:
    from xaibench.evaluate.hardness import ClassRobustness, Corruptions, MinimalDistances, Robustness

__all__ = ["class_bars", "corruption_bars", "curve", "curve_text", "distance_bars"]

_WORST, _BAND = "rgba(128,138,152,0.5)", "rgba(128,138,152,0.18)"
_SLOTS = (BLUE, ORANGE, GREEN, PINK, OLIVE)
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_ACCENT = VIOLET


def curve(robustness: Robustness) -> Any:
    """Robust accuracy over the radius: the worst case with its interval, every attack, and what is proved."""
    import plotly.graph_objects as go

    from xaibench.reading import format_radius
    from xaibench.report.charts import curve_chart

    chart = curve_chart(robustness)
    figure = go.Figure()
    for trace in chart.traces:
        worst, slot = trace["slot"] == 0, min(max(trace["slot"], 1), len(_SLOTS)) - 1
        colour = _WORST if worst else _SLOTS[slot]
        if worst:
            hidden = {"x": trace["x"], "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
            figure.add_trace(go.Scatter(y=trace["low"], **hidden))
            figure.add_trace(go.Scatter(y=trace["high"], fill="tonexty", fillcolor=_BAND, **hidden))
        figure.add_trace(
            go.Scatter(
                x=trace["x"],
                y=trace["y"],
                name="worst case, 95 % interval" if worst else trace["name"],
                mode="lines" if worst else "lines+markers",
                line={"color": colour, "width": 8 if worst else 2.4, "dash": "solid" if worst else _DASHES[slot]},
                marker={"size": 7},
                customdata=list(zip(trace["low"], trace["high"], strict=True)),
                hovertemplate="%{y:.1f} % (%{customdata[0]:.1f} to %{customdata[1]:.1f})",
                cliponaxis=False,
            )
        )
    figure.add_vline(x=chart.eps, line={"color": _ACCENT, "width": 1.5, "dash": "dash"})
    figure.add_annotation(
        x=chart.eps,
        y=1,
        yref="paper",
        xanchor="left",
        xshift=5,
        yanchor="top",
        showarrow=False,
        text=f"ε = {format_radius(chart.eps)}",
        font={"color": _ACCENT, "weight": "bold"},
    )
    figure.update_xaxes(
        title=chart.unit,
        tickvals=list(chart.ticks),
        ticktext=[format_radius(tick) for tick in chart.ticks],
        range=[-0.015 * robustness.radii[-1], 1.02 * robustness.radii[-1]],
    )
    figure.update_yaxes(title="correct", range=[0, 102], ticksuffix=" %", dtick=20)
    return laid_out(figure, height=360, hovermode="x unified")


def curve_text(robustness: Robustness) -> str:
    """The curve in words, for those who do not see it."""
    from xaibench.reading import format_radius, percent

    worst = zip(robustness.radii, robustness.worst_case.accuracy, strict=True)
    points = ", ".join(f"{percent(share)} at {format_radius(radius)}" for radius, share in worst)
    return f"Robust accuracy under the worst of all attacks over the radius: {points}."


def class_bars(classes: list[ClassRobustness]) -> Any:
    """Of each class the samples that are proved, open, broken and wrong, as one bar of counts."""
    import plotly.graph_objects as go

    names = [one.name for one in classes]
    parts = {
        "proved": ([one.proved for one in classes], _SLOTS[0], ""),
        "neither broken nor proved": ([one.robust - one.proved for one in classes], _SLOTS[0], "/"),
        "broken": ([one.correct - one.robust for one in classes], _SLOTS[1], ""),
        "wrong from the start": ([one.support - one.correct for one in classes], _WORST, ""),
    }
    figure = go.Figure(
        [
            go.Bar(
                name=label,
                y=names,
                x=counts,
                orientation="h",
                marker={"color": colour, "pattern": {"shape": pattern}},
                hovertemplate="%{y}: %{x}<extra>%{fullData.name}</extra>",
            )
            for label, (counts, colour, pattern) in parts.items()
            if any(counts)
        ]
    )
    figure.update_yaxes(**names_down())
    figure.update_xaxes(title="samples")
    return laid_out(figure, height=90 + 26 * len(names), barmode="stack", bargap=0.25, legend_traceorder="normal")


def distance_bars(minimal: MinimalDistances, unit: str) -> Any:
    """How many samples have their nearest adversarial example at each distance."""
    import plotly.graph_objects as go

    edges = minimal.edges
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    figure = go.Figure(
        go.Bar(
            x=middles,
            y=list(minimal.counts),
            width=[0.94 * (high - low) for low, high in pairwise(edges)],
            marker_color=_SLOTS[0],
            customdata=[(f"{low:.3g}", f"{high:.3g}") for low, high in pairwise(edges)],
            hovertemplate="%{y} at %{customdata[0]} to %{customdata[1]}<extra></extra>",
        )
    )
    if minimal.median is not None:
        figure.add_vline(x=minimal.median, line={"color": _ACCENT, "width": 1.5, "dash": "dash"})
    figure.update_xaxes(title=unit, range=[0, edges[-1]])
    figure.update_yaxes(title="samples")
    return laid_out(figure, height=260)


def corruption_bars(corruptions: Corruptions) -> Any:
    """Accuracy under each corruption, the worst first, with what it is on the same samples as they are."""
    import plotly.graph_objects as go

    from xaibench.reading import percent

    order = sorted(range(len(corruptions.names)), key=lambda place: corruptions.by_name[place])
    figure = go.Figure(
        go.Bar(
            y=[corruptions.names[place].replace("_", " ") for place in order],
            x=[corruptions.by_name[place] for place in order],
            orientation="h",
            marker_color=_SLOTS[0],
            customdata=[
                (
                    percent(corruptions.by_name[place]),
                    " · ".join(
                        f"{severity}: {percent(share)}"
                        for severity, share in zip(corruptions.severities, corruptions.accuracy[place], strict=True)
                    ),
                )
                for place in order
            ],
            hovertemplate="%{y}: %{customdata[0]}<br>by severity %{customdata[1]}<extra></extra>",
        )
    )
    figure.add_vline(x=corruptions.clean, line={"color": _ACCENT, "width": 1.5, "dash": "dash"})
    figure.update_yaxes(**names_down())
    figure.update_xaxes(**share_axis("accuracy; dashed: unchanged", low=0.0))
    return laid_out(figure, height=60 + 24 * len(order), bargap=0.25)
