"""Explainers that integrate gradients along a path from a baseline to the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import Targets, explainers
from xaibench.explainers.baselines import Baseline, baseline_inputs
from xaibench.explainers.target import TargetLogit, completeness_gap
from xaibench.types import Classifier, Inputs

__all__ = ["IntegratedGradients"]


@explainers.register("integrated_gradients")
@dataclass(frozen=True, kw_only=True)
class IntegratedGradients:
    """Gradients of the logit averaged along the straight line from the baseline, times the distance gone.

    Sundararajan et al., *Axiomatic attribution for deep networks* (ICML 2017). Attributions should add up to the
    change of the logit (completeness). Samples that miss it by more than ``tolerance``, relative to that change, are
    done again with twice the steps until they meet it or ``max_steps`` is reached; the gap that is left is reported.
    For text the line runs between embeddings.
    """

    name: ClassVar[str]

    baseline: Baseline = "auto"
    steps: int = 32
    max_steps: int = 512
    tolerance: float = 0.01
    quadrature: Literal["gauss_legendre", "riemann_middle"] = "gauss_legendre"

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= self.max_steps:
            raise InputError(f"expected 1 <= `steps` <= `max_steps`, got {self.steps} and {self.max_steps}")
        if not self.tolerance >= 0:
            raise InputError(f"expected `tolerance` >= 0, got {self.tolerance}")

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""
        logit = TargetLogit(self, model, inputs, targets)
        baseline = baseline_inputs(self.baseline, model, logit.x)
        start, end = logit.embed(baseline), logit.embed(logit.x)
        change = logit.value(end) - logit.value(start)
        values = torch.zeros_like(end, dtype=torch.float64)
        gap = torch.full_like(change, torch.inf)
        left, steps = torch.arange(len(end), device=end.device), self.steps
        while len(left) and steps <= self.max_steps:
            values[left] = self._integrate(logit, left, start[left], end[left], steps)
            gap[left] = completeness_gap(values[left], change[left]).double()
            left, steps = left[gap[left] > self.tolerance], 2 * steps
        return logit.attribution(
            values.to(end.dtype), seed=seed, baseline=baseline, change=change, tolerance=self.tolerance
        )

    def _integrate(self, logit: TargetLogit, rows: Tensor, start: Tensor, end: Tensor, steps: int) -> Tensor:
        """Integrated gradients (m, ...), float64, of samples ``rows`` (m,); points of all paths share the batches."""
        nodes, weights = (end.new_tensor(values, dtype=torch.float64) for values in _rule(self.quadrature, steps))
        mean = torch.zeros_like(end, dtype=torch.float64)
        for part in logit.split(len(rows) * steps):
            sample, node = part // steps, part % steps
            shape = (-1, *[1] * (end.ndim - 1))
            share = nodes[node].view(shape).to(end.dtype)
            gradient = logit.gradient(rows[sample], start[sample] + share * (end - start)[sample])
            mean.index_add_(0, sample, weights[node].view(shape) * gradient.double())
        return mean * (end - start)


def _rule(quadrature: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in (0, 1) and weights that add up to 1."""
    if quadrature == "gauss_legendre":
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        return (nodes + 1) / 2, weights / 2
    return (np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)
