"""The probe: robust accuracy on validation rows after an epoch, by an attack stronger than training's own."""

from __future__ import annotations

import torch
from torch import Tensor

from xaibench.attacks import attacks
from xaibench.attacks.base import attacks_for
from xaibench.errors import InputError
from xaibench.registry import Spec
from xaibench.threats import Threat
from xaibench.training.recipe import Probe, Recipe
from xaibench.types import Classifier, Task

__all__ = ["check_probe", "is_probed", "probes", "robust_accuracy"]

_OF_TEXT = "word_substitution"

_FEWEST = 20
"""Held-out rows without which a robust accuracy says nothing."""


def robust_accuracy(
    model: Classifier, x: Tensor, y: Tensor, ids: Tensor, *, threat: Threat, probe: Probe, seed: int
) -> float:
    """Share of the first ``probe.samples`` rows that are classified correctly before and after the attack."""
    x, y, ids = x[: probe.samples], y[: probe.samples], ids[: probe.samples]
    with torch.no_grad():
        clean = model.predict(x) == y
    found = attacks.create(_attack(probe, model.task))(model, x, y, threat, ids=ids, seed=seed)
    return float((clean & (model.predict(found) == y)).double().mean())


def probes(recipe: Recipe) -> bool:
    """Whether a recipe asks for a probe, and holds rows out for it."""
    return recipe.threat is not None and recipe.probe.samples > 0 and recipe.validation > 0


def is_probed(recipe: Recipe, epoch: int) -> bool:
    """Whether there is a probe after an epoch, from 0."""
    return probes(recipe) and ((epoch + 1) % recipe.probe.every == 0 or epoch + 1 == recipe.epochs)


def check_probe(recipe: Recipe, task: Task, held: int) -> None:
    """Refuse a probe whose attack does not exist for the task, or with too few held-out rows."""
    if not probes(recipe):
        return
    name = Spec.parse(_attack(recipe.probe, task)).name
    attacks.create(_attack(recipe.probe, task))
    if name not in attacks_for(task):
        raise InputError(f"expected a probe for {task} ({', '.join(attacks_for(task))}), got {name}")
    if held < _FEWEST:
        raise InputError(
            f"expected at least {_FEWEST} held-out rows to probe robustness on, got {held}: train on more rows (`n`),"
            " or by a recipe with a larger `validation`, or with `samples = 0` below `[probe]`; `xaibench harden` takes"
            " them as --n and --recipe"
        )


def _attack(probe: Probe, task: Task) -> str:
    return _OF_TEXT if task == "text" and "attack" not in probe.model_fields_set else probe.attack
