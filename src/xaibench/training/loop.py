"""The training loop: one for every framework and objective, killed at any moment and resumed to the same weights.

Everything random is a function of (seed, epoch, step, sample id), so a checkpoint holds only the learner's state,
what is kept of the best epoch, and where the run stands.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from xaibench.errors import InputError
from xaibench.rng import derive_seed
from xaibench.threats import Threat
from xaibench.training.alarms import is_better, overfitting, scores_of
from xaibench.training.batches import TrainingSet, steps_of, steps_per_epoch
from xaibench.training.checkpoint import Checkpoint, Kept, Position
from xaibench.training.learner import Learner, StepResult
from xaibench.training.log import LOG_FILE, TrainingLog
from xaibench.training.objectives import Objective, Replaying
from xaibench.training.recipe import Recipe
from xaibench.training.schedules import rate
from xaibench.training.threat import TrainingThreat
from xaibench.training.validation import is_best, scores
from xaibench.types import Progress

__all__ = ["DivergedError", "fit"]


class DivergedError(InputError):
    """Training left the finite numbers.

    ``kept`` says which earlier weights the learner has now, ``best`` or ``last``, and ``epoch`` when they were; None
    and 0 if there are none.
    """

    def __init__(self, message: str, kept: Literal["best", "last"] | None = None, epoch: int = 0) -> None:
        super().__init__(message)
        self.kept, self.epoch = kept, epoch


def fit(
    learner: Learner,
    objective: Objective,
    recipe: Recipe,
    training: TrainingSet,
    validation: TrainingSet | None,
    *,
    seen: int = 0,
    threat: TrainingThreat | None = None,
    folder: Path,
    resume: bool = False,
    progress: Progress | None = None,
    keep: Callable[[int, float], None] | None = None,
    track: Callable[[Mapping[str, Any]], None] | None = None,
) -> list[dict[str, Any]]:
    """Train ``learner``, leave it with its best weights on ``validation`` (else the last), return the epochs' lines.

    Checkpoints go to ``folder`` after each epoch and every ``recipe.checkpoint_seconds`` seconds, and a line of each
    step and epoch to its ``log.jsonl`` and to ``track``; where the initial weights were trained on ``seen`` of the
    validation rows, each epoch's line says so. ``keep`` is called after each epoch with its number, from 1,
    and its last learning rate, again where a resumed run repeats it.
    """
    checkpoint, position, kept = Checkpoint(folder), Position(), Kept()
    if resume and checkpoint.path.exists():
        position, kept = checkpoint.load(learner)
    path = folder / LOG_FILE if learner.is_main else None
    with TrainingLog(path, keep=position.log_bytes, also=track) as log:
        run = _Run(learner, objective, recipe, training, threat, position, kept, checkpoint, log, progress)
        while not run.over:
            run.train()
            run.validate(validation)
            if seen:
                run.line["validation_seen"] = seen
            if keep and learner.is_main:
                keep(position.epoch + 1, run.pace(run.steps)[0])
            run.conclude()
            run.save()
            if progress:
                progress("epoch", position.epoch, recipe.epochs, position.history[-1])
    learner.load_weights(kept.weights or learner.weights())
    return position.history


@dataclass
class _Run:
    """One training, and where it stands."""

    learner: Learner
    objective: Objective
    recipe: Recipe
    training: TrainingSet
    threat: TrainingThreat | None
    position: Position
    kept: Kept
    checkpoint: Checkpoint
    log: TrainingLog
    progress: Progress | None
    line: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.steps = steps_per_epoch(self.training, self.recipe)
        self.total = self.recipe.epochs * self.steps
        self._began = time.monotonic() - self.position.seconds

    @property
    def over(self) -> bool:
        """Whether all epochs are done, or an alarm or lost patience ended them."""
        position, patience = self.position, self.recipe.patience
        return position.epoch >= self.recipe.epochs or position.stopped or bool(patience and position.stale >= patience)

    @property
    def seconds(self) -> float:
        """How long the run has taken, with its earlier parts."""
        return time.monotonic() - self._began

    def pace(self, step: int) -> tuple[float, float, Threat | None]:
        """Learning rate, progress and threat of a step of this epoch, from 1."""
        done = self.position.epoch * self.steps + step
        factor = rate(self.recipe.schedule, done - 1, self.total) * 0.5**self.position.rewinds
        threat = None if self.threat is None else self.threat.at(done / self.total)
        return factor * self.recipe.optimizer.learning_rate, done / self.total, threat

    def train(self) -> None:
        """The steps of an epoch that are still to do."""
        position = self.position
        for step, batches in steps_of(self.training, self.recipe, position.epoch, start=position.step):
            position.step = step + 1
            done = position.epoch * self.steps + step
            rate_now, progress, threat = self.pace(position.step)
            for replay in range(self.objective.replays if isinstance(self.objective, Replaying) else 1):
                seed = derive_seed(self.recipe.seed, "random layers", done, *([replay] if replay else []))
                result = self.learner.step(
                    batches, self.objective, rate=rate_now, seed=seed, progress=progress, threat=threat
                )
            if not math.isfinite(result.loss):
                raise self._diverged(f"a finite loss, got {result.loss}")
            position.add(result)
            line = {"epoch": position.epoch + 1, **_figures(result), **_settings(rate_now, threat)}
            self.log.write({"kind": "step", "step": done + 1, **line, "seconds": self.seconds})
            if self.progress:
                self.progress("train", done + 1, self.total, _shown(position))
            if self.learner.is_main and self.checkpoint.age() > self.recipe.checkpoint_seconds:
                self.save()
        rate_now, _, threat = self.pace(self.steps)
        sums = _figures(position.total())
        self.line = {"epoch": position.epoch + 1, **sums, **_settings(rate_now, threat)}

    def validate(self, data: TrainingSet | None) -> None:
        """Add what held-out rows say to the epoch's line."""
        if data is None:
            return
        try:
            found = scores(self.learner, data, self.recipe, self.threat, self.position.epoch)
        except FloatingPointError as error:
            raise self._diverged(f"finite scores of held-out rows, got {error}") from None
        self.line |= self.learner.agreed(found)

    def conclude(self) -> None:
        """Close the epoch: keep its weights if they are the best, and heed the alarm that it may raise."""
        line, position, probe = self.line, self.position, self.recipe.probe
        if is_best(line, position, self.recipe):
            self.kept.weights = self.learner.weights()
            if probe.on_overfitting == "rewind":
                self.kept.state = self.learner.state()
        position.next_epoch(line)
        alarm = self._alarm()
        if alarm is not None:
            line["alarm"] = alarm
            back = probe.on_overfitting == "rewind" and self._best_is_better()
            position.stopped = probe.on_overfitting != "report" and not back
            if back:
                line["rewound_to"], position.stale = position.best_epoch, 0
                self.learner.load_state({key: value.clone() for key, value in self.kept.state.items()})
        self.log.write({"kind": "epoch", **line, "seconds": self.seconds})

    def save(self) -> None:
        """Write a checkpoint, unless the weights of now are of no use."""
        state = self.learner.state()
        if not all(bool(torch.isfinite(v).all()) for k, v in state.items() if k.startswith("weights.")):
            raise self._diverged("finite weights, got some that are not")
        if self.learner.is_main:
            self.position.log_bytes, self.position.seconds = self.log.flush(), self.seconds
            self.checkpoint.save(self.position, state, self.kept)

    def _alarm(self) -> str | None:
        threat = self.recipe.threat
        if not self.objective.adversarial or threat is None or "validation_robust_accuracy" not in self.line:
            return None
        return overfitting(scores_of(self.position.history, warm=threat.warmup * self.recipe.epochs))

    def _best_is_better(self) -> bool:
        history = self.position.history
        best, last = scores_of([history[self.position.best_epoch - 1], self.line], warm=0)
        return is_better(best, last)

    def _diverged(self, expected: str) -> DivergedError:
        position = self.position
        message = f"expected {expected} in epoch {position.epoch + 1}, step {position.step} of {self.steps}"
        if self.kept.weights:
            self.learner.load_weights(self.kept.weights)
            return DivergedError(message, "best", position.best_epoch)
        if self.learner.is_main and self.checkpoint.path.exists():
            saved, _ = self.checkpoint.load(self.learner)
            return DivergedError(message, "last", saved.epoch + (saved.step > 0))
        return DivergedError(message)


def _settings(learning_rate: float, threat: Threat | None) -> dict[str, float]:
    return {"rate": learning_rate} if threat is None else {"rate": learning_rate, "eps": threat.eps}


def _figures(result: StepResult) -> dict[str, float]:
    return {"loss": result.loss / result.count, "accuracy": result.correct / result.count}


def _shown(position: Position) -> dict[str, Any]:
    """What a display shows: the epoch so far, and what was last measured on held-out rows."""
    last = position.history[-1] if position.history else {}
    names = {"validation_accuracy": "clean", "validation_robust_accuracy": "robust"}
    held_out = {name: last[key] for key, name in names.items() if key in last}
    return {"epoch": position.epoch + 1, **_figures(position.total()), **held_out}
