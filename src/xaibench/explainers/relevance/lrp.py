"""Layer-wise relevance propagation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from xaibench.classifiers.outputs import two_columns
from xaibench.errors import InputError
from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import Targets, explainers
from xaibench.explainers.relevance.graph import Graph
from xaibench.explainers.relevance.layerwise import Box, Layerwise
from xaibench.explainers.relevance.linear import LinearRule, box, epsilon_rule, flat, gamma_rule, z_plus
from xaibench.explainers.relevance.propagation import chosen, propagated
from xaibench.explainers.target import TargetLogit
from xaibench.types import Classifier, Inputs

__all__ = ["LRP"]


@explainers.register("lrp")
@dataclass(frozen=True, kw_only=True)
class LRP:
    """The logit, handed back from each operation to what it was made of, in proportion to what each part added.

    Bach et al., *On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance propagation*
    (PLoS ONE 2015); Montavon et al., *Layer-wise relevance propagation: an overview* (2019). Linear layers, each with
    the batch norm after it, share by ``rule``: ``epsilon``, by what inputs add; ``gamma``, where products of the
    output's sign count 1 + ``gamma`` times; ``z_plus``, by positive products alone; ``composite``, z-plus for
    convolutions and epsilon for dense layers, and the flat rule for a convolution that takes the input (Kohlbrenner
    et al., *Towards best practice in explaining neural network decisions with LRP*, IJCNN 2020), or, with ``box``, the
    z-B rule on the box of valid inputs for any layer that does; text has neither. ``epsilon`` keeps every quotient
    finite.

    Sums, as residual connections are, and means share in proportion; functions of one number and norms hand on what
    they get, maxima to the winner. Attention follows Achtibat et al., *AttnLRP* (ICML 2024): softmax by its Taylor
    series, half to each factor of a product. Gates leave all to the signal (Arras et al., *Explaining recurrent
    neural network predictions in sentiment analysis*, WASSA 2017).

    Relevance is that of the input as the network sees it, normalised; normalisation itself takes none. Biases take
    their part, so that values add up to the logit only where there are none: there trust holds the gap. By z-plus
    whatever reaches a unit without positive products is lost.
    Raises `UnsupportedError` for models that have no graph and for operations without a rule, by name.
    """

    name: ClassVar[str]

    rule: Literal["epsilon", "gamma", "z_plus", "composite"] = "composite"
    epsilon: float = 1e-6
    gamma: float = 0.25
    box: bool = False

    def __post_init__(self) -> None:
        if not self.epsilon > 0:
            raise InputError(f"expected `epsilon` > 0, got {self.epsilon}")
        if not self.gamma >= 0:
            raise InputError(f"expected `gamma` >= 0, got {self.gamma}")
        if self.box and self.rule != "composite":
            raise InputError(f"expected `box` with rule 'composite' alone, got rule {self.rule!r}")

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""
        logit = TargetLogit(self, model, inputs, targets)
        points = logit.embed(logit.x)
        expected = logit.value(points)
        biased = False

        def run(graph: Graph, rows: Tensor) -> tuple[Tensor, ...]:
            nonlocal biased
            point = points[rows].clone().requires_grad_()
            layerwise = Layerwise(graph, self._rule_of, self.epsilon, _box(model, point))
            with torch.enable_grad():
                output = graph.run(logit.x[rows], point, layerwise)
                value = chosen(logit, two_columns(output, len(rows)), rows).detach()
                start = _placed(value, logit.target[rows], output)
                (relevance,) = torch.autograd.grad(output, point, start)
            logit.count(forward=len(rows), backward=len(rows))
            biased = biased or layerwise.biased
            return relevance, value

        values = propagated(logit, self.name, run, (expected,))
        if not biased:
            return logit.attribution(values, seed=seed, change=expected)
        kept = values.double().flatten(1).sum(dim=1) / expected.where(expected != 0, 1.0)
        note = f"values add up to {float(kept.median()):.2f} times the logit in the median, biases take the rest"
        return logit.attribution(values, seed=seed, notes=(note,))

    def _rule_of(self, operator: str, first: bool, corners: Box | None) -> LinearRule:
        convolution = operator == "convolution"
        if self.rule == "composite" and first and corners is not None and (self.box or convolution):
            return box(*corners, self.epsilon) if self.box else flat
        if self.rule == "gamma":
            return gamma_rule(self.gamma, self.epsilon)
        if self.rule == "z_plus" or (self.rule == "composite" and convolution):
            return z_plus(self.epsilon)
        return epsilon_rule(self.epsilon)


def _box(model: Classifier, point: Tensor) -> Box | None:
    """The corners of the box of valid inputs, shaped as a batch of them; None for text."""
    if model.task == "text":
        return None
    low, high = model.bounds.tensors(point.detach())
    return low.expand_as(point), high.expand_as(point)


def _placed(value: Tensor, target: Tensor, output: Tensor) -> Tensor:
    """The target logits (n,) as the relevance of the output: at their class, or at the only unit."""
    if output.ndim == 1 or output.shape[1] == 1:
        return value.view_as(output)
    return torch.zeros_like(output).scatter(1, target[:, None], value[:, None])
