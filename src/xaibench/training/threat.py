"""The threat of a recipe as the training loop uses it: growing during a warm-up, fitted to the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.threats import Constrained, Threat, Words, check_threat, feature_scale, threat
from xaibench.training.recipe import ThreatConfig
from xaibench.types import Classifier

__all__ = ["TrainingThreat", "training_threat"]


@dataclass(frozen=True)
class TrainingThreat:
    """A threat model whose radius grows over the first ``warmup`` of training."""

    at_radius: Callable[[float], Threat]
    eps: float
    warmup: float = 0.0

    @property
    def full(self) -> Threat:
        """With its whole radius."""
        return self.at_radius(self.eps)

    def at(self, progress: float) -> Threat:
        """With the radius of a moment of training, ``progress`` in (0, 1]."""
        return self.at_radius(self.eps * min(1.0, progress / self.warmup) if self.warmup else self.eps)


def training_threat(config: ThreatConfig | None, rows: Data, classifier: Classifier) -> TrainingThreat | None:
    """The threat of a recipe for these training rows; one that does not fit them raises `InputError`."""
    if config is None:
        return None
    if (config.norm == Words.norm) != (rows.task == "text"):
        expected = "words for text" if rows.task == "text" else f"linf, l2 or l1 for {rows.task} data"
        raise InputError(f"expected the threat's norm as {expected}, got {config.norm}")
    if config.norm == Words.norm:
        fitted = Words(int(config.eps)).fit(classifier)
        return TrainingThreat(lambda eps: fitted, config.eps)
    scale = feature_scale(rows.task, rows.bounds)
    rules = config.model_dump(include={"immutable", "integer", "one_hot", "lower", "upper"}, exclude_defaults=True)
    if rules and rows.feature_names is None:
        raise InputError(f"expected a table with feature names for `{next(iter(rules))}`, got {rows.task} data")

    def at_radius(eps: float) -> Threat:
        ball = threat(config.norm, eps, scale)
        return Constrained.named(ball, rows.feature_names or (), **rules) if rules else ball

    check_threat(at_radius(config.eps), rows.bounds, tuple(rows.inputs.shape[1:]))  # type: ignore[union-attr]  # no text
    return TrainingThreat(at_radius, config.eps, config.warmup)
