"""How long the whole of a run will still take, judged by what its stages took so far and in earlier runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xaibench.cli.stages import Stage

__all__ = ["Forecast", "Shape", "forecast"]

Shape = Mapping[str, float]
"""Seconds of each stage of an earlier run, in their order, for a run of this size."""

_SPREAD = 2.5
"""Another model's stages are up to so many times longer or shorter, beside the attacks that tell its pace."""
_ENOUGH = 0.2
"""Seconds of finished stages that tell a pace."""


@dataclass(frozen=True)
class Forecast:
    """Between ``low`` and ``high`` seconds are left, in up to ``stages`` stages after the one under way.

    ``is_least`` says that this one takes longer than it should: ``low`` and ``high`` then count later stages alone.
    """

    low: float
    high: float
    stages: int
    is_least: bool = False


def forecast(stages: Sequence[Stage], like: Sequence[Shape], *, others: bool, now: float) -> Forecast | None:
    """What the shapes of earlier runs say of one that has come to ``stages``; None while its pace is unknown.

    Its pace is what its finished stages took beside the same ones of a shape. The first is left out, for it loads the
    model, and so are those that an interrupted run had begun. What is left of the stage under way is told by the units
    that are finished of it, if any are. ``others`` says that the shapes are of other models.
    """
    spent = {stage.name: stage.seconds for stage in stages[1:] if stage.is_done and not stage.base}
    spread = _SPREAD if others else 1.0
    found = [one for shape in like if (one := _by(shape, stages, spent, spread, now)) is not None]
    if not found:
        return None
    return Forecast(
        low=min(one.low for one in found),
        high=max(one.high for one in found),
        stages=max(one.stages for one in found),
        is_least=all(one.is_least for one in found),
    )


def _by(
    shape: Shape, stages: Sequence[Stage], spent: Mapping[str, float], spread: float, now: float
) -> Forecast | None:
    known = sum(shape[name] for name in spent if name in shape)
    took = sum(seconds for name, seconds in spent.items() if name in shape)
    if known <= 0 or took < _ENOUGH:
        return None
    pace, names = took / known, list(shape)
    begun = {stage.name: stage for stage in stages}
    last = max(place for place, name in enumerate(names) if name in begun)
    ahead = [pace * shape[name] for name in names[last + 1 :]]
    under_way = max((stage for stage in stages if not stage.is_done), key=lambda stage: stage.changed, default=None)
    low = high = 0.0
    is_least = False
    if under_way is not None and (own := under_way.seconds_left(now)) is not None:
        low = high = own
    elif under_way is not None:
        own, ran = pace * shape.get(under_way.name, 0.0), max(0.0, now - under_way.began)
        low, high, is_least = max(0.0, own / spread - ran), max(0.0, own * spread - ran), ran > own * spread
    return Forecast(
        low=sum(ahead) / spread + low, high=sum(ahead) * spread + high, stages=len(ahead), is_least=is_least
    )
