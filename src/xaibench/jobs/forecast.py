"""How long the whole of a run will still take, judged by what its stages took so far and in earlier runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xaibench.cli.stages import Stage

__all__ = ["Forecast", "Shape", "ahead", "forecast"]

Shape = Mapping[str, float]
"""Seconds of each stage of an earlier run, in their order, for a run of this size."""

_SPREAD = 2.5
"""Another model's stages are up to so many times longer or shorter, beside the attacks that tell its pace."""
_ENOUGH, _PLENTY = 0.2, 20.0
"""Seconds of finished stages that tell a pace: of two at least, for the first sets much up; and of any number."""


@dataclass(frozen=True)
class Forecast:
    """Between ``low`` and ``high`` seconds are left.

    ``is_least`` says that this one takes longer than it should: ``low`` and ``high`` then count later stages alone.
    """

    low: float
    high: float
    is_least: bool = False


def forecast(stages: Sequence[Stage], like: Sequence[Shape], *, others: bool, now: float) -> Forecast | None:
    """What the shapes of earlier runs say of one that has come to ``stages``; None while its pace is unknown.

    Its pace is what its finished stages took beside the same ones of a shape. The first is left out, for it loads the
    model, and so are those that an interrupted run had begun. What is left of the stage under way is told by the units
    that are finished of it, if any are; one that takes longer than they told drags. ``others`` says that the shapes are
    of other models.
    """
    spent = {stage.name: stage.seconds for stage in stages[1:] if stage.is_done and not stage.base}
    spread = _SPREAD if others else 1.0
    found = [one for shape in like if (one := _by(shape, stages, spent, spread, now)) is not None]
    if not found:
        return None
    return Forecast(
        low=min(one.low for one in found),
        high=max(one.high for one in found),
        is_least=all(one.is_least for one in found),
    )


def ahead(stages: Sequence[Stage], shape: Shape) -> tuple[str, ...]:
    """The stages of a shape after the last one that a run has come to."""
    begun, names = {stage.name for stage in stages}, tuple(shape)
    return names[max((place + 1 for place, name in enumerate(names) if name in begun), default=0) :]


def _by(
    shape: Shape, stages: Sequence[Stage], spent: Mapping[str, float], spread: float, now: float
) -> Forecast | None:
    told = [name for name in spent if name in shape]
    known, took = sum(shape[name] for name in told), sum(spent[name] for name in told)
    if known <= 0 or took < (_ENOUGH if len(told) > 1 else _PLENTY):
        return None
    pace = took / known
    to_come = [pace * shape[name] for name in ahead(stages, shape)]
    under_way = max((stage for stage in stages if not stage.is_done), key=lambda stage: stage.changed, default=None)
    low = high = 0.0
    is_least = False
    if under_way is not None and (own := under_way.seconds_left(now)) is not None:
        low, high, is_least = own, own, own == 0
    elif under_way is not None:
        own, ran = pace * shape.get(under_way.name, 0.0), max(0.0, now - under_way.began)
        low, high, is_least = max(0.0, own / spread - ran), max(0.0, own * spread - ran), ran > own * spread
    return Forecast(low=sum(to_come) / spread + low, high=sum(to_come) * spread + high, is_least=is_least)
