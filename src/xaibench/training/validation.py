"""What is measured on held-out rows after an epoch, and what it means for the run."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional as F

from xaibench.training.batches import TrainingSet
from xaibench.training.checkpoint import Position
from xaibench.training.learner import Learner
from xaibench.training.probe import is_probed, robust_accuracy
from xaibench.training.recipe import Recipe
from xaibench.training.threat import TrainingThreat

__all__ = ["is_best", "scores"]


def scores(
    learner: Learner, data: TrainingSet, recipe: Recipe, threat: TrainingThreat | None, epoch: int
) -> dict[str, Any]:
    """Loss and accuracy on held-out rows by the averaged weights, and their accuracy under the probe where it is due.

    They are named as in the log; logits or a loss that are not finite raise `FloatingPointError`.
    """
    logits = torch.cat([learner.logits(part) for part in data.x.split(max(recipe.batch_size, 256))])
    if not torch.isfinite(logits).all():
        raise FloatingPointError("logits that are not")
    loss = float(F.cross_entropy(logits, data.y))
    if not math.isfinite(loss):  # logits that are finite may be too large for it
        raise FloatingPointError(f"a loss of {loss}")
    found: dict[str, Any] = {
        "validation_loss": loss,
        "validation_accuracy": float((logits.argmax(1) == data.y).double().mean()),
    }
    if threat is not None and is_probed(recipe, epoch):
        with learner.averaged() as model:
            robust = robust_accuracy(
                model, data.x, data.y, data.ids, threat=threat.full, probe=recipe.probe, seed=recipe.seed
            )
        found |= {"validation_robust_accuracy": robust, "probed": min(recipe.probe.samples, len(data))}
    return found


def is_best(line: dict[str, Any], position: Position, recipe: Recipe) -> bool:
    """Whether an epoch scores above all before it; the position is brought up to date."""
    monitor = recipe.monitor or ("accuracy" if recipe.threat is None else "robust_accuracy")
    if f"validation_{monitor}" not in line:
        return False
    score = line[f"validation_{monitor}"] * (-1 if monitor == "loss" else 1)
    position.stale += 1
    if position.best_score is not None and score <= position.best_score:
        return False
    position.best_score, position.best_epoch, position.stale = score, line["epoch"], 0
    return True
