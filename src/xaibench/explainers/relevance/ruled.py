"""Operations whose backward pass is a rule of its own, not the gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["ruled", "transposed"]

Backward = Callable[[Tensor], tuple[Tensor | None, ...]]


def ruled(value: Tensor, backward: Backward, *inputs: Tensor) -> Tensor:
    """``value``, computed from ``inputs``, through which autograd passes by ``backward``.

    ``backward`` takes what arrives at the value and returns what goes on to each input.
    """
    with torch.enable_grad():
        found: Tensor = _Ruled.apply(value, backward, *inputs)
        return found


def transposed(function: Callable[..., Tensor], points: Sequence[Tensor], arrived: Tensor) -> tuple[Tensor, ...]:
    """``arrived`` times the Jacobian of a function at ``points``: what gradient descent would pass on to each."""
    with torch.enable_grad():
        leaves = [point.detach().requires_grad_() for point in points]
        return torch.autograd.grad(function(*leaves), leaves, arrived)


class _Ruled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, backward: Backward, *inputs: Tensor) -> Tensor:
        ctx.rule = backward
        return value.detach().view_as(value)

    @staticmethod
    def backward(ctx: Any, *arrived: Tensor) -> Any:
        return None, None, *ctx.rule(arrived[0])
