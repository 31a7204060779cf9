"""What an attack on an explanation is after: the smooth goal that it climbs, and the figure that it is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError
from xaibench.metrics.agreement import centre_shift, centres, magnitudes, rank_correlation, top_k, top_k_overlap
from xaibench.registry import Registry

__all__ = ["Centre", "Objective", "Rank", "TargetMap", "TopK", "objectives"]


class Objective(Protocol):
    """A way in which an attribution (n, ...) may be moved."""

    name: ClassVar[str]

    def check(self, before: Tensor) -> None:
        """Raise `InputError` for attributions that it cannot move."""
        ...

    def climb(self, values: Tensor, before: Tensor) -> Tensor:
        """A differentiable goal (n,) that is higher the further ``values`` are from ``before``."""
        ...

    def reached(self, values: Tensor, before: Tensor) -> Tensor:
        """How far the true attributions moved (n,), float64: what is kept is the largest."""
        ...


objectives: Registry[Objective] = Registry("objective")
"""Objectives by name."""


@objectives.register("top_k")
@dataclass(frozen=True, kw_only=True)
class TopK:
    """Take the weight from the places that counted most.

    Ghorbani, Abid & Zou, *Interpretation of neural networks is fragile* (AAAI 2019). ``share`` is that of the places.
    Judged by the share of them that left the top; among equals, by the weight that they lost. Places that tie for the
    last of the top are in it in part: see `top_k`.
    """

    name: ClassVar[str]

    share: float = 0.1

    def check(self, before: Tensor) -> None:
        top_k(before[:1], self.share)

    def climb(self, values: Tensor, before: Tensor) -> Tensor:
        return -self._weight(values, before)

    def reached(self, values: Tensor, before: Tensor) -> Tensor:
        # Less than what a single place would change.
        tie = 0.5 * (1 - self._weight(values.double(), before)) / top_k(before, self.share).sum(dim=1)
        return 1 - top_k_overlap(before, values, self.share) + tie

    def _weight(self, values: Tensor, before: Tensor) -> Tensor:
        size = magnitudes(values).flatten(1)
        top = top_k(before, self.share).to(size.dtype)
        return (size * top).sum(dim=1) / size.sum(dim=1).clamp_min(1e-12)


@objectives.register("centre")
@dataclass(frozen=True, kw_only=True)
class Centre:
    """Carry the centre of mass of an image's map away.

    Ghorbani, Abid & Zou, *Interpretation of neural networks is fragile* (AAAI 2019).
    """

    name: ClassVar[str]

    def check(self, before: Tensor) -> None:
        if before.ndim != 4:
            raise UnsupportedError("objective 'centre' needs images: tables and texts have no centre of mass")

    def climb(self, values: Tensor, before: Tensor) -> Tensor:
        return (centres(values) - centres(before).to(values.dtype)).square().sum(dim=1)

    def reached(self, values: Tensor, before: Tensor) -> Tensor:
        return centre_shift(before, values)


@objectives.register("rank")
@dataclass(frozen=True, kw_only=True)
class Rank:
    """Turn the order of the values around: the goal is their linear correlation, judged is that of their ranks."""

    name: ClassVar[str]

    def check(self, before: Tensor) -> None:
        """Any attribution has an order."""

    def climb(self, values: Tensor, before: Tensor) -> Tensor:
        now, then = (part.flatten(1) - part.flatten(1).mean(dim=1, keepdim=True) for part in (values, before))
        return -(now * then).sum(dim=1) / (now.norm(dim=1) * then.norm(dim=1)).clamp_min(1e-12)

    def reached(self, values: Tensor, before: Tensor) -> Tensor:
        return 1 - rank_correlation(before, values)


@objectives.register("target_map")
@dataclass(frozen=True, kw_only=True)
class TargetMap:
    """Make the map look like another one.

    Dombrowski et al., *Explanations can be manipulated and geometry is to blame* (NeurIPS 2019). ``target`` is one map
    for all samples, which broadcasts to the shape of one input. Maps are compared by magnitude, scaled to a mean of 1
    over their places; judged is the mean squared difference, negated.
    """

    name: ClassVar[str]

    target: Tensor

    def check(self, before: Tensor) -> None:
        try:
            self.target.expand(before.shape[1:])
        except RuntimeError:
            raise InputError(
                f"expected a target map that broadcasts to {tuple(before.shape[1:])}, got {tuple(self.target.shape)}"
            ) from None
        if not bool(self.target.isfinite().all()) or not bool(self.target.any()):
            raise InputError("expected a target map of finite numbers that are not all zero")

    def climb(self, values: Tensor, before: Tensor) -> Tensor:
        wanted = _shares(self.target.to(values).expand_as(values))
        return -(_shares(values) - wanted).square().mean(dim=1)

    def reached(self, values: Tensor, before: Tensor) -> Tensor:
        return self.climb(values.double(), before)


def _shares(values: Tensor) -> Tensor:
    size = magnitudes(values).flatten(1)
    return size / size.mean(dim=1, keepdim=True).clamp_min(torch.finfo(size.dtype).tiny)
