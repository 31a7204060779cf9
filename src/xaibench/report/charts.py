"""Charts as data: geometry for the static SVG that every reader sees, traces for the interactive one."""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from xaibench.drawing.labels import method_label
from xaibench.evaluate.hardness import Curve, MinimalDistances, Robustness
from xaibench.evaluate.results import Calibration
from xaibench.reading import format_radius, radius_axis

__all__ = [
    "Bar",
    "Bin",
    "CurveChart",
    "Frame",
    "Histogram",
    "Line",
    "LineChart",
    "ReliabilityChart",
    "Tick",
    "curve_chart",
    "histogram",
    "plotly_library",
    "reliability_chart",
]

PROVED = "proved"
"""Name of the curve of what is proved."""


@dataclass(frozen=True)
class Frame:
    """A plot area in SVG units, and the range of data that it shows; y grows upwards."""

    width: float
    height: float
    right: float
    left: float = 46.0
    top: float = 14.0
    bottom: float = 40.0
    margin: float = 16.0

    def x(self, value: float) -> float:
        """Position of a value of 0..right."""
        return round(self.left + (self.width - self.left - self.margin) * value / self.right, 2)

    def y(self, share: float) -> float:
        """Position of a share of 0..1."""
        return round(self.height - self.bottom - (self.height - self.top - self.bottom) * share, 2)

    def path(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        """Points of a polyline."""
        return " ".join(f"{self.x(x)},{self.y(y)}" for x, y in zip(xs, ys, strict=True))


@dataclass(frozen=True)
class Line:
    """One curve of the chart."""

    name: str
    slot: int
    """Which colour and marker it takes; 0 is the worst case, the last what is proved."""
    label: str
    line: str
    dots: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class LineChart:
    """Several lines over the radius with their intervals; without traces it is not drawn again by a script."""

    id: str
    title: str
    percent: bool
    frame: Frame
    lines: tuple[Line, ...]
    bands: tuple[str, ...]
    """Outlines of the intervals, by line."""
    ticks: tuple[float, ...]
    eps: float
    unit: str
    traces: list[dict[str, Any]]


@dataclass(frozen=True)
class CurveChart:
    """Robust accuracy over the radius."""

    frame: Frame
    lines: tuple[Line, ...]
    band: str
    """Outline of the worst case's interval."""
    ticks: tuple[float, ...]
    eps: float
    unit: str
    traces: list[dict[str, Any]]


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram in SVG units, and what it counts."""

    x: float
    y: float
    width: float
    height: float
    count: int
    low: float
    high: float


@dataclass(frozen=True)
class Tick:
    """A line across a chart, and the count that it stands for."""

    y: float
    count: int


@dataclass(frozen=True)
class Histogram:
    """How often distances of each size were found."""

    frame: Frame
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    median: float | None
    """Position of the median; None where it lies beyond all that were found."""


@dataclass(frozen=True)
class Bin:
    """One bin of the reliability diagram: its dot, the height where it should be, and its numbers."""

    x: float
    y: float
    ideal: float
    radius: float
    accuracy: float
    confidence: float
    n: int


@dataclass(frozen=True)
class ReliabilityChart:
    """Accuracy over confidence."""

    frame: Frame
    bins: tuple[Bin, ...]

    @property
    def points(self) -> list[dict[str, float]]:
        """The bins in numbers."""
        return [{"confidence": one.confidence, "accuracy": one.accuracy, "n": one.n} for one in self.bins]


def curve_chart(robustness: Robustness) -> CurveChart:
    """The chart of a robustness section: the worst case first, so that the attacks are drawn over it."""
    radii = robustness.radii
    frame = Frame(760, 380, right=radii[-1] * 1.02)
    low, high = zip(*robustness.worst_case.interval, strict=True)
    curves = [(slot, _name(slot, curve), curve) for slot, curve in enumerate(_curves(robustness))]
    return CurveChart(
        frame=frame,
        lines=tuple(_line(frame, radii, curve, slot, label) for slot, label, curve in curves),
        band=frame.path([*radii, *reversed(radii)], [*high, *reversed(low)]),
        ticks=_ticks(robustness),
        eps=robustness.eps,
        unit=radius_axis(robustness.norm, robustness.unit),
        traces=[_trace(radii, curve, slot, label) for slot, label, curve in curves],
    )


def _curves(robustness: Robustness) -> tuple[Curve, ...]:
    """The worst case, the attacks, and what is proved as far as it was tried, if anything is."""
    index, proved = robustness.index, robustness.proved
    if proved is None or not proved.count[index]:
        return (robustness.worst_case, *robustness.curves)
    tried = slice(index + 1)
    lower = Curve(
        attack=PROVED,
        robust=proved.count[tried],
        accuracy=proved.accuracy[tried],
        interval=proved.interval[tried],
    )
    return (robustness.worst_case, *robustness.curves, lower)


def _name(slot: int, curve: Curve) -> str:
    if not slot:
        return "Worst case of all attacks, with its 95 % interval"
    return "Proved: no attack can break these" if curve.attack == PROVED else method_label(curve.attack)


def histogram(minimal: MinimalDistances) -> Histogram:
    """The chart of the distances of the nearest adversarial examples."""
    top = max(*minimal.counts, 1)
    frame = Frame(760, 240, right=minimal.edges[-1], top=34.0)
    step = max(1, math.ceil(top / 4))
    left = None if minimal.median is None else frame.x(minimal.median)
    return Histogram(
        frame=frame,
        bars=tuple(
            Bar(
                x=frame.x(low) + 1,
                y=frame.y(count / top),
                width=round(frame.x(high) - frame.x(low) - 2, 2),
                height=round(frame.y(0) - frame.y(count / top), 2),
                count=count,
                low=low,
                high=high,
            )
            for count, low, high in zip(minimal.counts, minimal.edges, minimal.edges[1:], strict=False)
        ),
        ticks=tuple(Tick(frame.y(count / top), count) for count in range(0, top + 1, step)),
        median=left,
    )


def reliability_chart(bins: Sequence[Calibration]) -> ReliabilityChart:
    """The reliability diagram of the bins that hold any prediction."""
    frame = Frame(520, 340, right=1.0)
    total = sum(bin_.n for bin_ in bins)
    dots = tuple(
        Bin(
            x=frame.x(bin_.confidence),
            y=frame.y(bin_.accuracy),
            ideal=frame.y(bin_.confidence),
            radius=round(2 + 14 * math.sqrt(bin_.n / total), 2),
            accuracy=bin_.accuracy,
            confidence=bin_.confidence,
            n=bin_.n,
        )
        for bin_ in bins
        if bin_.accuracy is not None and bin_.confidence is not None
    )
    return ReliabilityChart(frame, dots)


@cache
def plotly_library() -> str:
    """plotly.js, gzipped, as base64: a third of its size, the same bytes every time."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()


def _ticks(robustness: Robustness) -> tuple[float, ...]:
    """Zero, eps, and the other radii that leave room for their labels."""
    radii, ticks = robustness.radii, [robustness.radii[0], robustness.eps]
    for radius in reversed(radii):
        if all(abs(radius - tick) >= radii[-1] / 9 for tick in ticks):
            ticks.append(radius)
    return tuple(sorted(ticks))


def _line(frame: Frame, radii: Sequence[float], curve: Curve, slot: int, label: str) -> Line:
    return Line(
        name=curve.attack,
        slot=slot,
        label=label,
        line=frame.path(radii[: len(curve.accuracy)], curve.accuracy),
        dots=tuple((frame.x(x), frame.y(y)) for x, y in zip(radii, curve.accuracy, strict=False)),
    )


def _trace(radii: Sequence[float], curve: Curve, slot: int, label: str) -> dict[str, Any]:
    return {
        "name": label if slot else "worst case",
        "slot": slot,
        "x": list(radii[: len(curve.accuracy)]),
        "labels": [format_radius(radius) for radius in radii],
        "y": [100 * share for share in curve.accuracy],
        "low": [100 * low for low, _ in curve.interval],
        "high": [100 * high for _, high in curve.interval],
    }
