"""The nearest points of a hyperplane within a box, in the norms linf, l2 and l1: the geometry of FAB.

Every row is solved on its own and by sums in a fixed order, so its bits do not depend on the rows beside it. Nothing
is sorted: that would take longer than a small network's gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["NORMS", "length", "to_hyperplane"]

NORMS = ("linf", "l2", "l1")
_FIRST = 32


def length(offset: Tensor, norm: str) -> Tensor:
    """Norms (r, 1) of rows (r, features)."""
    if norm == "linf":
        return offset.abs().amax(dim=1, keepdim=True)
    return torch.linalg.vector_norm(offset, ord=2 if norm == "l2" else 1, dim=1, keepdim=True)


def to_hyperplane(normal: Tensor, gain: Tensor, low: Tensor, high: Tensor, norm: str) -> Tensor:
    """The shortest moves m (r, features) with ``normal . m = gain`` (r, 1) and low <= m <= high.

    ``low`` <= 0 <= ``high`` are as seen from the point that moves. Where the hyperplane misses the box, every feature
    that counts goes to its limit: the point of the box that comes nearest to the hyperplane's other side.

    Croce & Hein, *Minimally distorted adversarial examples with a fast adaptive boundary attack* (ICML 2020).
    """
    steepest = normal.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(normal.dtype).tiny)
    slope = normal * (gain.sign() / steepest)
    need, sign, rate = gain.abs() / steepest, slope.sign(), slope.abs()
    room = torch.maximum(sign * low, sign * high)
    if norm == "l1":
        return sign * _steepest_first(rate, room, need)
    if norm == "linf":
        return sign * torch.minimum(_level(rate, rate * room, need), room)
    return sign * torch.minimum(rate * _level(rate.square(), rate * room, need), room)


def _level(weight: Tensor, full: Tensor, need: Tensor) -> Tensor:
    """The least t (r, 1) with sum(min(t * weight, full)) >= need; one that fills all of a row that cannot reach it.

    That sum is concave in t: Newton's steps from 0 stay below the solution and end when no further feature fills up.
    """
    t = torch.zeros_like(need)
    open_ = torch.empty_like(full)
    while True:
        given = weight * t
        rate = torch.gt(full, given, out=open_).mul_(weight).sum(dim=1, keepdim=True)
        missing = need - torch.minimum(given, full).sum(dim=1, keepdim=True)
        step = missing / rate.clamp_min(torch.finfo(rate.dtype).tiny)
        step = step.masked_fill((rate == 0) | (step <= t * 1e-6), 0)
        if not bool(step.any()):
            return t
        t = t + step


def _steepest_first(rate: Tensor, room: Tensor, need: Tensor) -> Tensor:
    """Moves in [0, room] that fill the features of highest rate first until sum(rate * move) = need.

    Features of the same rate share what is left.
    """
    full = rate * room
    limit = _last_rate(rate, full, need)
    above = torch.gt(rate, limit, out=torch.empty_like(rate))
    equal = torch.eq(rate, limit, out=torch.empty_like(rate))
    left = need - (above * full).sum(dim=1, keepdim=True)
    shared = (equal * full).sum(dim=1, keepdim=True)
    part = (left / shared.clamp_min(torch.finfo(rate.dtype).tiny)).clamp(0, 1)
    return room * above.add_(equal.mul_(part))


def _last_rate(rate: Tensor, full: Tensor, need: Tensor) -> Tensor:
    """The rate (r, 1) at which filling the steepest features first reaches ``need``; the least where it never does."""
    features = rate.shape[1]
    limit = torch.zeros_like(need)
    rows, count = torch.arange(len(rate), device=rate.device), min(_FIRST, features)
    while len(rows):
        top, place = rate[rows].topk(count, dim=1)
        reached = full[rows].gather(1, place).cumsum(dim=1) >= need[rows]
        first = (~reached).sum(dim=1, keepdim=True)
        limit[rows] = top.gather(1, first.clamp_max(count - 1))
        short = (first.squeeze(1) >= count) & (count < features)
        rows, count = rows[short], min(count * 8, features)
    return limit
