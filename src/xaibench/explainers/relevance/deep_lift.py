"""DeepLIFT, on any network whose operations have a rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.classifiers.outputs import two_columns
from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import Targets, explainers
from xaibench.explainers.baselines import Baseline, baseline_inputs
from xaibench.explainers.relevance.graph import Graph
from xaibench.explainers.relevance.pairs import Pair, both
from xaibench.explainers.relevance.propagation import chosen, propagated
from xaibench.explainers.relevance.rescale import Rescale
from xaibench.explainers.target import TargetLogit
from xaibench.types import Classifier, Inputs

__all__ = ["DeepLift"]


@explainers.register("deep_lift")
@dataclass(frozen=True, kw_only=True)
class DeepLift:
    """Differences from the baseline, handed on from operation to operation by multipliers.

    Shrikumar et al., *Learning important features through propagating activation differences* (ICML 2017), with the
    rescale rule: a nonlinear function of one number multiplies by the change of its value over that of its argument.
    Products, softmax, layer norm and maxima have rules that keep the sum as well, so that attributions add up to the
    change of the logit on every network whose operations are known. Rules stand for operations of the traced
    network, not for its layers: it is all one whether a ReLU is a layer, a function, or used twice.

    For text differences are those of embeddings. Raises `UnsupportedError` for models that have no graph, such as a
    SavedModel, and for operations without a rule, by name. Where a condition inside the model comes out otherwise
    for the baseline, the layer is reported as not covered.
    """

    name: ClassVar[str]

    baseline: Baseline = "auto"

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""
        logit = TargetLogit(self, model, inputs, targets)
        baseline = baseline_inputs(self.baseline, model, logit.x)
        start, end = logit.embed(baseline), logit.embed(logit.x)
        every = torch.arange(len(end), device=end.device)
        after, before = logit.value(torch.cat([end, start]), every.repeat(2)).chunk(2)
        uncovered: dict[str, None] = {}

        def run(graph: Graph, rows: Tensor) -> tuple[Tensor, ...]:
            rule = Rescale()
            point = Pair(end[rows].clone().requires_grad_(), start[rows])
            with torch.enable_grad():
                output = graph.run(logit.x[rows], point, rule)
                logits = both(lambda side: two_columns(side, len(rows)), output)
                value = chosen(logit, logits.live, rows)
                (multiplier,) = torch.autograd.grad(value.sum(), point.live)
            logit.count(forward=2 * len(rows), backward=len(rows))
            uncovered.update(rule.uncovered)
            return multiplier * (end - start)[rows], value, chosen(logit, logits.reference, rows)

        values = propagated(logit, self.name, run, (after, before))
        return logit.attribution(
            values, seed=seed, baseline=baseline, change=after - before, uncovered=tuple(uncovered)
        )
