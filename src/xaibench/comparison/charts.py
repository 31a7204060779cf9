"""Charts of a comparison: one line for each classifier."""

from __future__ import annotations

from typing import Any

from xaibench.comparison.results import Comparison, Within
from xaibench.reading import format_radius, radius_axis
from xaibench.report.charts import Frame, Line, LineChart

__all__ = ["accuracy_chart", "distance_chart"]

_ROOM = 1 / 9
"""Share of the width that the label of a tick takes."""


def accuracy_chart(found: Comparison) -> LineChart | None:
    """Worst-case robust accuracy over the radius, with 95 % intervals; None without attacks."""
    within = found.within
    if within is None or len(within.radii) < 2:
        return None
    frame = Frame(760, 340, right=within.radii[-1] * 1.02)
    slots = (1, 2)
    return LineChart(
        id="curves",
        title="Robust accuracy",
        percent=True,
        frame=frame,
        lines=tuple(
            Line(
                name=name,
                slot=slot,
                label=name,
                line=frame.path(within.radii, curve),
                dots=tuple((frame.x(x), frame.y(y)) for x, y in zip(within.radii, curve, strict=True)),
            )
            for slot, name, curve in zip(slots, found.names, within.curves, strict=True)
        ),
        bands=tuple(_band(frame, within, place) for place in (0, 1)),
        ticks=_ticks(within.radii, within.eps, frame.right),
        eps=within.eps,
        unit=radius_axis(within.norm, within.unit),
        traces=[_trace(found, place, slot) for place, slot in enumerate(slots)],
    )


def distance_chart(found: Comparison) -> LineChart | None:
    """Share of samples whose nearest adversarial example lies beyond a distance; None where none was searched."""
    if found.distances is None or found.within is None:
        return None
    known = [value for side in found.distances for value in side if value is not None]
    if not known:
        return None
    frame = Frame(760, 300, right=max(known) * 1.02)
    lines = []
    for slot, (name, side) in enumerate(zip(found.names, found.distances, strict=True), 1):
        xs, ys = _steps(side, frame.right)
        lines.append(Line(name=name, slot=slot, label=name, line=frame.path(xs, ys), dots=()))
    return LineChart(
        id="distances",
        title="Samples without an adversarial example so near",
        percent=True,
        frame=frame,
        lines=tuple(lines),
        bands=(),
        ticks=tuple(float(f"{frame.right * share:.2g}") for share in (0.0, 0.2, 0.4, 0.6, 0.8)),
        eps=found.within.eps,
        unit=radius_axis(found.within.norm, found.within.unit),
        traces=[],
    )


def _steps(distances: tuple[float | None, ...], right: float) -> tuple[list[float], list[float]]:
    """Corners of the falling staircase; samples without an example stay to the end."""
    known = sorted(value for value in distances if value is not None)
    xs, ys, left = [0.0], [1.0], 1.0
    for rank, value in enumerate(known, 1):
        xs += [value, value]
        ys += [left, left := 1 - rank / len(distances)]
    return [*xs, right], [*ys, left]


def _band(frame: Frame, within: Within, place: int) -> str:
    low, high = zip(*within.intervals[place], strict=True)
    return frame.path([*within.radii, *reversed(within.radii)], [*high, *reversed(low)])


def _trace(found: Comparison, place: int, slot: int) -> dict[str, Any]:
    assert found.within is not None
    ends = found.within.intervals[place]
    return {
        "name": found.names[place],
        "slot": slot,
        "x": list(found.within.radii),
        "labels": [format_radius(radius) for radius in found.within.radii],
        "y": [100 * share for share in found.within.curves[place]],
        "low": [100 * low for low, _ in ends],
        "high": [100 * high for _, high in ends],
    }


def _ticks(radii: tuple[float, ...], eps: float, right: float) -> tuple[float, ...]:
    """Zero, eps, and the other radii that leave room for their labels."""
    ticks = [0.0, eps]
    for radius in reversed(radii):
        if all(abs(radius - tick) >= right * _ROOM for tick in ticks):
            ticks.append(radius)
    return tuple(sorted(ticks))
