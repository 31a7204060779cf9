"""How few parts attributions name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.metrics.case import Case, quality_metrics

__all__ = ["Complexity", "Sparseness"]


@quality_metrics.register("sparseness")
@dataclass(frozen=True, kw_only=True)
class Sparseness:
    """Gini index of the magnitudes: 0 where all parts get the same, near 1 where one gets all.

    Chalasani et al., *Concise explanations of neural networks using adversarial training* (ICML 2020).
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = True

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        size = case.present.sum(dim=1)
        # Parts that do not count are zeros, which come first and count for nothing.
        ordered = (case.parts.abs() * case.present).sort(dim=1).values
        d = ordered.shape[1]
        place = torch.arange(1, d + 1, device=ordered.device) - (d - size)[:, None]
        total = ordered.sum(dim=1)
        weighted = (ordered * (size[:, None] - place + 0.5)).sum(dim=1)
        return torch.where(total > 0, 1 - 2 * weighted / (total * size).clamp_min(1e-300), 0.0)


@quality_metrics.register("complexity")
@dataclass(frozen=True, kw_only=True)
class Complexity:
    """Entropy of the shares that parts have in the sum of magnitudes, relative to that of equal shares: in [0, 1].

    Bhatt et al., *Evaluating and aggregating feature-based model explanations* (IJCAI 2020).
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = False

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        magnitudes = case.parts.abs() * case.present
        share = magnitudes / magnitudes.sum(dim=1, keepdim=True).clamp_min(1e-300)
        entropy = torch.special.entr(share).sum(dim=1)
        most = case.present.sum(dim=1).double().log()
        constant = magnitudes.sum(dim=1) == 0
        return torch.where(constant | (most == 0), 1.0, entropy / most.clamp_min(1e-300))
