"""Gradients whose way back through ReLU is another: guided backpropagation and deconvolution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from xaibench.classifiers.outputs import two_columns
from xaibench.classifiers.tracing import operator_name
from xaibench.errors import UnsupportedError
from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import Explainer, Targets, explainers
from xaibench.explainers.relevance import operators
from xaibench.explainers.relevance.graph import Graph, where
from xaibench.explainers.relevance.propagation import chosen, propagated
from xaibench.explainers.relevance.ruled import ruled
from xaibench.explainers.target import TargetLogit
from xaibench.types import Classifier, Inputs

__all__ = ["DeconvNet", "GuidedBackprop"]

BackwardReLU = Callable[[Tensor, Tensor], Tensor]
"""What goes on before a ReLU, from what arrives and whether the input was positive."""


@explainers.register("guided_backprop")
@dataclass(frozen=True, kw_only=True)
class GuidedBackprop:
    """The gradient of the logit, of which each ReLU passes only what is positive, where its input was positive.

    Springenberg et al., *Striving for simplicity: the all convolutional net* (ICLR workshop 2015). It sharpens edges
    of the input and says less of the class than it seems to (Adebayo et al., *Sanity checks for saliency maps*,
    NeurIPS 2018). Other nonlinear functions pass their gradient and are reported as not covered; a network without
    ReLU is refused.
    """

    name: ClassVar[str]

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""
        return _explained(self, model, inputs, targets, seed, lambda arrived, active: arrived.clamp_min(0) * active)


@explainers.register("deconvnet")
@dataclass(frozen=True, kw_only=True)
class DeconvNet:
    """The gradient of the logit, of which each ReLU passes only what is positive, whatever its input was.

    Zeiler & Fergus, *Visualizing and understanding convolutional networks* (ECCV 2014). As in `GuidedBackprop`, other
    nonlinear functions are reported and networks without ReLU are refused.
    """

    name: ClassVar[str]

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""
        return _explained(self, model, inputs, targets, seed, lambda arrived, active: arrived.clamp_min(0))


def _explained(  # noqa: PLR0917 - the arguments of an explainer and its rule
    explainer: Explainer, model: Classifier, inputs: Inputs, targets: Targets, seed: int, rule: BackwardReLU
) -> Attribution:
    logit = TargetLogit(explainer, model, inputs, targets)
    points = logit.embed(logit.x)
    expected = logit.value(points)
    rectified = _Rectified(rule)

    def run(graph: Graph, rows: Tensor) -> tuple[Tensor, ...]:
        if not any(operator_name(node) == "relu" for node in graph.live):
            raise UnsupportedError("the model has no ReLU, so that it would be the gradient")
        point = points[rows].clone().requires_grad_()
        with torch.enable_grad():
            logits = two_columns(graph.run(logit.x[rows], point, rectified), len(rows))
            value = chosen(logit, logits, rows)
            (gradient,) = torch.autograd.grad(value.sum(), point)
        logit.count(forward=len(rows), backward=len(rows))
        return gradient, value

    values = propagated(logit, explainer.name, run, (expected,))
    return logit.attribution(values, seed=seed, uncovered=tuple(rectified.uncovered))


class _Rectified:
    """Runs each node as it is, but for the way back through ReLU."""

    def __init__(self, rule: BackwardReLU) -> None:
        self._rule = rule
        self.uncovered: dict[str, None] = {}

    def __call__(self, node: Any, args: Any, kwargs: Any) -> Any:
        if operator_name(node) != "relu":
            if operator_name(node) in operators.ELEMENTWISE:
                self.uncovered[where(node)] = None
            return node.target(*args, **kwargs)
        (x,) = args
        return ruled(x.detach().relu(), lambda arrived: (self._rule(arrived, x > 0),), x)
