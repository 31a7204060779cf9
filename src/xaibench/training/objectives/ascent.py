"""Projected gradient ascent inside a training step: the inner maximiser that adversarial objectives share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeGuard, runtime_checkable

from torch import Tensor
from torch.nn import functional as F

from xaibench.errors import InputError
from xaibench.threats import Constrained, Linf, Threat
from xaibench.training.objectives.base import Forward
from xaibench.training.objectives.terms import check_continuous

__all__ = [
    "SignedAscending",
    "SummedCrossEntropy",
    "ascended",
    "check_step_size",
    "check_steps",
    "random_point",
    "valid",
]


@dataclass(frozen=True)
class SummedCrossEntropy:
    """Cross entropy as a function of the logits, summed, so that each sample's gradient is its own.

    A class of its own, so that a framework can know it and compute its gradient in one graph.
    """

    y: Tensor

    def __call__(self, logits: Tensor) -> Tensor:
        """The sum over the batch."""
        return F.cross_entropy(logits, self.y, reduction="sum")


@runtime_checkable
class SignedAscending(Protocol):
    """A `Forward` that climbs in one graph, where a gradient at a time would spend its time on handing over."""

    def signed_ascent(self, start: Tensor, y: Tensor, low: Tensor, high: Tensor, *, steps: int, size: float) -> Tensor:
        """``start`` (n, ...) after ``steps`` steps of ``size`` along the sign of the gradient of cross entropy.

        Each is clamped to ``low`` and ``high`` (n, ...). The network is in the mode of attacks.
        """
        ...


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

    ``step_size`` is a fraction of the radius, 2.5 / ``steps`` if None. Rows of a table with rules end as valid rows.
    """
    check_continuous(x)
    threat, bounds = forward.threat, forward.bounds
    size = threat.eps * (2.5 / steps if step_size is None else step_size)
    if isinstance(forward, SignedAscending) and isinstance(loss, SummedCrossEntropy) and _is_cube(threat):
        low, high = threat.cube(x, bounds)
        return forward.signed_ascent(start, loss.y, low, high, steps=steps, size=size)
    point = start
    for _ in range(steps):
        gradient = forward.input_gradient(point, loss)
        point = threat.project(threat.ascend(point, gradient, size, bounds), x, bounds)
    return valid(threat, point, x, forward)


def _is_cube(threat: Threat) -> TypeGuard[Linf]:
    """Whether a step is the gradient's sign times one size, and the projection a clamp."""
    return isinstance(threat, Linf) and threat.scale is None


def random_point(forward: Forward, x: Tensor) -> Tensor:
    """A random point of the ball around each of ``x`` (n, ...)."""
    check_continuous(x)
    return forward.threat.sample(forward.rng, x, forward.bounds)


def valid(threat: Threat, point: Tensor, x: Tensor, forward: Forward) -> Tensor:
    """Points of the ball as they are; under the rules of a table, the valid rows near them."""
    return threat.finish(point, x, forward.bounds) if isinstance(threat, Constrained) else point


def check_steps(steps: int, step_size: float | None) -> None:
    """Raise `InputError` for steps and step sizes out of range."""
    if steps < 1:
        raise InputError(f"expected `steps` >= 1, got {steps}")
    check_step_size(step_size)


def check_step_size(step_size: float | None) -> None:
    """Raise `InputError` for a step size that is not positive and finite."""
    if step_size is not None and not 0 < step_size < float("inf"):
        raise InputError(f"expected `step_size` > 0, got {step_size}")
