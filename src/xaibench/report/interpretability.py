"""The interpretability section as the page shows it: how far explanations moved, as charts and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xaibench.drawing.labels import FIGURES, method_label
from xaibench.evaluate.hardness import Robustness
from xaibench.evaluate.interpreted import Estimate, ExplanationCurve, Interpretability
from xaibench.reading import format_radius, norm_label
from xaibench.report.charts import Frame, Line, LineChart

__all__ = ["MovementRow", "movement_charts", "movement_rows"]

_CHARTED = ("top_k_overlap", "rank_correlation")
_CAUSES = {"noise": "random noise", "attack": "attack on the prediction", "manipulation": "attack on the explanation"}


@dataclass(frozen=True)
class MovementRow:
    """What one cause did to one explainer's maps at one radius."""

    explainer: str
    cause: str
    radius: float
    n: int
    cells: tuple[Estimate | None, ...]
    """By the order of `FIGURES`."""


def movement_charts(found: Interpretability, robustness: Robustness | None) -> list[tuple[str, list[LineChart]]]:
    """For each explainer whose maps were moved, its charts."""
    if robustness is None:
        return []
    groups = []
    for place, spec in enumerate(found.explainers):
        curves = sorted((curve for curve in found.curves if curve.explainer == spec), key=_slot)
        if curves:
            charts = [_chart(f"moved-{place}-{figure}", figure, curves, robustness) for figure in _CHARTED]
            groups.append((method_label(spec), charts))
    return groups


def movement_rows(found: Interpretability) -> list[MovementRow]:
    """All numbers behind the charts."""
    return [
        MovementRow(
            explainer=method_label(curve.explainer),
            cause=_CAUSES[curve.cause],
            radius=point.radius,
            n=point.n,
            cells=tuple(point.figures.get(figure) for figure in FIGURES),
        )
        for curve in found.curves
        for point in curve.points
    ]


def _chart(name: str, figure: str, curves: Sequence[ExplanationCurve], robustness: Robustness) -> LineChart:
    right = max(point.radius for curve in curves for point in curve.points)
    frame = Frame(520, 270, right=right * 1.02)
    percent = figure == "top_k_overlap"
    return LineChart(
        id=name,
        title=FIGURES[figure],
        percent=percent,
        frame=frame,
        lines=tuple(_line(frame, figure, curve) for curve in curves),
        bands=tuple(_band(frame, figure, curve) for curve in curves),
        ticks=_ticks(robustness, right),
        eps=robustness.eps,
        unit=robustness.unit if robustness.norm == "words" else f"{norm_label(robustness.norm)} radius",
        traces=[_trace(figure, curve, 100 if percent else 1) for curve in curves],
    )


def _slot(curve: ExplanationCurve) -> int:
    return list(_CAUSES).index(curve.cause) + 1


def _line(frame: Frame, figure: str, curve: ExplanationCurve) -> Line:
    """A line from 1 at no change at all; what lies below 0 is drawn there."""
    radii = [0.0, *(point.radius for point in curve.points)]
    means = [1.0, *(max(0.0, point.figures[figure].mean) for point in curve.points)]
    dots = tuple((frame.x(x), frame.y(y)) for x, y in zip(radii, means, strict=True))
    label = _CAUSES[curve.cause]
    return Line(name=curve.cause, slot=_slot(curve), label=label, line=frame.path(radii, means), dots=dots[1:])


def _band(frame: Frame, figure: str, curve: ExplanationCurve) -> str:
    radii = [point.radius for point in curve.points]
    low, high = zip(*(point.figures[figure].ends for point in curve.points), strict=True)
    lower = [max(0.0, value) for value in reversed(low)]
    return frame.path([*radii, *reversed(radii)], [*(max(0.0, value) for value in high), *lower])


def _trace(figure: str, curve: ExplanationCurve, factor: float) -> dict[str, Any]:
    estimates = [point.figures[figure] for point in curve.points]
    return {
        "name": _CAUSES[curve.cause],
        "slot": _slot(curve),
        "x": [0.0, *(point.radius for point in curve.points)],
        "labels": ["0", *(format_radius(point.radius) for point in curve.points)],
        "y": [factor, *(factor * one.mean for one in estimates)],
        "low": [factor, *(factor * one.ends[0] for one in estimates)],
        "high": [factor, *(factor * one.ends[1] for one in estimates)],
    }


def _ticks(robustness: Robustness, right: float) -> tuple[float, ...]:
    """Zero, eps, and the other radii that leave room for their labels."""
    ticks = [0.0, *((robustness.eps,) if robustness.eps <= right else ())]
    for radius in reversed([radius for radius in robustness.radii if radius <= right]):
        if all(abs(radius - tick) >= right / 6 for tick in ticks):
            ticks.append(radius)
    return tuple(sorted(ticks))
