"""Learning-rate schedules as pure functions of the step, so that a resumed run needs no state for them."""

from __future__ import annotations

import math

from xaibench.training.recipe import Schedule

__all__ = ["rate"]


def rate(schedule: Schedule, step: int, total: int) -> float:
    """The factor on the learning rate at ``step`` of ``total`` (0-based).

    >>> [round(rate(Schedule(name="cosine", warmup=0.5), step, 4), 3) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    >>> [round(rate(Schedule(name="cyclic", peak=0.5), step, 4), 3) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    rise = total * (schedule.peak if schedule.name == "cyclic" else schedule.warmup)
    if step < rise:
        return min(1.0, (step + 1) / rise)
    done = (step - rise) / max(total - rise, 1)
    match schedule.name:
        case "constant":
            return 1.0
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        case "linear" | "cyclic":
            return 1.0 - done
        case "piecewise":
            passed = sum(step / total >= milestone for milestone in schedule.milestones)
            return schedule.factor**passed
