"""How far the stages of long work are and how long they will still take, also for another process to read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xaibench.files import write_json

__all__ = ["LAST_MOMENT", "Stage", "Stages", "read_stages", "show_time"]

LAST_MOMENT = 1e11
"""Seconds since the epoch, in the year 5138: what is read as later is damaged, and no calendar need know it."""


@dataclass(frozen=True)
class Stage:
    """A stage with ``done`` of ``total`` units finished.

    Times are in seconds since the epoch. Speed is measured from ``began``, when ``base`` units were finished: those
    that an earlier run had left say nothing about it.
    """

    name: str
    done: int
    total: int
    info: str
    base: int
    began: float
    changed: float

    @property
    def is_done(self) -> bool:
        """Whether all units are finished."""
        return self.done >= self.total

    @property
    def seconds(self) -> float:
        """How long the stage has taken so far, up to its last change."""
        return max(0.0, self.changed - self.began)

    def seconds_left(self, now: float | None = None) -> float | None:
        """How long the stage will still take at the speed so far; None while that is unknown."""
        if self.is_done:
            return 0.0
        if self.done <= self.base or self.seconds == 0:
            return None
        needed = self.seconds / (self.done - self.base) * (self.total - self.done)
        return max(0.0, needed - ((time.time() if now is None else now) - self.changed))


class Stages:
    """What a long function has reported so far, by stage, in the order of their beginnings."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._last = clock()
        self._stages: dict[str, Stage] = {}

    def update(self, name: str, done: int, total: int, info: str, *, resumed: bool = False) -> Stage:
        """Note a report; ``resumed`` says that the unit had been finished by an earlier run."""
        now, before = self._clock(), self._stages.get(name)
        if resumed or (before is None and done > 1) or (before is not None and done < before.done):
            base, began = done, now
        elif before is None:
            base, began = 0, self._last
        else:
            base, began = before.base, before.began
        stage = Stage(name, done, total, info, base, began, now)
        self._stages[name], self._last = stage, now
        return stage

    def write(self, path: Path) -> None:
        """Write all stages to a file, atomically."""
        write_json(path, {"stages": [asdict(stage) for stage in self._stages.values()]})


def read_stages(path: Path) -> tuple[Stage, ...]:
    """The stages in a file of `Stages.write`; none where there is no such file, or it is damaged."""
    try:
        return tuple(map(_stage, json.loads(path.read_text(encoding="utf-8"))["stages"]))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return ()


def _stage(told: dict[str, Any]) -> Stage:
    stage = Stage(**told)
    whole = (stage.done, stage.total, stage.base)
    if not (isinstance(stage.name, str) and isinstance(stage.info, str) and all(type(n) is int for n in whole)):
        raise TypeError(f"expected names and counts, got {stage!r:.80}")
    if not all(0 <= number <= LAST_MOMENT for number in (*whole, stage.began, stage.changed)):
        raise ValueError(f"expected counts and moments from 0 to {LAST_MOMENT:g}, got {stage!r:.80}")
    (stage.name + stage.info).encode()  # half of a surrogate pair, which no page can show, is a `ValueError`
    return stage


def show_time(seconds: float) -> str:
    """A duration as people say it.

    >>> [show_time(value) for value in (0.4, 42, 100, 3540, 7500)]
    ['1 s', '42 s', '2 min', '59 min', '2 h 5 min']
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
