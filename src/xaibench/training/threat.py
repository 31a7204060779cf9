"""The threat of a recipe as the training loop uses it, growing during a warm-up and fitted to the data, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from xaibench.card import first_problem
from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.threats import Constrained, Threat, Words, check_threat, feature_scale, threat
from xaibench.training.recipe import ThreatConfig
from xaibench.types import Classifier

__all__ = ["TrainingThreat", "threat_config", "training_threat"]


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
        fitted = Words(config.eps).fit(classifier)  # type: ignore[arg-type]  # a whole number, or it is refused
        length = (classifier.input_shape or (None,))[-1]
        if length is not None:
            fitted.check(rows.bounds, (length,))
        return TrainingThreat(lambda eps: fitted, config.eps)
    scale = config.scale or feature_scale(rows.task, rows.bounds)
    rules = config.model_dump(include={"immutable", "integer", "one_hot", "lower", "upper"}, exclude_defaults=True)
    if rules and rows.feature_names is None:
        raise InputError(f"expected a table with feature names for `{next(iter(rules))}`, got {rows.task} data")

    def at_radius(eps: float) -> Threat:
        ball = threat(config.norm, eps, scale)
        return Constrained.named(ball, rows.feature_names or (), **rules) if rules else ball

    check_threat(at_radius(config.eps), rows.bounds, tuple(rows.inputs.shape[1:]))  # type: ignore[union-attr]  # no text
    return TrainingThreat(at_radius, config.eps, config.warmup)


def threat_config(threat: Threat, rows: Data) -> ThreatConfig:
    """What a recipe says to train on these rows against ``threat``, whose units and rules are kept.

    One that a recipe has no words for raises `InputError`.
    """
    if isinstance(threat, Words):
        if threat.options != Words(threat.k).options:
            raise InputError(f"expected words without further rules to train against, got {threat!r:.120}")
        return ThreatConfig(norm="words", eps=threat.eps)
    # A table's own ranges are what a recipe takes where it says nothing; anything else is said.
    customary = feature_scale(rows.task, rows.bounds)
    scale = None if threat.scale == customary else threat.scale or (1.0,)
    rules = _named(threat, rows) if isinstance(threat, Constrained) else {}
    try:
        return ThreatConfig(norm=threat.norm, eps=threat.eps, scale=scale, **rules)  # type: ignore[arg-type]
    except ValidationError as error:
        raise InputError(f"expected a threat to train against, got: {first_problem(error)}") from None


def _named(threat: Constrained, rows: Data) -> dict[str, Any]:
    """The rules of a table by the names of its features."""
    names = rows.feature_names
    if names is None:
        raise InputError(f"expected a table with feature names for a threat with rules, got {rows.task} data")
    limits = {
        side: {name: value for name, value in zip(names, values, strict=True) if value is not None}
        for side, values in (("lower", threat.lower), ("upper", threat.upper))
        if values is not None
    }
    return {
        "immutable": tuple(names[index] for index in threat.immutable),
        "integer": tuple(names[index] for index in threat.integer),
        "one_hot": tuple(tuple(names[index] for index in group) for group in threat.one_hot),
        **limits,
    }
