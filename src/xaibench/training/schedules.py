"""Learning-rate schedules as pure functions of the step, so that a resumed run needs no state for them."""

from __future__ import annotations

import math

from xaibench.training.recipe import Schedule

__all__ = ["rate"]


def rate(schedule: Schedule, step: int, total: int) -> float:
    """The factor on the learning rate at ``step`` of ``total`` (0-based).

    >>> [round(rate(Schedule(name="cosine", warmup=0.5), step, 4), 3) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    warmup = schedule.warmup * total
    if step < warmup:
        return min(1.0, (step + 1) / warmup)
    done = (step - warmup) / max(total - warmup, 1)
    match schedule.name:
        case "constant":
            return 1.0
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        case "linear":
            return 1.0 - done
        case "step":
            passed = sum(step / total >= milestone for milestone in schedule.milestones)
            return schedule.factor**passed
