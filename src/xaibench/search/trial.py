"""One trial of a search: a training by a changed recipe, and what is written of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.files import write_json, write_text
from xaibench.search.space import changed
from xaibench.search.toml import to_toml
from xaibench.training import Recipe, train
from xaibench.training.log import LOG_FILE
from xaibench.training.loop import DivergedError
from xaibench.types import Progress

__all__ = ["Trial", "run_trial"]

_RECORD = "trial.json"


class _PrunedError(Exception):
    """The trial is not worth going on with."""


@dataclass(frozen=True)
class Trial:
    """A finished trial."""

    number: int
    values: dict[str, float]
    """What it changed of the recipe."""
    state: Literal["complete", "pruned", "failed"]
    scores: dict[int, float]
    """The monitored score on validation rows after each epoch, from 1, where it was measured; losses are negative."""
    reason: str = ""
    """Why it failed."""

    @property
    def score(self) -> float | None:
        """The best of its epochs, which is the one whose weights are kept; None if it was not completed."""
        return max(self.scores.values()) if self.state == "complete" and self.scores else None

    def write(self, folder: Path) -> None:
        """Leave its record in its folder: with it, it counts as finished."""
        write_json(folder / _RECORD, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Trial | None:
        """The finished trial of a folder, if there is one."""
        path = folder / _RECORD
        if not path.exists():
            return None
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(**values | {"scores": {int(epoch): score for epoch, score in values["scores"].items()}})
        except (ValueError, KeyError, TypeError):
            raise InputError(f"expected the record of a trial in {path}, got a damaged file") from None


def run_trial(
    number: int,
    recipe: Recipe,
    values: Mapping[str, float],
    rows: Data,
    folder: Path,
    *,
    give_up: Callable[[int, float], bool],
    progress: Progress | None,
) -> Trial:
    """Train by the recipe with other values, in a folder of its own; what an interrupted one left there is removed.

    ``give_up`` is told each epoch's score, and says whether to stop. No test data is read. A training that diverges is
    a failed trial; one that cannot begin raises `InputError`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    made = changed(recipe, values)
    write_text(folder / "recipe.toml", to_toml(made.model_dump(mode="json", exclude_unset=True)))
    monitor = recipe.monitor or ("accuracy" if recipe.threat is None else "robust_accuracy")
    scores: dict[int, float] = {}
    begun = False

    def watch(stage: str, done: int, total: int, info: Mapping[str, Any]) -> None:
        nonlocal begun
        begun = True
        if progress:
            progress(f"trial {number}: {stage}", done, total, info)
        value = info.get(f"validation_{monitor}") if stage == "epoch" else None
        if value is None:
            return
        scores[done] = -value if monitor == "loss" else value
        if give_up(done, scores[done]) and done < total:
            raise _PrunedError

    state, reason = "complete", ""
    try:
        train(made, rows, out=folder, progress=watch)
    except _PrunedError:
        state = "pruned"
    except InputError as error:
        if not (begun or isinstance(error, DivergedError)):
            raise  # no trial of this recipe would begin
        state, reason = "failed", str(error)
    work = folder / ".training"
    if (work / LOG_FILE).exists():
        shutil.move(work / LOG_FILE, folder / LOG_FILE)
    shutil.rmtree(work, ignore_errors=True)
    trial = Trial(number, dict(values), state, scores, reason)  # type: ignore[arg-type]
    trial.write(folder)
    return trial
