"""How long a training will take on this machine, from one of its steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from xaibench.data import load_data, row_count
from xaibench.registry import Spec
from xaibench.training.batches import TrainingSet
from xaibench.training.network import make_network
from xaibench.training.objectives import Replaying, objectives
from xaibench.training.probe import probes, robust_accuracy
from xaibench.training.recipe import Recipe
from xaibench.training.threat import training_threat

__all__ = ["Pace", "pace"]

_FEW = 8
_BEGINNING = 8.0
"""Seconds in which a process loads its framework and the data."""
_COMPARED = 512
"""Test rows on which a hardened model is measured beside the one before."""
_PATIENCE = 1.0
"""Seconds that a whole batch may take to be timed; a slower one is judged by `_FEW` of its rows."""


@dataclass(frozen=True)
class Pace:
    """Seconds of a step, of a probe after an epoch, and of what is done once; and how many steps an epoch has."""

    step: float
    probe: float
    once: float
    steps: int

    def seconds(self, epochs: int) -> float:
        """How long a training of as many epochs takes."""
        return epochs * (self.steps * self.step + self.probe) + self.once


def pace(recipe: Recipe) -> Pace:
    """Time one step and one probe of a training, without keeping anything of it.

    Raises `InputError` for a recipe that does not fit its data, as the training would.
    """
    rows_at_hand = row_count(recipe.data, recipe.train_split)
    total = min(recipe.n or rows_at_hand, rows_at_hand)
    held = round(recipe.validation * total)
    rows = load_data(recipe.data, recipe.train_split, min(max(recipe.batch_size, _FEW), total), seed=recipe.seed)
    network = make_network(recipe, rows)
    learner, objective = network.learner, objectives.create(Spec(recipe.objective.name, recipe.objective.params))
    against = training_threat(recipe.threat, rows, learner.classifier)
    every = TrainingSet(network.encode(rows), rows.labels, rows.ids)
    threat = None if against is None else against.full
    replays = objective.replays if isinstance(objective, Replaying) else 1

    def step(count: int) -> None:
        learner.step(
            [(every.x[:count], every.y[:count])], objective, rate=recipe.optimizer.learning_rate, seed=0, threat=threat
        )

    _seconds(lambda: step(_FEW))  # the first one sets much up
    few = _seconds(lambda: step(_FEW))
    batch = few * len(every) / _FEW
    count = _FEW
    if batch <= _PATIENCE:
        batch, count = _seconds(lambda: step(len(every))), len(every)
    probe, once = 0.0, _BEGINNING
    if threat is not None and probes(recipe):
        x, y, ids = every.x[:count], every.y[:count], every.ids[:count]
        spent = _seconds(
            lambda: robust_accuracy(learner.classifier, x, y, ids, threat=threat, probe=recipe.probe, seed=recipe.seed)
        )
        probe = spent * max(1.0, min(recipe.probe.samples, held) / len(y)) / recipe.probe.every
        compared = min(_COMPARED, row_count(recipe.data, recipe.test_split))
        once += 2 * spent * max(1.0, compared / len(y))
    trained = max(1, (total - held) // (recipe.batch_size * recipe.accumulate))
    return Pace(step=batch * replays * recipe.accumulate, probe=probe, once=once, steps=trained)


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began
