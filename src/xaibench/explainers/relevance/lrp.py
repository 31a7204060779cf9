"""Layer-wise relevance propagation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from xaibench.classifiers.outputs import two_columns
from xaibench.classifiers.tracing import operator_name
from xaibench.errors import InputError
from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import Targets, explainers
from xaibench.explainers.relevance.graph import Graph
from xaibench.explainers.relevance.layerwise import Box, Layerwise
from xaibench.explainers.relevance.linear import Epsilon, LinearRule, box, epsilon_rule, flat, gamma_rule, z_plus
from xaibench.explainers.relevance.propagation import chosen, propagated
from xaibench.explainers.target import TargetLogit
from xaibench.types import Classifier, Inputs

__all__ = ["LRP"]

_ATTENTIVE_GAMMA, _ATTENTIVE_EPSILON = 1.0, 3e-3
"""In nets with attention, the gamma of dense layers and the epsilon of all shares, relative to what they are of."""


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
    z-B rule on the box of valid inputs for any layer that does; text has neither. In nets with attention, where by the
    epsilon rule large relevances of both signs pile up, composite takes the gamma rule for dense layers, with a gamma
    of 1, and an epsilon of 0.003 of the root mean square of each token's features. ``epsilon`` keeps every quotient
    finite.

    Sums, as residual connections are, and means share in proportion; functions of one number and norms hand on what
    they get, maxima to the winner. Attention follows Achtibat et al., *AttnLRP* (ICML 2024): softmax by its Taylor
    series, half to each factor of a product. Gates leave all to the signal (Arras et al., *Explaining recurrent
    neural network predictions in sentiment analysis*, WASSA 2017).

    Relevance is that of the input as the network sees it, normalised; normalisation itself takes none. Values add up to
    the logit, and trust holds the gap, only where nothing on the way takes a part: biases do, and constants among
    activations; softmax of activations does, or gives some; and what reaches units that no product speaks for, by
    z-plus no positive one, is lost to epsilon. There trust holds the share that values add up to.
    Raises `UnsupportedError` for models that have no graph and for operations without a rule, by name; `InputError`
    for ``box`` without finite bounds.
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
        takers: dict[str, None] = {}

        def run(graph: Graph, rows: Tensor) -> tuple[Tensor, ...]:
            point = points[rows].clone().requires_grad_()
            attentive = any(operator_name(node) == "_softmax" for node in graph.live)
            relative = _ATTENTIVE_EPSILON if attentive and self.rule == "composite" else 0.0
            epsilon = Epsilon(absolute=self.epsilon, relative=relative)
            choose = partial(self._rule_of, attentive, epsilon)
            layerwise = Layerwise(graph, choose, epsilon, self._box(model, point))
            with torch.enable_grad():
                output = graph.run(logit.x[rows], point, layerwise)
                value = chosen(logit, two_columns(output, len(rows)), rows).detach()
                start = _placed(value, logit.target[rows], output)
                (relevance,) = torch.autograd.grad(output, point, start)
            logit.count(forward=len(rows), backward=len(rows))
            takers.update(layerwise.takers)
            return relevance, value

        values = propagated(logit, self.name, run, (expected,))
        if not takers:
            return logit.attribution(values, seed=seed, change=expected)
        kept = values.double().flatten(1).sum(dim=1) / _away_from_zero(expected)
        low, high = (f"{float(side):.2f}" for side in kept.aminmax()) if len(kept) else ("", "")
        share = low if low == high else f"{low} to {high}"
        note = f"values add up to {share} times the logit, the rest goes to {' and '.join(takers)}"
        return logit.attribution(values, seed=seed, kept=kept.float(), notes=(note,))

    def _rule_of(
        self, attentive: bool, epsilon: Epsilon, operator: str, first: bool, corners: Box | None
    ) -> LinearRule:
        convolution = operator == "convolution"
        if self.rule == "composite" and first and corners is not None and (self.box or convolution):
            return box(*corners, epsilon) if self.box else flat
        if self.rule == "gamma":
            return gamma_rule(self.gamma, epsilon)
        if self.rule == "z_plus" or (self.rule == "composite" and convolution):
            return z_plus(epsilon)
        if self.rule == "composite" and attentive:
            return gamma_rule(_ATTENTIVE_GAMMA, epsilon)
        return epsilon_rule(epsilon)

    def _box(self, model: Classifier, point: Tensor) -> Box | None:
        """The corners of the box of valid inputs, shaped as a batch of them; None for text."""
        if model.task == "text":
            return None
        corners = model.bounds.tensors(point.detach())
        for limit in corners:
            if self.box and not bool(limit.isfinite().all()):
                raise InputError(f"expected finite bounds for `box`, got {float(limit[limit.isinf()][0])}")
        low, high = (limit.expand_as(point) for limit in corners)
        return low, high


def _away_from_zero(logits: Tensor) -> Tensor:
    """What shares are taken of: as for a completeness gap, a logit below 1e-3 counts as 1e-3."""
    return logits.abs().clamp_min(1e-3) * (2 * (logits >= 0).to(logits) - 1)


def _placed(value: Tensor, target: Tensor, output: Tensor) -> Tensor:
    """The target logits (n,) as the relevance of the output: at their class, or at the only unit."""
    if output.ndim == 1 or output.shape[1] == 1:
        return value.view_as(output)
    return torch.zeros_like(output).scatter(1, target[:, None], value[:, None])
