"""Rules by which the relevance of a linear layer's outputs is shared out among its inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.explainers.relevance.ruled import transposed

__all__ = [
    "Epsilon",
    "LinearLayer",
    "LinearRule",
    "box",
    "epsilon_rule",
    "flat",
    "gamma_rule",
    "proportional",
    "z_plus",
]


@dataclass(frozen=True, kw_only=True)
class LinearLayer:
    """A linear map of ``x`` by ``weight``, each output then scaled, and shifted to give ``total``."""

    x: Tensor
    weight: Tensor
    map: Callable[[Tensor, Tensor], Tensor]
    """From an input and weights to an output, linear in both."""
    scale: Tensor | None
    """What follows before the next operation, such as batch norm, shaped as the output; None for 1."""
    total: Tensor
    """The output with bias, scale and shift."""

    def product(self, x: Tensor) -> Tensor:
        """The output without bias."""
        y = self.map(x, self.weight)
        return y if self.scale is None else y * self.scale

    def signed(self, high: Tensor, low: Tensor | None) -> Tensor:
        """``high`` by the positive and ``low`` by the negative weights, scale included; no ``low`` is zeros."""
        straight = self._halves(high, low, 1.0)
        if self.scale is None:
            return straight
        return self.scale.clamp_min(0) * straight + self.scale.clamp_max(0) * self._halves(high, low, -1.0)

    def positive(self, x: Tensor) -> Tensor:
        """Sums of all positive products that make an output."""
        return self.signed(x.clamp_min(0), x.clamp_max(0) if bool((x < 0).any()) else None)

    def _halves(self, high: Tensor, low: Tensor | None, sign: float) -> Tensor:
        upper = self.map(high, (sign * self.weight).clamp_min(0) * sign)
        return upper if low is None else upper + self.map(low, (sign * self.weight).clamp_max(0) * sign)


LinearRule = Callable[[LinearLayer, Tensor], Tensor]
"""Takes a layer and the relevance of its outputs; returns that of its inputs."""


@dataclass(frozen=True, kw_only=True)
class Epsilon:
    """What keeps quotients finite: so much, and so much relative to the size of what is divided by.

    That size is the root mean square along the last axis, which is the features of a token or the keys of a query.
    """

    absolute: float
    relative: float = 0.0

    def stable(self, total: Tensor) -> Tensor:
        """``total`` kept away from zero."""
        sign = 2.0 * (total >= 0) - 1
        if not self.relative:
            return total + self.absolute * sign
        size = total.square().mean(dim=-1, keepdim=True).sqrt()
        return total + (self.absolute + self.relative * size) * sign


def proportional(
    function: Callable[..., Tensor], inputs: list[Tensor], total: Tensor, relevance: Tensor, epsilon: Epsilon
) -> tuple[Tensor, ...]:
    """Shares in proportion to what each input adds to ``total`` through a function that is linear in each."""
    passed = transposed(function, inputs, relevance / epsilon.stable(total))
    return tuple(x * share for x, share in zip(inputs, passed, strict=True))


def epsilon_rule(epsilon: Epsilon) -> LinearRule:
    """Shares in proportion to x w (Bach et al., 2015, equations 58 and 60); the bias keeps its own."""

    def rule(layer: LinearLayer, relevance: Tensor) -> Tensor:
        return proportional(layer.product, [layer.x], layer.total, relevance, epsilon)[0]

    return rule


def gamma_rule(gamma: float, epsilon: Epsilon) -> LinearRule:
    """Products of the sign of the output count 1 + gamma times (Montavon et al., 2019, section 10.2.3).

    For inputs of either sign, as after layer norm, it is the product's sign that counts, not that of the weight.
    """

    def rule(layer: LinearLayer, relevance: Tensor) -> Tensor:
        favoured = layer.total > 0

        def more(x: Tensor) -> Tensor:
            product, positive = layer.product(x), layer.positive(x)
            return product + gamma * (favoured * positive + ~favoured * (product - positive))

        bias = layer.total - layer.product(layer.x)
        counted = favoured * bias.clamp_min(0) + ~favoured * bias.clamp_max(0)
        return proportional(more, [layer.x], more(layer.x) + bias + gamma * counted, relevance, epsilon)[0]

    return rule


def z_plus(epsilon: Epsilon) -> LinearRule:
    """Positive products alone (Bach et al., 2015, with alpha 1 and beta 0)."""

    def rule(layer: LinearLayer, relevance: Tensor) -> Tensor:
        bias = layer.total - layer.product(layer.x)
        total = layer.positive(layer.x) + bias.clamp_min(0)
        return proportional(layer.positive, [layer.x], total, relevance, epsilon)[0]

    return rule


def flat(layer: LinearLayer, relevance: Tensor) -> Tensor:
    """The same to every input of an output (Lapuschkin et al., *Unmasking Clever Hans predictors*, 2019)."""
    ones = torch.ones_like(layer.weight)
    count = layer.map(torch.ones_like(layer.x), ones)
    return transposed(lambda x: layer.map(x, ones), [layer.x], relevance / count)[0]


def box(low: Tensor, high: Tensor, epsilon: Epsilon) -> LinearRule:
    """The z-B rule for inputs within [low, high] (Montavon et al., *Explaining nonlinear classification decisions with
    deep Taylor decomposition*, 2017)."""

    def rule(layer: LinearLayer, relevance: Tensor) -> Tensor:
        def above(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
            return layer.product(x) - layer.signed(low, high)

        points = [layer.x, low.expand_as(layer.x), high.expand_as(layer.x)]
        return sum(proportional(above, points, above(*points), relevance, epsilon), torch.zeros_like(layer.x))

    return rule
