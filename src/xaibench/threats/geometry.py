"""Perturbations as flat float64 vectors, and the projections that are made of them.

All geometry happens in units of ``scale`` and relative to the clean input: a perturbation ``u`` stands for the input
``clean + scale * u``. It is rounded towards the clean input, so that a projected point lies in the ball itself and not
merely within rounding of it. A clean value that already lies outside the box is its own limit: it may stay or move
inwards.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xaibench.types import Bounds

__all__ = [
    "box",
    "chosen",
    "contracted",
    "displacement",
    "largest",
    "limits",
    "normalised",
    "place",
    "room",
    "shrunk",
    "units",
]


def units(like: Tensor, scale: tuple[float, ...] | None) -> Tensor:
    """The scale as a tensor like ``like``, broadcastable against the last dimension of inputs."""
    return like.new_tensor(1.0 if scale is None else scale)


def displacement(x: Tensor, clean: Tensor, scale: tuple[float, ...] | None) -> Tensor:
    """The perturbation u (n, features), float64."""
    return ((x.double() - clean.double()) / units(x.double(), scale)).flatten(1)


def box(clean: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """Lowest and highest valid inputs (n, ...) that may be reached from the clean ones."""
    low, high = bounds.tensors(clean)
    return torch.minimum(low, clean), torch.maximum(high, clean)


def limits(clean: Tensor, bounds: Bounds, scale: tuple[float, ...] | None) -> tuple[Tensor, Tensor]:
    """The box as seen from the clean input: the least u (<= 0) and the greatest (>= 0), (n, features), float64."""
    low, high = box(clean, bounds)
    return displacement(low, clean, scale), displacement(high, clean, scale)


def place(offset: Tensor, clean: Tensor, bounds: Bounds, scale: tuple[float, ...] | None) -> Tensor:
    """clean + scale * u clipped to the box, in the dtype of ``clean``, each feature rounded towards its clean value."""
    low, high = (limit.double() for limit in box(clean, bounds))
    move = offset.view(clean.shape) * units(offset, scale)
    exact = torch.minimum(torch.maximum(clean.double() + move, low), high)
    x = exact.to(clean.dtype)
    beyond = (x.double() - clean.double()).abs() > (exact - clean.double()).abs() * (1 + 1e-12)
    return chosen(beyond, torch.nextafter(x, clean), x)


def chosen(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """``yes`` where the mask holds, else ``no``, both finite: several times faster than `torch.where` on a CPU."""
    return torch.lerp(no, yes, mask.to(no.dtype))


def column(values: float | Tensor, like: Tensor) -> float | Tensor:
    """A number for each row (n,) in the shape that multiplies rows of ``like`` (n, ...); a single number as it is."""
    return values.view(-1, *[1] * (like.ndim - 1)) if isinstance(values, Tensor) else values


def room(offset: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """How far each feature can go in the direction of its offset; 0 where that has none."""
    sign = offset.sign()
    return torch.maximum(sign * low, sign * high)


def normalised(vector: Tensor) -> Tensor:
    """Rows (n, features) of Euclidean length 1; a zero row stays zero."""
    return vector / vector.norm(dim=1, keepdim=True).clamp_min(torch.finfo(vector.dtype).tiny)


def largest(values: Tensor, k: int) -> Tensor:
    """A mask (n, features) of the ``k`` largest values of each row; the first of equals."""
    order = values.argsort(dim=1, descending=True, stable=True)[:, :k]
    return torch.zeros_like(values, dtype=torch.bool).scatter(1, order, True)


def contracted(size: Tensor, room: Tensor, eps: float) -> Tensor:
    """Sizes min(t * size, room) with the largest t <= 1 for which each row (n, features) is of length <= eps.

    Each round solves for t as if no more features reached their room than before; t only grows, so rounds are few.
    """
    outside = torch.minimum(size, room).norm(dim=1, keepdim=True) > eps
    t = torch.where(outside, eps / size.norm(dim=1, keepdim=True), 1)
    while True:
        full = (t * size > room).to(size.dtype)
        spent = (full * room).square().sum(dim=1, keepdim=True)
        free = (size - full * size).square().sum(dim=1, keepdim=True)
        larger = torch.where(outside, ((eps**2 - spent).clamp_min(0) / free).sqrt(), 1)
        if bool((larger <= t * (1 + 1e-14)).all()):
            return torch.minimum(t * size, room)
        t = torch.maximum(larger, t)


def shrunk(size: Tensor, room: Tensor, eps: float) -> Tensor:
    """Sizes min(max(size - t, 0), room) with the least t >= 0 for which each row (n, features) sums up to <= eps.

    That sum falls piecewise linearly in t: a feature begins to shrink at t = size - room and is gone at t = size.
    """
    begins, ends = (size - room).clamp_min(0), size
    knots, order = torch.cat([begins, ends], dim=1).sort(dim=1)
    slope = torch.cat([-torch.ones_like(size), torch.ones_like(size)], dim=1).gather(1, order).cumsum(dim=1)
    gap = torch.diff(knots, dim=1, prepend=torch.zeros_like(knots[:, :1]))
    before = torch.cat([torch.zeros_like(slope[:, :1]), slope[:, :-1]], dim=1)
    total = torch.minimum(size, room).sum(dim=1, keepdim=True)
    at_knot = total + (before * gap).cumsum(dim=1)
    first = (at_knot > eps).sum(dim=1, keepdim=True).clamp_max(knots.shape[1] - 1)
    excess = at_knot.gather(1, first) - eps
    cut = knots.gather(1, first) - excess / before.gather(1, first).clamp_max(-1)
    cut = torch.where(total > eps, cut, torch.zeros_like(cut))
    return torch.minimum((size - cut).clamp_min(0), room)
