"""What is known of a model's robustness on some samples, sample by sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from xaibench.checks import Report as CheckReport
from xaibench.errors import InputError
from xaibench.metrics import wilson_interval
from xaibench.robustness.meter import Cost
from xaibench.threats import Threat

__all__ = ["CLEAN", "RobustnessResult", "StageResult"]

CLEAN = "clean"
"""In `RobustnessResult.broken_by`: misclassified before any attack."""


@dataclass(frozen=True)
class StageResult:
    """One attack of an evaluation: the samples that it was given, those that it broke, and what that took."""

    attack: str
    """Its spec, or for a part of an ensemble the ensemble's word for it."""
    attacked: int
    broken: int
    cost: Cost
    note: str | None = None
    """What the reader must know to compare it: a loss that was replaced, say."""
    rejected: int = 0
    """Claimed successes that did not hold when they were checked again."""


@dataclass(frozen=True, kw_only=True)
class RobustnessResult:
    """Robustness of a model on n samples within a threat model.

    Robust accuracy is an upper bound, proved accuracy a lower one. All tensors lie on the CPU.
    """

    threat: Threat
    attack: tuple[str, ...]
    seed: int
    robust: Tensor
    """(n,) bool: classified correctly, and not broken."""
    proved: Tensor
    """(n,) bool: proved to be classified correctly everywhere within the threat."""
    adversarials: Tensor
    """As the inputs: the example that broke a sample, else the clean input."""
    predictions: Tensor
    """(n,) classes of the adversarials."""
    broken_by: tuple[str, ...]
    """Attack that broke each sample; ``clean`` where none was needed, empty where none did."""
    distance: Tensor
    """(n,) float64: how far each adversarial lies from its clean input; 0 where that stands for itself."""
    stages: tuple[StageResult, ...]
    unproved: str | None = None
    """Why nothing could be proved; None where proofs were tried."""
    proof_cost: Cost = field(default_factory=Cost)
    checks: CheckReport | None = None
    """Self-checks of these numbers; None where they were not asked for."""

    def __len__(self) -> int:
        return len(self.robust)

    def __repr__(self) -> str:
        from xaibench.robustness.drawn import robustness_line

        return robustness_line(self)

    def _repr_html_(self) -> str:
        from xaibench.robustness.drawn import robustness_html

        return robustness_html(self)

    @property
    def clean_accuracy(self) -> float:
        """Share of samples that are classified correctly as they are."""
        return 1 - self.broken_by.count(CLEAN) / len(self)

    @property
    def robust_accuracy(self) -> float:
        """Share of samples that no attack broke."""
        return float(self.robust.double().mean())

    @property
    def proved_accuracy(self) -> float:
        """Share of samples that no attack can break."""
        return float(self.proved.double().mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson interval (95 %) of the robust accuracy."""
        return wilson_interval(int(self.robust.sum()), len(self))

    @property
    def proved_interval(self) -> tuple[float, float]:
        """Wilson interval (95 %) of the proved accuracy."""
        return wilson_interval(int(self.proved.sum()), len(self))

    @property
    def bracket(self) -> tuple[float, float]:
        """Proved and robust accuracy: the true robust accuracy on these samples lies between them."""
        return self.proved_accuracy, self.robust_accuracy

    @property
    def cost(self) -> Mapping[str, Cost]:
        """Passes and seconds by attack; that of the proofs under ``certify``."""
        costs: dict[str, Cost] = {}
        for stage in self.stages:
            costs[stage.attack] = costs.get(stage.attack, Cost()) + stage.cost
        if self.proof_cost != Cost():
            costs["certify"] = self.proof_cost
        return costs

    @property
    def total_cost(self) -> Cost:
        """All passes and seconds."""
        return sum(self.cost.values(), Cost())

    @property
    def verdict(self) -> str | None:
        """``reliable``, ``doubtful`` or ``unreliable``, by the self-checks; None without them."""
        return None if self.checks is None else self.checks.verdict

    @classmethod
    def merge(cls, parts: Sequence[RobustnessResult]) -> RobustnessResult:
        """The results of several sets of samples as one; all of the same threat, attack and seed, without checks."""
        first = parts[0]
        if any((part.threat, part.attack, part.seed) != (first.threat, first.attack, first.seed) for part in parts):
            raise InputError("expected results of one threat, attack and seed, got several")
        totals: dict[str, StageResult] = {}
        for stage in (stage for part in parts for stage in part.stages):
            known = totals.get(stage.attack)
            totals[stage.attack] = (
                stage
                if known is None
                else replace(
                    known,
                    attacked=known.attacked + stage.attacked,
                    broken=known.broken + stage.broken,
                    rejected=known.rejected + stage.rejected,
                    cost=known.cost + stage.cost,
                )
            )

        def joined(name: str) -> Tensor:
            return torch.cat([getattr(part, name) for part in parts])

        return replace(
            first,
            robust=joined("robust"),
            proved=joined("proved"),
            adversarials=joined("adversarials"),
            predictions=joined("predictions"),
            distance=joined("distance"),
            broken_by=tuple(name for part in parts for name in part.broken_by),
            stages=tuple(totals.values()),
            proof_cost=sum((part.proof_cost for part in parts), Cost()),
            checks=None,
        )
