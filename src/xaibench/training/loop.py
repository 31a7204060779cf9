"""The training loop: one for every framework and objective, killed at any moment and resumed to the same weights.

Everything random is a function of (seed, epoch, step, sample id), so a checkpoint holds only the learner's state,
the best weights so far, and where the run stands.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from xaibench.errors import InputError
from xaibench.files import atomic_path
from xaibench.rng import SampleRng, derive_seed, permutation
from xaibench.training.augment import augment
from xaibench.training.learner import Learner, StepResult
from xaibench.training.objectives import Objective, Replaying
from xaibench.training.probe import robust_accuracy
from xaibench.training.recipe import Recipe
from xaibench.training.schedules import rate
from xaibench.training.threat import TrainingThreat
from xaibench.types import Progress

__all__ = ["TrainingSet", "fit"]


@dataclass(frozen=True)
class TrainingSet:
    """Encoded inputs, labels (n,) and sample ids (n,)."""

    x: Tensor
    y: Tensor
    ids: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Tensor) -> TrainingSet:
        """The rows at these positions."""
        return TrainingSet(self.x[index], self.y[index], self.ids[index])


@dataclass
class _Position:
    """Where a run stands: the next step of an epoch, and the best validation score so far."""

    epoch: int = 0
    step: int = 0
    best_score: float | None = None
    stale: int = 0


class _Checkpoint:
    """One safetensors file with the learner's state, the best weights, and the position in its header."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "checkpoint.safetensors"
        self._saved = time.monotonic()

    def save(self, position: _Position, learner: Learner, best: dict[str, Tensor]) -> None:
        from safetensors.torch import save_file

        self._saved = time.monotonic()
        if not learner.is_main:
            return
        tensors = {f"learner.{k}": v for k, v in learner.state().items()} | {f"best.{k}": v for k, v in best.items()}
        with atomic_path(self.path) as temporary:
            save_file(tensors, temporary, metadata={"position": json.dumps(asdict(position))})

    def age(self) -> float:
        return time.monotonic() - self._saved

    def load(self, learner: Learner) -> tuple[_Position, dict[str, Tensor]]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, "pt") as file:
                position = _Position(**json.loads(file.metadata()["position"]))
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # the file is no mapping
        except (SafetensorError, KeyError, TypeError) as error:
            raise InputError(f"expected a checkpoint in {self.path}, got: {error}") from None
        learner.load_state({k.removeprefix("learner."): v for k, v in tensors.items() if k.startswith("learner.")})
        return position, {k.removeprefix("best."): v for k, v in tensors.items() if k.startswith("best.")}


def fit(
    learner: Learner,
    objective: Objective,
    recipe: Recipe,
    training: TrainingSet,
    validation: TrainingSet | None,
    *,
    threat: TrainingThreat | None = None,
    folder: Path,
    resume: bool = False,
    progress: Progress | None = None,
    keep: Callable[[int, float], None] | None = None,
) -> None:
    """Train ``learner`` and leave it with its best weights on ``validation`` (else the last).

    Checkpoints go to ``folder`` after each epoch and every ``recipe.checkpoint_seconds`` seconds. ``keep`` is called
    after each epoch with its number, from 1, and its last learning rate, again where a resumed run repeats it.
    """
    checkpoint = _Checkpoint(folder)
    position, best = _Position(), dict[str, Tensor]()
    if resume and checkpoint.path.exists():
        position, best = checkpoint.load(learner)
    per_step = recipe.batch_size * recipe.accumulate
    steps = max(1, len(training) // per_step)
    total = recipe.epochs * steps
    while position.epoch < recipe.epochs and not (recipe.patience and position.stale >= recipe.patience):
        losses: list[StepResult] = []
        for step, batches in _steps(training, recipe, position.epoch, steps, start=position.step):
            done = position.epoch * steps + step
            factor = rate(recipe.schedule, done, total)
            for replay in range(objective.replays if isinstance(objective, Replaying) else 1):
                result = learner.step(
                    batches,
                    objective,
                    rate=factor * recipe.optimizer.learning_rate,
                    seed=derive_seed(recipe.seed, "random layers", done, *([replay] if replay else [])),
                    progress=(done + 1) / total,
                    threat=None if threat is None else threat.at((done + 1) / total),
                )
            if not math.isfinite(result.loss):
                raise InputError(
                    f"expected a finite loss, got {result.loss} in epoch {position.epoch + 1}: a smaller learning rate,"
                    " a warm-up or clip_norm may help"
                )
            losses.append(result)
            if progress:
                progress("train", done + 1, total, {"epoch": position.epoch + 1, **_figures(losses[-50:])})
            if checkpoint.age() > recipe.checkpoint_seconds:
                position.step = step + 1
                checkpoint.save(position, learner, best)
        line = {"epoch": position.epoch + 1, **_figures(losses)}
        if validation is not None:
            scores = _validate(learner, validation, recipe.batch_size)
            if threat is not None and _probed(recipe, position.epoch):
                with learner.averaged() as model:
                    rows = validation.x, validation.y, validation.ids
                    scores["robust_accuracy"] = robust_accuracy(
                        model, *rows, threat=threat.full, probe=recipe.probe, seed=recipe.seed
                    )
            line |= {f"validation_{key}": value for key, value in scores.items()}
            monitor = recipe.monitor or ("accuracy" if threat is None else "robust_accuracy")
            if monitor in scores:
                score = -scores["loss"] if monitor == "loss" else scores[monitor]
                position.stale += 1
                if position.best_score is None or score > position.best_score:
                    position.best_score, position.stale, best = score, 0, learner.weights()
        position.epoch, position.step = position.epoch + 1, 0
        if keep and learner.is_main:
            factor = rate(recipe.schedule, position.epoch * steps - 1, total)
            keep(position.epoch, factor * recipe.optimizer.learning_rate)
        checkpoint.save(position, learner, best)
        if progress:
            progress("epoch", position.epoch, recipe.epochs, line)
    learner.load_weights(best or learner.weights())


def _steps(
    data: TrainingSet, recipe: Recipe, epoch: int, steps: int, *, start: int
) -> Iterator[tuple[int, list[tuple[Tensor, Tensor]]]]:
    """The batches of each step of an epoch from ``start`` on; what does not fill a step waits for another epoch."""
    order = permutation(len(data), recipe.seed, "order", epoch)
    per_step = recipe.batch_size * recipe.accumulate
    for step in range(start, steps):
        rows = order[step * per_step : (step + 1) * per_step]
        batches = []
        for part in rows.split(recipe.batch_size):
            batch = data.take(part)
            rng = SampleRng(batch.ids, recipe.seed, "augmentation")
            batches.append((augment(batch.x, recipe.augmentation, rng, epoch), batch.y))
        yield step, batches


def _probed(recipe: Recipe, epoch: int) -> bool:
    return bool(recipe.probe.samples) and ((epoch + 1) % recipe.probe.every == 0 or epoch + 1 == recipe.epochs)


def _figures(results: list[StepResult]) -> dict[str, float]:
    count = sum(result.count for result in results)
    if not count:
        return {}
    loss = sum(result.loss for result in results) / count
    return {"loss": loss, "accuracy": sum(result.correct for result in results) / count}


def _validate(learner: Learner, data: TrainingSet, batch_size: int) -> dict[str, float]:
    logits = torch.cat([learner.logits(part) for part in data.x.split(max(batch_size, 256))])
    if not torch.isfinite(logits).all():
        return {"loss": float("inf"), "accuracy": 0.0}
    return {
        "loss": float(F.cross_entropy(logits, data.y)),
        "accuracy": float((logits.argmax(1) == data.y).double().mean()),
    }
