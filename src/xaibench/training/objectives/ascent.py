"""Projected gradient ascent inside a training step: the inner maximiser that adversarial objectives share."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from xaibench.errors import InputError
from xaibench.training.objectives.base import Forward

__all__ = ["ascended", "check_steps", "cross_entropy_of"]


def ascended(
    forward: Forward,
    x: Tensor,
    loss: Callable[[Tensor], Tensor],
    *,
    start: Tensor,
    steps: int,
    step_size: float | None,
) -> Tensor:
    """``start`` after ``steps`` projected gradient steps up ``loss``, a scalar of the logits, around ``x`` (n, ...).

    ``step_size`` is a fraction of the radius, 2.5 / ``steps`` if None.
    """
    _check_continuous(x)
    threat, bounds = forward.threat, forward.bounds
    size = threat.eps * (2.5 / steps if step_size is None else step_size)
    point = start
    for _ in range(steps):
        gradient = forward.input_gradient(point, loss)
        point = threat.project(threat.ascend(point, gradient, size, bounds), x, bounds)
    return point


def cross_entropy_of(y: Tensor) -> Callable[[Tensor], Tensor]:
    """Summed cross entropy as a function of the logits, so that each sample's gradient is its own."""
    return lambda logits: F.cross_entropy(logits, y, reduction="sum")


def check_steps(steps: int, step_size: float | None) -> None:
    """Raise `InputError` for steps and step sizes out of range."""
    if steps < 1:
        raise InputError(f"expected `steps` >= 1, got {steps}")
    if step_size is not None and not step_size > 0:
        raise InputError(f"expected `step_size` > 0, got {step_size}")


def _check_continuous(x: Tensor) -> None:
    if not x.is_floating_point():
        raise InputError(f"expected inputs of real numbers for gradient steps, got {x.dtype}")
