"""The probe: robust accuracy on validation rows after an epoch, by an attack stronger than training's own."""

from __future__ import annotations

import torch
from torch import Tensor

from xaibench.attacks import attacks
from xaibench.threats import Threat
from xaibench.training.recipe import Probe
from xaibench.types import Classifier

__all__ = ["robust_accuracy"]


def robust_accuracy(
    model: Classifier, x: Tensor, y: Tensor, ids: Tensor, *, threat: Threat, probe: Probe, seed: int
) -> float:
    """Share of the first ``probe.samples`` rows that are classified correctly before and after the attack."""
    x, y, ids = x[: probe.samples], y[: probe.samples], ids[: probe.samples]
    with torch.no_grad():
        clean = model.predict(x) == y
    found = attacks.create(probe.attack)(model, x, y, threat, ids=ids, seed=seed)
    return float((clean & (model.predict(found) == y)).double().mean())
